"""Recordings made on the spot."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile


@pytest.fixture
def tone():
    """Writes a file of a tone: ``tone(path, seconds=..., rate=..., subtype=...)``."""

    def write(path, seconds=0.3, rate=8000, pitch=220.0, level=0.5, channels=1, subtype="PCM_16"):
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(round(seconds * rate)) / rate
        wave = level * np.sin(2 * np.pi * pitch * time)
        soundfile.write(path, np.stack([wave] * channels, 1), rate, subtype=subtype)
        return path

    return write


@pytest.fixture
def digits(tmp_path, tone):
    """A folder of 3 speakers saying 10 digits 6 times, as tones."""
    folder = tmp_path / "fsdd"
    for s, speaker in enumerate(("ann", "bob", "cid")):
        for digit in range(10):
            for take in range(6):
                name = f"{digit}_{speaker}_{take}.wav"
                tone(folder / name, 0.2 + 0.01 * take, pitch=150 + 100 * s + 20 * digit)
    return folder
