"""A catalog of fake components, so that the registry is tested without torch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes"
sys.path.insert(0, str(FAKES))  # the plugin `fakeflow`, importable as if it were installed


@pytest.fixture
def fake_tables():
    from flowloom.kinds import Kind
    from flowloom_registry.plugins.sections import SECTIONS

    contracts = {
        "dataset": "Dataset", "codec": "Codec", "geometry": "Geometry", "source": "Source",
        "schedule": "Schedule", "path": "Path", "model": "Model", "solver": "Solver", "metric": "Metric",
    }  # fmt: skip
    kinds = [Kind(kind, f"fakeflow.contracts:{name}", f"fake {kind}") for kind, name in contracts.items()]
    kept = {"train": "fakeflow.parts:TrainConfig"}
    sections = []
    for section in SECTIONS:
        if section.form == "record" and section.name not in kept:
            continue
        if section.kind is not None and section.kind not in contracts:
            continue
        if section.form == "record":
            section = type(section)(section.name, "record", section.meaning, target=kept[section.name])
        sections.append(section)
    return {"kinds": kinds, "sections": sections, "spec": "fakeflow.contracts:Spec"}


@pytest.fixture
def fake_discover(fake_tables):
    """Discover the fakes and whatever else is given; nothing that is installed."""
    import fakeflow.plugin

    from flowloom_registry import discover

    def make(*, strict=True, **plugins):
        extra = {"fakes": fakeflow.plugin, **plugins}
        return discover(entry_points=(), extra=extra, strict=strict, **fake_tables)

    return make


@pytest.fixture
def fakes(fake_discover):
    return fake_discover()


@pytest.fixture
def load(fakes, tmp_path):
    """Write a recipe and load it: load(text, *overrides, name="r.yaml")."""
    from flowloom_registry import load_recipe

    def make(text, *overrides, name="r.yaml", catalog=fakes):
        path = tmp_path / name
        path.write_text(text)
        return load_recipe(path, overrides=overrides, catalog=catalog)

    return make


@pytest.fixture
def problems(load, tmp_path):
    """The lines of the ConfigError that a recipe ends in, without the folder."""
    from flowloom_registry import build
    from flowloom_registry.errors import ConfigError

    def make(text, *overrides, **options):
        with pytest.raises(ConfigError) as caught:
            build(load(text, *overrides, **options))
        assert "\n" not in "".join(str(problem) for problem in caught.value.problems)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return make
