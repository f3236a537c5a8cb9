"""The rows of the warehouse plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar

HOME = "flowloom_warehouse"


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add data sets that are read in place, a stream, and two feeds."""
    reg.add(
        "dataset",
        "hugging-face",
        f"{HOME}.hub:HubData",
        summary="a data set of the library datasets: a folder, files, or a name on the hub",
        example={"path": "./rows.parquet"},
        tags=("files",),
    )
    reg.add(
        "dataset",
        "tar-shards",
        f"{HOME}.tars:TarShards",
        summary="tar files of samples (WebDataset), read in place by row",
        example={"shards": "./shards"},
        tags=("files",),
    )
    reg.add(
        "feed",
        "hub-stream",
        f"{HOME}.hub:HubStream",
        summary="rows of a data set of the library datasets as they come",
        example={"path": "./rows.parquet"},
        tags=("files",),
    )
    reg.add(
        "feed",
        "encoded",
        f"{HOME}.encoded:Encoded",
        summary="rows that are encoded once and kept on disk",
        example={"keep": False},
    )
    reg.add(
        "feed",
        "beside",
        f"{HOME}.beside:Beside",
        summary="rows made into batches by processes that run ahead, coupling included",
        example={"workers": 0},
    )
