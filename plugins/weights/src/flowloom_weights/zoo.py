"""Zoos: many small networks trained on one problem, from as many starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Dataset, Examples, Tensors
from flowloom.data.kept import read_examples, write_examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.seeds import derive
from flowloom.spec import Spec
from flowloom_weights.perceptron import Form, initial, logits, recalibrated

__all__ = ["NetworkZoo", "Table", "problem_of"]


class Table(Dataset):
    """A table of scikit-learn with its classes: features in units of their deviation in the training split.

    Args:
        name: which one; ``digits`` are 64 pixels in a row.
        test: share held out as split ``test``, class by class.
        seed: of the split.
    """

    def __init__(
        self,
        name: Literal["iris", "wine", "breast_cancer", "digits"] = "iris",
        test: float = 0.3,
        seed: int = 0,
    ) -> None:
        if not 0 < test < 1:
            raise ValueError(f"test is a share in (0, 1), got {test}")
        self.name, self.test, self.seed = name, test, seed
        self._splits: dict[str, Tensors] = {}

    @property
    def spec(self) -> Spec:
        """Features ``(k,)`` and ``label``."""
        return self.split("train").spec

    def __len__(self) -> int:
        return len(self.split("train"))

    def take(self, rows: Tensor) -> Examples:
        """Rows of the training split."""
        return self.split("train").take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` or ``test``."""
        if not self._splits:
            self._splits = self._read()
        return self._splits[name] if name in self._splits else super().split(name)

    def _read(self) -> dict[str, Tensors]:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
        from sklearn.preprocessing import StandardScaler

        x, y = getattr(datasets, f"load_{self.name}")(return_X_y=True)
        once = np.sort(np.unique(x, axis=0, return_index=True)[1])  # iris has one flower twice
        x, y = x[once], y[once]
        try:
            parts = train_test_split(x, y, test_size=self.test, stratify=y, random_state=self.seed)
        except ValueError as error:  # a split with fewer rows than classes
            raise DataError(f"table {self.name}, test={self.test:g} of {len(x)} rows: {error}") from error
        scaler = StandardScaler().fit(parts[0])
        seen, held = (torch.from_numpy(scaler.transform(one)).float() for one in parts[:2])
        label, other = (torch.from_numpy(one).long() for one in parts[2:])
        train = Tensors(seen, {"label": label}, test=Examples(held, {"label": other}))
        return {"train": train, "test": cast("Tensors", train.split("test"))}


def problem_of(data: Dataset) -> tuple[Tensor, Tensor]:
    """Inputs ``(rows, features)`` and labels ``(rows,)`` of a data set with classes.

    Raises:
        IncompatibleError: it has no classes, or no inputs of real numbers.
    """
    examples, spec = data.all(), data.spec
    label = _label(spec)
    if not isinstance(examples.x, Tensor) or not examples.x.is_floating_point():
        raise IncompatibleError("networks of a zoo take one tensor of real numbers")
    return examples.x.flatten(1), examples.cond[label]


def _label(spec: Spec) -> str:
    for name, condition in spec.conditions.items():
        if condition.classes and not condition.shape:
            return name
    raise IncompatibleError("networks of a zoo tell classes, and the problem has no class condition")


