"""torchaudio and transformers are imported wherever torch was built for the CPU alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

FAKE = """
import sys
sys.path.insert(0, {folder!r})
"""


def run(code):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)


@pytest.fixture
def linked_to_cuda(tmp_path):
    """A torchaudio whose extension cannot be loaded, as beside a CPU-only torch."""
    package = tmp_path / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("from . import half\nfrom ._extension import fail_if_no_align\n")
    (package / "half.py").write_text("from ._extension import _IS_ALIGN_AVAILABLE\n")
    extension = package / "_extension"
    extension.mkdir()
    (extension / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object')\n")
    return FAKE.format(folder=str(tmp_path))


def test_the_compiled_part_is_left_out_where_it_cannot_be_loaded(linked_to_cuda):
    done = run(
        linked_to_cuda
        + """
from flowloom.libraries import torchaudio
module = torchaudio()
assert module is torchaudio(), "asked twice, it is the same"
assert module.half._IS_ALIGN_AVAILABLE is False
try:
    module.fail_if_no_align(sorted)([])
except RuntimeError as error:
    assert "compiled part" in str(error)
else:
    raise SystemExit("what is lost must say so")
import torchaudio as again
assert again is module
"""
    )
    assert done.returncode == 0, done.stderr


def test_without_help_it_fails(linked_to_cuda):
    assert "OSError" in run(linked_to_cuda + "import torchaudio").stderr


def test_what_is_not_installed_is_said_in_one_line():
    done = run(
        """
        import sys
        sys.modules["torchaudio"] = None  # as if it were not there
        from flowloom.errors import IncompatibleError
        from flowloom.libraries import torchaudio
        try:
            torchaudio()
        except IncompatibleError as error:
            assert "pip install" in str(error) and "\\n" not in str(error)
        else:
            raise SystemExit("it is not there")
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_models_of_transformers_are_made_beside_the_real_torchaudio():
    pytest.importorskip("transformers")
    done = run(
        """
        from importlib.util import find_spec
        from flowloom.libraries import torchaudio, transformers
        library = transformers()
        sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        config = library.BertConfig(**sizes)
        library.BertModel(config)
        if find_spec("torchaudio") is not None:
            import torch
            mel = torchaudio().transforms.MelSpectrogram(8000, 64, n_mels=8)
            assert mel(torch.zeros(1, 640)).shape[1] == 8
        """
    )
    assert done.returncode == 0, done.stderr
