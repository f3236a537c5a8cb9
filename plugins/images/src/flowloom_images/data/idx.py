"""The idx format of MNIST and its kin."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from flowloom.errors import DataError

_UNSIGNED_BYTES = 8


def read_idx(path: Path) -> Tensor:
    """Read an idx file of unsigned bytes, gzipped or not, whatever its name says.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
    32-bit number, then the values in row-major order.

    Args:
        path: of the file.

    Returns:
        A uint8 tensor of the shape that the file states.

    Raises:
        DataError: the file cannot be read, is no idx file of bytes, or is longer or shorter than it says.
    """
    raw = read_bytes(path)
    if len(raw) < 4 or raw[0] or raw[1]:
        raise DataError(
            f"{path} is not an idx file (it starts with {raw[:4].hex(' ') or 'nothing'}); get it anew"
        )
    if raw[2] != _UNSIGNED_BYTES:
        raise DataError(
            f"{path} holds idx values of type 0x{raw[2]:02x}; only unsigned bytes (0x08) are read"
        )
    start = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if raw[3] and len(raw) >= start and not math.prod(shape):
        raise DataError(f"{path} holds no values: its shape is {tuple(shape)}; get it anew")
    if raw[3] == 0 or len(raw) != start + math.prod(shape):
        raise DataError(
            f"{path} has {len(raw)} bytes where shape {tuple(shape)} needs {start + math.prod(shape)}; "
            "it is truncated or damaged, get it anew"
        )
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).view(shape)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unzipped where it is gzipped.

    Raises:
        DataError: it cannot be read, or the compressed data are damaged.
    """
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is truncated or damaged ({error}); delete it and get it anew") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
