"""Prompts: tokens that are given and stay, as a task. Training on them is the view ``mask``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom.tasks import Inpaint
from flowloom.views import View
from flowloom_sequences.data.vocabulary import Named, Vocabulary, require_ids


class Infill(Inpaint):
    """Fills in what a prompt leaves open; given tokens stay as they are.

    Examples hold token ids, with ``prompt_mask`` among their conditions (or a layout) saying which are given.
    Works for every flow of tokens and of one-hot rows behind a codec, trained on prompts or not (see
    `flowloom.tasks.completed`).

    Args:
        hole: character of a typed prompt that marks an open place.
        holes: see `flowloom.tasks.Inpaint`.
        solver: in place of the flow's own.
        metrics: see `flowloom.tasks.Task`.
        draws: see `flowloom.tasks.Task`.
        name: see `flowloom.tasks.Task`.
    """

    viewed: ClassVar[bool] = False

    def __init__(
        self,
        hole: str = "_",
        holes: Sequence[View] = (),
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(holes, solver, metrics, draws, name)
        if len(hole) != 1:
            raise ValueError(f"hole is one character, got {hole!r}")
        self.hole = hole

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A prompt such as ``ROMEO: ____ love`` in the data set's own vocabulary; see `encode_prompt`."""
        return encode_prompt(given, data.spec, vocabulary=_vocabulary(data), hole=self.hole, n=n)

    def example(self, data: Dataset) -> str:
        """The beginning of a row, and an open end."""
        row = data.take(torch.arange(1)).x
        if not isinstance(row, Tensor) or row.ndim != 2:
            return ""
        half = row.shape[1] // 2
        begun = _vocabulary(data).decode(row[0, : min(12, half)].tolist())
        # Half a character of bytes cannot be typed, and the hole's own character in a row is no hole.
        return re.split(f"[\ufffd{re.escape(self.hole)}]", begun)[0] + self.hole * min(4, half)

    def show(self, answers: Examples, data: Dataset) -> list[str]:
        """Texts."""
        assert isinstance(answers.x, Tensor)
        return [_vocabulary(data).decode(row) for row in answers.x.tolist()]

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Completed tokens ``(n, L)``, with the conditions as given.

        Raises:
            ShapeError: nothing says what is given, or ids are out of range.
            IncompatibleError: the flow is neither of tokens nor of one-hot rows.
        """
        spec = flow.spec if flow.codec is None else flow.codec.data_spec
        if spec.vocab is None:
            raise IncompatibleError("infill is for flows of tokens or of one-hot rows")
        own = asked.layout or Layout.of(spec, asked.cond) or Layout()
        ids, given = asked.x, own.given if own.given is not None else asked.cond.get("prompt_mask")
        if given is None or not isinstance(ids, Tensor) or given.shape != ids.shape:
            raise ShapeError(
                "infill needs token ids (n, L) and a boolean condition prompt_mask of that shape"
            )
        known = torch.where(given, ids, 0)
        require_ids(known, spec.vocab, "prompt")
        if ids.shape[1] != spec.shape[0]:
            raise ShapeError(
                f"the prompt has {ids.shape[1]} places, the flow {spec.shape[0]}; pad it with open ones"
            )
        return super().__call__(flow, Examples(known, asked.cond, Layout(own.real, given, known)), seed=seed)


def _vocabulary(data: Dataset) -> Vocabulary:
    vocabulary = getattr(data, "vocabulary", None)
    if not isinstance(vocabulary, Vocabulary):
        raise IncompatibleError(f"infill is for sequences; {type(data).__name__} has no vocabulary")
    return vocabulary


def encode_prompt(
    text: str, spec: Spec, *, vocabulary: Vocabulary | None = None, hole: str = "_", n: int = 1
) -> Examples:
    """A prompt with holes as examples for `Infill`: ``"ROMEO: ___ love"``.

    Open places follow up to the run's length.

    Args:
        text: the prompt.
        spec: of the run's states; its ``tokens`` are the vocabulary where none is given.
        vocabulary: checked against the spec.
        hole: the character that marks an open place.
        n: number of copies.

    Raises:
        IncompatibleError: the vocabulary is not the run's.
        DataError: a character is not in the vocabulary.
        ShapeError: the prompt is longer than the run's sequences.
    """
    if vocabulary is None:
        if not spec.tokens:
            raise IncompatibleError("this run does not name its tokens; give its vocabulary")
        vocabulary = Named(spec.tokens)
    vocabulary.require(spec)
    ids: list[int] = []
    given: list[bool] = []
    for i, piece in enumerate(text.split(hole)):
        if i:
            ids.append(0)
            given.append(False)
        part = vocabulary.encode(piece, "the prompt")
        ids += part
        given += [True] * len(part)
    length = spec.shape[0]
    if len(ids) > length:
        raise ShapeError(f"the prompt has {len(ids)} tokens, more than the {length} of this run; shorten it")
    rest = length - len(ids)
    x = torch.tensor([ids + [0] * rest]).expand(n, -1)
    mask = torch.tensor([given + [False] * rest]).expand(n, -1)
    return Examples(x, {"prompt_mask": mask})
