"""Libraries of others that need help to be imported.

The wheels of torchaudio link CUDA. Beside a torch that was built for the CPU alone their compiled part cannot
be loaded, ``import torchaudio`` raises OSError, and so does every model of transformers, which imports
torchaudio wherever it is installed. Only the compiled part is lost (forced alignment, the RNN-T loss, a fast
IIR filter); everything else is written in torch. Whoever needs one of the two therefore asks here for it,
which changes nothing on disk, and nothing at all where the import succeeds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

from flowloom.errors import IncompatibleError

__all__ = ["torchaudio", "transformers"]

_EXTENSION = "torchaudio._extension"


def torchaudio() -> Any:
    """The module torchaudio, without its compiled part where that cannot be loaded.

    Raises:
        IncompatibleError: it is not installed.
    """
    try:
        return import_module("torchaudio")
    except ModuleNotFoundError as error:
        if error.name != "torchaudio":
            raise
        raise IncompatibleError("torchaudio is not installed; pip install --no-deps torchaudio") from error
    except OSError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        # Private names of torchaudio 2.8 to 2.11, which tests/core/test_core_libraries.py looks at.
        sys.modules[_EXTENSION] = _without_extension()
        return import_module("torchaudio")


def transformers() -> Any:
    """The module transformers, which looks for torchaudio when its models are made.

    Raises:
        IncompatibleError: it is not installed.
    """
    if find_spec("torchaudio") is not None:
        torchaudio()
    try:
        return import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise IncompatibleError("transformers is not installed; pip install transformers") from error


def _without_extension() -> ModuleType:
    """What torchaudio finds in place of the module that loads its compiled part."""
    module = ModuleType(_EXTENSION, "torchaudio's compiled part is left out: it needs CUDA")

    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., NoReturn]:
        def lost(*args: object, **kwargs: object) -> NoReturn:
            what = f"torchaudio's {function.__name__}"
            raise RuntimeError(f"{what} needs the compiled part of torchaudio, which cannot be loaded here")

        return lost

    said = {"_IS_TORCHAUDIO_EXT_AVAILABLE": False, "_IS_ALIGN_AVAILABLE": False}
    vars(module).update(said, _check_cuda_version=lambda: None, fail_if_no_align=fail_if_no_align)
    return module