class NetworkZoo(Dataset):
    """Perceptrons trained on one problem, which differ in where they started and in the order of batches.

    A row is one network, a product of its tensors (see `flowloom_weights.perceptron`). All of them are
    trained at once, as one batched program with Adam, when first asked for, and kept in the folder of the
    run. ``test`` are as many networks from other starts.

    Args:
        problem: a data set with classes, ``{use: table, name: iris}``; networks learn its training split.
        hidden: units of every hidden layer.
        norm: whether hidden layers are normalised by batch; a network then has the statistics of all training
            rows.
        n: networks in every split.
        steps: of training.
        batch: rows a step; all of them where None.
        lr: learning rate.
        seed: of starts and batches.
    """

    def __init__(
        self,
        problem: Dataset,
        hidden: Sequence[int] = (16,),
        norm: bool = False,
        n: int = 100,
        steps: int = 200,
        batch: int | None = None,
        lr: float = 0.01,
        seed: int = 0,
    ) -> None:
        if n < 1 or steps < 0 or min(hidden, default=0) < 1:
            raise ValueError(
                f"n and every hidden layer count from 1 and steps from 0, got n={n}, hidden={list(hidden)}, "
                f"steps={steps}"
            )
        if (batch is not None and batch < 1) or not 0 < lr < 1e30:
            raise ValueError(f"batch counts rows from 1 and lr lies between 0 and 1e30, got {batch} and {lr}")
        self.problem, self.n, self.steps, self.batch, self.lr, self.seed = problem, n, steps, batch, lr, seed
        self.hidden, self.norm = tuple(hidden), norm
        self.part, self.folder = "train", cast("Path | None", None)
        self._networks: dict[str, Tensor] | None = None

    @property
    def form(self) -> Form:
        """Of all its networks."""
        spec = self.problem.spec
        classes = spec.conditions[_label(spec)].classes or 0
        return Form((spec.numel(), *self.hidden, classes), self.norm)

    @property
    def spec(self) -> Spec:
        """A part for every tensor."""
        return Spec(parts={name: Spec(shape) for name, shape in self.form.shapes().items()})

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """The networks at ``rows``."""
        self.make()
        assert self._networks is not None
        return Examples({name: value[rows] for name, value in self._networks.items()})

    def split(self, name: str) -> Dataset:
        """``train`` or ``test``."""
        if name == self.part:
            return self
        if name not in ("train", "test"):
            return super().split(name)
        other = NetworkZoo(
            self.problem, self.hidden, self.norm, self.n, self.steps, self.batch, self.lr, self.seed
        )
        other.part, other.folder = name, self.folder
        return other

    def keep_in(self, folder: Path) -> None:
        """Keep networks in ``folder``, and take up those that lie there."""
        self.folder = folder

    def make(self, told: Callable[[int], None] | None = None) -> None:
        """Train the networks, where they are not there yet."""
        file = None if self.folder is None else self.folder / f"{self.part}.safetensors"
        if self._networks is None and file is not None and file.is_file():
            self._networks = cast("dict[str, Tensor]", read_examples(file).x)
        if self._networks is None:
            self._networks = self._trained()
        if file is not None and not file.is_file():
            write_examples(file, Examples({**self._networks}))
        if told is not None:
            told(self.n)

    def _trained(self) -> dict[str, Tensor]:
        x, label = problem_of(self.problem)
        draws = torch.Generator().manual_seed(derive(self.seed, f"network-zoo/{self.part}"))
        networks = initial(self.form, self.n, draws)
        learned = [v.requires_grad_() for k, v in networks.items() if not k.startswith(("mean", "variance"))]
        optimizer = torch.optim.Adam(learned, self.lr)
        with torch.enable_grad():
            for _ in range(self.steps):
                inputs, wanted = x, label.expand(self.n, -1)
                if self.batch is not None:
                    rows = torch.randint(len(x), (self.n, self.batch), generator=draws)
                    inputs, wanted = x[rows], label[rows]
                said = logits(networks, inputs, by_batch=True)
                # The sum over networks: each descends its own mean.
                loss = F.cross_entropy(said.flatten(0, 1), wanted.flatten(), reduction="sum")
                optimizer.zero_grad()
                (loss / wanted.shape[1]).backward()
                optimizer.step()
        with torch.no_grad():
            done = {name: value.detach() for name, value in networks.items()}
            found = {name: value.clone() for name, value in recalibrated(done, x).items()}
        bad = ~torch.stack([value.isfinite().flatten(1).all(1) for value in found.values()]).all(0)
        if bool(bad.any()):
            raise DataError(
                f"{int(bad.sum())} of {self.n} networks of the zoo have weights that are not finite after "
                f"{self.steps} steps; train them with an lr below {self.lr:g}"
            )
        return found
