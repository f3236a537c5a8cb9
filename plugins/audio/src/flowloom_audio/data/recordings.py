"""Recordings as a data set: waveforms of different length with text, speaker and a prompt of that voice."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.seeds import derive
from flowloom.spec import Condition, Spec
from flowloom_audio.data.clips import Clip
from flowloom_audio.data.sound import SILENT, Notes, at_level, read_sound, without_silence
from flowloom_audio.text.frontend import Frontend, Symbols

__all__ = ["Recordings"]


@dataclass(eq=False, repr=False, kw_only=True)
class Recordings(Dataset):
    """Waveforms ``(samples,)`` of speech, padded to one length.

    With them come ``mask`` (which samples are real), ``text`` (ids of symbols, 0 is padding), ``speaker`` (a
    class) and, where asked for, ``prompt``: another recording of the same speaker.

    Files are read once, when first asked for. What cannot be used (unreadable, empty, silent, longer than
    ``seconds``, text without symbols) is left out; every reason is told in one warning, with the number of
    files and one of them.

    Args:
        rate: samples a second; files of another rate are resampled.
        seconds: longest example.
        join: most recordings of one speaker that are joined to one example, with ``pause`` between them; the
            number is drawn for every row. Rows are then ``rows`` draws, the same in every process.
        rows: examples of the training split where recordings are joined; other splits have a tenth.
        pause: seconds of silence between joined recordings, drawn up to this.
        prompt: seconds of the prompt, 0 for none. A shorter recording is repeated.
        symbols: ``characters`` or ``phonemes``.
        text_length: symbols there is room for.
        level: root mean square that every recording is scaled to, None to leave it.
        trim: cut silence off both ends.
        mix: lowest and highest ratio in dB at which a recording of another speaker is added (of the same one
            where there is no other), as the condition ``degraded``; None for none.
        speakers: use these alone; all where empty.
        unseen: speakers left out of every split but ``unseen``, where they are alone; a number leaves out as
            many, the last by name.
        seed: of what is drawn.
    """

    rate: int = 16_000
    seconds: float = 10.0
    join: int = 1
    rows: int = 20_000
    pause: float = 0.1
    prompt: float = 0.0
    symbols: Symbols = "characters"
    text_length: int = 200
    level: float | None = 0.1
    trim: bool = True
    mix: tuple[float, float] | None = None
    speakers: Sequence[str] = ()
    unseen: Sequence[str] | int = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "seconds", "join", "rows"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        level = 1.0 if self.level is None else self.level
        if not all(0 <= v < math.inf for v in (self.prompt, self.pause)) or not 0 < level < math.inf:
            raise ValueError("prompt and pause are seconds, and level is a positive number")
        if not self.samples or (self.prompt and not self.prompt_samples):
            raise ValueError(
                f"seconds and prompt hold a sample or more at {self.rate} Hz, "
                f"got {self.seconds} and {self.prompt}"
            )
        if self.text_length < 1:
            raise ValueError(f"text_length must be at least 1, got {self.text_length}")
        if self.mix is not None and not -math.inf < self.mix[0] <= self.mix[1] < math.inf:
            raise ValueError(f"mix is (lowest, highest) in dB, got {self.mix}")
        if isinstance(self.unseen, int) and self.unseen < 0:
            raise ValueError(f"unseen is speakers, or how many, got {self.unseen}")
        self.frontend = Frontend(self.symbols)
        self.part = "train"
        self._shelf: _Shelf | None = None
        self._all: list[Clip] | None = None

    @abstractmethod
    def clips(self) -> list[Clip]:
        """Every recording there is, of all splits and speakers."""

    @abstractmethod
    def belongs(self, clip: Clip, split: str) -> bool:
        """Whether a recording is of that split, speakers aside."""

    def sound(self, clip: Clip, notes: Notes) -> Tensor:
        """The samples of a recording, float32 ``(n,)``.

        Raises:
            DataError: it cannot be used.
        """
        return read_sound(clip.file, self.rate, notes)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return ("train", "test", *(["unseen"] if self.unseen else []))

    @property
    def samples(self) -> int:
        """Of the longest example."""
        return round(self.seconds * self.rate)

    @property
    def prompt_samples(self) -> int:
        """Of the prompt."""
        return round(self.prompt * self.rate)

    @property
    def spec(self) -> Spec:
        """Waveforms with their conditions."""
        names = self.names
        conditions = {
            "mask": Condition(shape=(self.samples,), role="real"),
            "text": Condition(len(self.frontend.tokens), (self.text_length,), self.frontend.tokens),
            "speaker": Condition(len(names), names=names),
        }
        if self.prompt:
            conditions["prompt"] = Condition(shape=(self.prompt_samples,))
        if self.mix is not None:
            conditions["degraded"] = Condition(shape=(self.samples,))
        return Spec((self.samples,), conditions=conditions, rate=self.rate)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all speakers, sorted; those that are left out of training among them."""
        return tuple(sorted({clip.speaker for clip in self.everything()}))

    @property
    def left_out(self) -> frozenset[str]:
        """Names of the speakers that are left out of training.

        Raises:
            DataError: there are no more speakers than are to be left out.
        """
        if not isinstance(self.unseen, int):
            return frozenset(self.unseen)
        if self.unseen >= len(self.names):
            raise DataError(f"unseen leaves {self.unseen} speakers out, and there are {len(self.names)}")
        return frozenset(self.names[len(self.names) - self.unseen :])

    def split(self, name: str) -> Dataset:
        """``train``, ``test``, and ``unseen`` where speakers are left out of training."""
        if name not in self.splits:
            raise DataError(f"{type(self).__name__} has no split '{name}'; it has: {', '.join(self.splits)}")
        if name == self.part:
            return self
        other = object.__new__(type(self))
        vars(other).update(vars(self), part=name, _shelf=None, _all=self._all)
        return other

    def __len__(self) -> int:
        if self.join == 1:
            return len(self._clips().kept)
        return self.rows if self.part == "train" else max(1, self.rows // 10)

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        shelf, names = self._clips(), {name: i for i, name in enumerate(self.names)}
        x = torch.zeros(len(rows), self.samples)
        mask = torch.zeros(len(rows), self.samples, dtype=torch.bool)
        text = torch.zeros(len(rows), self.text_length, dtype=torch.long)
        speaker = torch.zeros(len(rows), dtype=torch.long)
        prompt, mixed = torch.zeros(len(rows), self.prompt_samples), torch.zeros_like(x)
        for i, row in enumerate(rows.tolist()):
            if not -len(self) <= row < len(self):
                raise IndexError(f"row {row} of {len(self)}")
            draws = torch.Generator().manual_seed(
                derive(self.seed, f"recordings/{self.part}", row % len(self))
            )
            chosen = [row % len(self)] if self.join == 1 else self._joined(draws)
            wave = self._wave(chosen, draws)
            x[i, : len(wave)], mask[i, : len(wave)] = wave, True
            ids = shelf.ids(chosen)
            text[i, : len(ids)] = torch.tensor(ids)
            speaker[i] = names[shelf.kept[chosen[0]].speaker]
            if self.prompt:
                prompt[i] = self._prompt(chosen, draws)
            if self.mix is not None:
                mixed[i, : len(wave)] = self._mixed(wave, chosen, draws)
        cond = {"mask": mask, "text": text, "speaker": speaker}
        cond |= {"prompt": prompt} if self.prompt else {}
        return Examples(x, cond | ({} if self.mix is None else {"degraded": mixed}))

    def words(self, ids: Tensor) -> str:
        """The text of a row of ``text``."""
        return self.frontend.decode(ids)

    def __getstate__(self) -> dict[str, object]:
        # Worker processes read for themselves.
        return {**vars(self), "_shelf": None}

    def everything(self) -> list[Clip]:
        """Every recording of the speakers that are used, of all splits."""
        if self._all is None:
            found = self.clips()
            known = {clip.speaker for clip in found}
            unseen = () if isinstance(self.unseen, int) else self.unseen
            for name in (*self.speakers, *unseen):
                if name not in known:
                    raise DataError(f"there is no speaker '{name}'; there are: {', '.join(sorted(known))}")
            wanted = {*self.speakers, *unseen} if self.speakers else known
            self._all = [clip for clip in found if clip.speaker in wanted]
        return self._all

    def _clips(self) -> _Shelf:
        if self._shelf is None:
            left_out = self.left_out
            if self.part == "unseen":
                mine = [clip for clip in self.everything() if clip.speaker in left_out]
            else:
                seen = [clip for clip in self.everything() if clip.speaker not in left_out]
                mine = [clip for clip in seen if self.belongs(clip, self.part)]
            self._shelf = _Shelf(self, mine)
        return self._shelf

    def _joined(self, draws: torch.Generator) -> list[int]:
        """Clips of one speaker, as many as are drawn and have room."""
        shelf = self._clips()
        first = int(torch.randint(len(shelf.kept), (1,), generator=draws))
        mine = shelf.of[shelf.kept[first].speaker]
        wanted = int(torch.randint(1, self.join + 1, (1,), generator=draws))
        chosen, length, symbols = [first], len(shelf.sounds[first]), len(shelf.ids([first]))
        for place in torch.randint(len(mine), (wanted - 1,), generator=draws).tolist():
            other = mine[place]
            length += len(shelf.sounds[other]) + round(self.pause * self.rate)
            symbols += len(shelf.ids([other])) + 1
            if length > self.samples or symbols > self.text_length:
                break
            chosen.append(other)
        return chosen

    def _wave(self, chosen: list[int], draws: torch.Generator) -> Tensor:
        sounds = self._clips().sounds
        pieces = [sounds[chosen[0]]]
        for i in chosen[1:]:
            rest = int(float(torch.rand((), generator=draws)) * self.pause * self.rate)
            pieces += [torch.zeros(rest), sounds[i]]
        return torch.cat(pieces)

    def _mixed(self, wave: Tensor, chosen: list[int], draws: torch.Generator) -> Tensor:
        """A recording with one of another speaker over it, from its beginning."""
        shelf, (low, high) = self._clips(), self.mix or (0.0, 0.0)
        own = shelf.kept[chosen[0]].speaker
        others = [i for name, found in shelf.of.items() if name != own for i in found]
        others = others or [i for i in shelf.of[own] if i not in chosen]
        if not others:
            raise DataError("mix lays another recording over each, and there is none but its own")
        other = shelf.sounds[others[int(torch.randint(len(others), (1,), generator=draws))]]
        other = torch.nn.functional.pad(other[: len(wave)], (0, max(0, len(wave) - len(other))))
        ratio = low + (high - low) * float(torch.rand((), generator=draws))
        power = float(wave.square().sum() / other.square().sum().clamp_min(1e-12))
        return wave + other * (power / 10 ** (ratio / 10)) ** 0.5

    def _prompt(self, chosen: list[int], draws: torch.Generator) -> Tensor:
        """Another recording of the same speaker (the same one where there is no other), cut or repeated."""
        shelf = self._clips()
        mine = shelf.of[shelf.kept[chosen[0]].speaker]
        others = [i for i in mine if i not in chosen] or mine
        sound = shelf.sounds[others[int(torch.randint(len(others), (1,), generator=draws))]]
        return fill_up(sound, self.prompt_samples)


def fill_up(sound: Tensor, length: int) -> Tensor:
    """The first ``length`` samples of a sound, which is repeated where it is shorter."""
    return sound.repeat(-(-length // max(1, len(sound))))[:length]


class _Shelf:
    """The recordings of one split that can be used, in memory."""

    def __init__(self, data: Recordings, clips: list[Clip]) -> None:
        self.frontend = data.frontend
        self.kept: list[Clip] = []
        self.sounds: list[Tensor] = []
        self._ids: list[list[int]] = []
        notes = Notes()
        for clip in clips:
            self._try(data, clip, notes)
        notes.tell()
        if not clips:
            raise DataError(
                f"split '{data.part}' has none of the {len(data.everything())} recordings; "
                "give more of them, or other speakers"
            )
        if not self.kept:
            raise DataError(f"none of {len(clips)} recordings of split '{data.part}' can be used")
        self.of: dict[str, list[int]] = {}
        for i, clip in enumerate(self.kept):
            self.of.setdefault(clip.speaker, []).append(i)

    def _try(self, data: Recordings, clip: Clip, notes: Notes) -> None:
        try:
            sound = data.sound(clip, notes)
        except DataError as error:
            notes.add(f"left out ({_without(str(error), clip.file)})", clip.file)
            return
        if float(sound.abs().max()) < SILENT:
            notes.add("left out, for they are silent", clip.file)
            return
        if data.trim:
            sound = without_silence(sound, data.rate)
        if len(sound) > data.samples:
            notes.add(f"left out, for they are longer than {data.seconds:g} s", clip.file)
            return
        try:
            ids = self.frontend.encode(clip.text) if clip.text else [0]
        except DataError as error:
            notes.add(f"left out ({str(error).replace(f'the text {clip.text!r}', 'its text')})", clip.file)
            return
        if len(ids) > data.text_length:
            notes.add(f"left out, for their text has more than {data.text_length} symbols", clip.file)
            return
        if data.level is not None:
            sound = at_level(sound, data.level)
        self.kept.append(clip)
        self.sounds.append(sound)
        self._ids.append(ids)

    def ids(self, chosen: list[int]) -> list[int]:
        """Symbols of several clips one after the other, with a space between."""
        found = list(self._ids[chosen[0]])
        for i in chosen[1:]:
            found += [self.frontend.space, *self._ids[i]]
        return found


def _without(message: str, file: Path) -> str:
    return message.replace(str(file), "it").split(": ")[-1]
