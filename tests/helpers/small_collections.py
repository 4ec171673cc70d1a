"""Small things that several tests of the registry need."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tipl_bench.registry.collection_config import CollectionConfig
from tipl_bench.registry.files import VERIFIED_NAME

TINY = "inverted-pendulum/tiny-v1"


def tiny_config(**changes: Any) -> CollectionConfig:
    """Five real trials in well under a second: 4 iterations of 256 steps, 21 checkpoints, P = 46."""
    settings = {
        "environment": "InvertedPendulum-v4",
        "hidden_sizes": (4, 4),
        "environment_steps": 1024,
        "trials": 5,
        "hyperparameters": {"steps_per_iteration": 256, "minibatches": 4},
    }
    return CollectionConfig.model_validate(settings | changes)


def silent(*_: Any) -> None:
    """A progress callback for nobody."""


def contents(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, by relative path; the store's note of what was verified left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != VERIFIED_NAME)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def untouched(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Contents, inode and time of change of every file: equal before and after if nothing was written or replaced."""
    return {
        name: (digest, (folder / name).stat().st_ino, (folder / name).stat().st_mtime_ns)
        for name, digest in contents(folder).items()
    }


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Apply `change` to the parsed manifest and write it back."""
    path = folder / "manifest.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def safetensors_bytes(header: Any, body: bytes = b"") -> bytes:
    """A safetensors file with any header, right or wrong: JSON-encoded unless it is bytes already."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def split_file(path: Path) -> tuple[bytes, bytes]:
    """A safetensors file's header text and its data."""
    content = path.read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    return content[8:start], content[start:]
