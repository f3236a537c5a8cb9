# ruff: noqa: B024  (what matters here is who subclasses whom)
"""Contracts in the shape of core's, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...] = ()
    parts: Mapping[str, Spec] = field(default_factory=dict)
    vocab: int | None = None


class Dataset(ABC):
    @property
    @abstractmethod
    def spec(self) -> Spec: ...


class Codec(ABC): ...


class Geometry(ABC):
    defaults: ClassVar[Mapping[str, str]] = {"source": "gaussian", "path": "affine", "solver": "midpoint"}


class Source(ABC): ...


class Schedule(ABC): ...


class Path(ABC): ...


@runtime_checkable
class Model(Protocol):
    def __call__(self, x: object, t: object, /) -> object: ...


class Solver(ABC): ...


class Metric(ABC): ...
