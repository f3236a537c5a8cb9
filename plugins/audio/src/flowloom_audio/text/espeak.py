"""The program espeak-ng."""

from __future__ import annotations

import shutil
import subprocess

from flowloom.errors import DataError

__all__ = ["espeak"]


def espeak(text: str, language: str, *flags: str) -> str | None:
    """What espeak-ng prints about a text, None where it is not installed.

    Args:
        text: to read.
        language: such as ``en-us``.
        flags: of the program.

    Raises:
        DataError: it cannot read the text.
    """
    # A program and no library: it is under the GPL, which a library would spread to whoever imports it.
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    asked = [program, *flags, "-v", language, "--", text]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(
            f"espeak-ng cannot read {text!r} in {language}: {done.stderr.strip() or 'no reason given'}"
        )
    return done.stdout
