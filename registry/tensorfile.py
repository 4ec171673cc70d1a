"""Safetensors files with a checked header: laid out in full and written in place, or opened for lazy reading."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DatasetError

Array = npt.NDArray[Any]
Mapped = np.memmap[Any, np.dtype[Any]]
TensorLayout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name to NumPy dtype name and shape."""

HEADER_LIMIT = 1 << 20
"""The headers of this format are about 1 KiB; anything near this is something else."""

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
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        end = offset + math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    prefix = struct.pack("<Q", len(text)) + text
    if not path.exists() or path.stat().st_size != start + offset or not _starts_with(path, prefix):
        with path.open("wb") as stream:
            stream.write(prefix)
            _allocate(stream.fileno(), start + offset)
    return {
        name: np.memmap(path, np.dtype(dtype), "r+", start + header[name]["data_offsets"][0], shape)
        for name, (dtype, shape) in tensors.items()
    }


def _starts_with(path: Path, prefix: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(prefix)) == prefix


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # pragma: no cover - macOS has no posix_fallocate
        os.ftruncate(descriptor, size)


def read_header(path: Path) -> dict[str, Any]:
    """A safetensors file's header, with its length checked before it is read.

    Raises
    ------
    DatasetError
        If the file is missing, too short, or its header is oversized or not JSON.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            prefix = stream.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if length > min(HEADER_LIMIT, size - 8):
                raise DatasetError(
                    f"{path}: its header claims {length} bytes, but the file has {size} and headers here are at most "
                    f"{HEADER_LIMIT}; the file is truncated or not a trial. Fetch or collect it again."
                )
            header = json.loads(stream.read(length))
    except FileNotFoundError:
        raise DatasetError(f"{path}: the file is missing. Fetch or collect it again.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{path}: its header is not JSON ({error}). Fetch or collect it again.") from None
    if not isinstance(header, dict):
        raise DatasetError(f"{path}: its header is not a JSON object. Fetch or collect it again.")
    header.pop("__metadata__", None)
    return header


def map_tensors(path: Path) -> dict[str, Mapped]:
    """Map every tensor of a safetensors file for reading; nothing is read before it is used.

    (The safetensors library reads whole row ranges; mapped arrays also give single columns of wide policies.)

    Raises
    ------
    DatasetError
        If a tensor has another dtype than the format's, or its extent does not fit its shape or the file.
    """
    names = {short: np.dtype(dtype) for dtype, short in DTYPES.items()}
    header = read_header(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = 8 + struct.unpack("<Q", stream.read(8))[0]
    tensors: dict[str, Mapped] = {}
    for name, entry in header.items():
        try:
            dtype, shape = names[entry["dtype"]], tuple(map(int, entry["shape"]))
            begin, end = map(int, entry["data_offsets"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: tensor {name!r} has an unusable header entry ({error!r}).") from None
        if (
            begin < 0
            or end - begin != math.prod(shape) * dtype.itemsize
            or start + end > size
            or min(shape, default=0) < 0
        ):
            raise DatasetError(
                f"{path}: tensor {name!r} does not fit its shape or the file. Fetch or collect it again."
            )
        tensors[name] = np.memmap(path, dtype=dtype, mode="r", offset=start + begin, shape=shape)
    return tensors


def tensor_digests(path: Path) -> dict[str, str]:
    """The sha256 of every tensor's bytes, read in pieces; the header is checked to cover the file exactly.

    Raises
    ------
    DatasetError
        If a tensor's extent does not fit the file.
    """
    header = read_header(path)
    with path.open("rb") as stream:
        start = 8 + struct.unpack("<Q", stream.read(8))[0]
        digests = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            stream.seek(start + begin)
            digest, left = hashlib.sha256(), end - begin
            while left > 0 and (piece := stream.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
            if left:
                raise DatasetError(f"{path}: tensor {name!r} ends beyond the file. Fetch or collect it again.")
            digests[name] = digest.hexdigest()
    return digests
