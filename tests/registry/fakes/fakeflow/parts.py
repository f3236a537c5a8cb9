"""Components that remember what they were given."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fakeflow.contracts import Codec, Dataset, Geometry, Metric, Path, Schedule, Solver, Source, Spec

if TYPE_CHECKING:
    from fakeflow.contracts import Model


@dataclass
class Digits(Dataset):
    """Handwritten digits.

    Args:
        size: pixels along one side.
        root: folder of the files.
    """

    size: int = 8
    root: pathlib.Path | None = None

    @property
    def spec(self) -> Spec:
        return Spec((self.size, self.size))


@dataclass
class Halving(Codec):
    given: Spec

    @property
    def spec(self) -> Spec:
        return Spec(tuple(n // 2 for n in self.given.shape))


@dataclass
class Euclidean(Geometry): ...


@dataclass
class Sphere(Geometry):
    """The unit sphere."""

    dim: int = 2
    radius: float = 1.0


@dataclass
class Product(Geometry):
    parts: Mapping[str, Geometry]


@dataclass
class Gaussian(Source):
    geometry: Geometry
    std: float = 1.0


@dataclass
class Cosine(Schedule):
    sharpness: float = 2.0


@dataclass
class Affine(Path):
    geometry: Geometry
    schedule: Schedule | None = None


@dataclass
class Geodesic(Path):
    schedule: Schedule
    on: Sphere = field(default_factory=Sphere)


class Net:
    """A network.

    Args:
        width: channels.
        rates: one per level.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 32,
        rates: Sequence[float] = (0.5, 1),
        block: tuple[int, int] = (2, 2),
        norm: Literal["group", "layer"] | None = "group",
        attention: bool = False,
        extra: dict[str, int] | None = None,
        scale: int | float | str = "auto",
    ) -> None:
        if width < 1:
            raise ValueError(f"width must be positive, got {width}")
        self.settings = dict(
            spec=spec, width=width, rates=list(rates), block=block, norm=norm, attention=attention,
            extra=extra, scale=scale,
        )  # fmt: skip

    def __call__(self, x: object, t: object, /) -> object:
        return x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Net) and other.settings == self.settings

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Mixed(Source):
    """A source for every part."""

    parts: Mapping[str, Source]


@dataclass
class Ways(Path):
    """A path for every part."""

    parts: Mapping[str, Path]


@dataclass
class Parted(Dataset):
    """Two parts."""

    @property
    def spec(self) -> Spec:
        return Spec(parts={"a": Spec((1,)), "b": Spec((2,))})


@dataclass
class Sized(Source):
    """Remembers what it was told of its states."""

    spec: Spec
    geometry: Geometry | None = None


class Taught(Net):
    """May have a teacher, a partner, and judges."""

    def __init__(
        self,
        spec: Spec,
        teacher: Model | None = None,
        critic: Model | None = None,
        roles: Mapping[str, Model] | None = None,
        metrics: Sequence[Metric] = (),
        report: Callable[[float], float] | None = None,
    ) -> None:
        super().__init__(spec)
        self.teacher, self.critic, self.roles, self.metrics = teacher, critic, roles, metrics
        self.report = report


class Distilled(Net):
    def __init__(self, teacher: Model, spec: Spec) -> None:
        super().__init__(spec)
        self.teacher = teacher


@dataclass
class Midpoint(Solver):
    steps: int = 16


@dataclass
class Adaptive(Solver):
    rtol: float = 1e-5
    controller: Literal["pid", "constant"] = "pid"
    callback: Any = None


@dataclass
class Frechet(Metric):
    k: int = 5
    geometry: Geometry | None = None


@dataclass
class TrainConfig:
    steps: int = 100
    rate: float = 1e-3
    batch: int = 32
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0
    notes: list[str] = field(default_factory=list)


def make_net(spec: Spec, width: int = 4) -> Net:
    return Net(spec, width)


class NotASolver: ...


class NotAModel: ...
