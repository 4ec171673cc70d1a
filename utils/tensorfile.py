"""Safetensors files with a checked header: laid out in full and written in place, or opened for lazy reading."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .canonical import strict_json
from .errors import DatasetError, reason
from .files import CHUNK

Array = npt.NDArray[Any]
Mapped = np.memmap[Any, np.dtype[Any]]
TensorLayout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name to NumPy dtype name and shape."""

SUFFIX = ".safetensors"
HEADER_LIMIT = 1 << 20
"""The headers of this format are about 1 KiB; anything near this is something else."""

MOST_AXES = 8

DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
"""NumPy's names of the dtypes in use, and safetensors' names of them."""


def create_tensors(path: Path, tensors: TensorLayout) -> dict[str, Mapped]:
    """Lay out a safetensors file of the given tensors and map them for writing.

    The file gets its full size at once (a full disk is met here, not hours later) and rows are then written in place,
    so that the content never has to fit in memory. An existing file of the same layout is mapped as it is.

    Returns
    -------
    dict
        Writable memory maps by tensor name.
    """
    prefix, header, size = _laid_out(tensors)
    if not has_layout(path, tensors):
        with path.open("wb") as stream:
            stream.write(prefix)
            _allocate(stream.fileno(), size)
    return {
        name: np.memmap(path, np.dtype(dtype), "r+", len(prefix) + header[name]["data_offsets"][0], shape)
        for name, (dtype, shape) in tensors.items()
    }


def has_layout(path: Path, tensors: TensorLayout) -> bool:
    """Whether a file is there in full, with the header that `create_tensors` gives it."""
    prefix, _, size = _laid_out(tensors)
    if not path.exists() or path.stat().st_size != size:
        return False
    with path.open("rb") as stream:
        return stream.read(len(prefix)) == prefix


def _laid_out(tensors: TensorLayout) -> tuple[bytes, dict[str, Any], int]:
    """What stands before the tensors' bytes, the header in it, and the size of the whole file."""
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, header, 8 + len(text) + offset


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # pragma: no cover - macOS has no posix_fallocate
        os.ftruncate(descriptor, size)


@dataclass(frozen=True)
class TensorSpan:
    """Where one tensor lies in its file: dtype by NumPy's name, shape, first byte and number of bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def read_header(path: Path, remedy: str = "Fetch or collect it again.") -> dict[str, TensorSpan]:
    """A safetensors file's tensors, with everything the header says checked against the file before it is used.

    Parameters
    ----------
    path
        The file.
    remedy
        What the message for a missing or damaged file says to do; by default what helps with a dataset's.

    Raises
    ------
    DatasetError
        If the file is missing or truncated, its header oversized or not strict JSON, a tensor of another dtype than the
        format's, or the tensors do not fill the file one after the other.
    """
    try:
        header, start, size = _load_header(path)
        spans = {name: tensor_span(name, entry, start) for name, entry in header.items() if name != "__metadata__"}
        expected = start
        for name, span in sorted(spans.items(), key=lambda item: (item[1].start, item[1].size)):
            if span.start != expected:
                raise ValueError(f"tensor {name!r} does not begin where the one before it ends")
            expected += span.size
        if expected != size:
            raise ValueError(f"its tensors end at byte {expected}, the file at byte {size}")
    except FileNotFoundError:
        raise DatasetError(f"{path}: the file is missing. {remedy}") from None
    except OSError as error:
        raise DatasetError(f"{path}: the file cannot be read ({reason(error)}). {remedy}") from None
    except ValueError as error:
        what = str(error)[:500]
        raise DatasetError(f"{path}: {what}; the file is damaged or another. {remedy}") from None
    return spans


def _load_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The parsed header, where the tensors' bytes begin, and the file's size."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > min(HEADER_LIMIT, size - 8):
            raise ValueError(
                f"its header claims {length} bytes, where the file has {size} and headers are at most {HEADER_LIMIT}"
            )
        try:
            header = strict_json(stream.read(length).decode())
        except ValueError as error:
            raise ValueError(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, 8 + length, size


def tensor_span(name: str, entry: Any, start: int) -> TensorSpan:
    """One header entry, checked for itself; `start` is where the tensors' bytes begin. Raises `ValueError`."""
    try:
        dtype = {short: name for name, short in DTYPES.items()}[entry["dtype"]]
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"tensor {name!r} has an unusable header entry, {str(entry)[:200]}") from None
    numbers = [*shape, begin, end] if isinstance(shape, list) and len(shape) <= MOST_AXES else [None]
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise ValueError(f"tensor {name!r}: shape {shape} or offsets {begin}, {end} are not natural numbers")
    if end - begin != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"tensor {name!r}: shape {shape} does not fill bytes {begin} to {end}")
    return TensorSpan(dtype, tuple(shape), start + begin, end - begin)


def map_tensors(path: Path, remedy: str = "Fetch or collect it again.") -> dict[str, Mapped]:
    """Map every tensor of a safetensors file for reading; nothing is read before it is used.

    (The safetensors library reads whole row ranges; mapped arrays also give single columns of wide policies.) Raises as
    `read_header`.
    """
    return {
        name: np.memmap(path, np.dtype(span.dtype), "r", span.start, span.shape)
        for name, span in read_header(path, remedy).items()
    }


def release_pages(array: Array) -> None:
    """Take the pages of a mapped file out of this process's resident memory; of any other array, do nothing.

    What was written to the file stays, and what is used again is mapped again. Otherwise a pass over a mapped file
    keeps all of it resident for as long as its memory is not needed elsewhere.
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and owner.mode == "c":  # changes are in these pages alone
            return
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def tensor_digests(path: Path) -> dict[str, str]:
    """The sha256 of every tensor's bytes, read in pieces; raises as `read_header`."""
    digests = {}
    spans = read_header(path)
    with path.open("rb") as stream:
        for name, span in spans.items():
            stream.seek(span.start)
            digest, left = hashlib.sha256(), span.size
            while left > 0 and (piece := stream.read(min(left, CHUNK))):
                digest.update(piece)
                left -= len(piece)
            digests[name] = digest.hexdigest()
    return digests
