"""Large files: their bytes by sha256 in a folder, their pointers in git."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .protocol import HubError

LARGE_SUFFIXES = frozenset({".safetensors", ".parquet", ".png"})
LARGE_SIZE = 10_000_000  # bytes: what git itself may hold of one file
POINTER_LIMIT = 1024  # bytes: nothing longer is a pointer

ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LARGE_SUFFIXES))


def is_large(path: str, size: int) -> bool:
    return PurePosixPath(path).suffix in LARGE_SUFFIXES or size > LARGE_SIZE


@dataclass(frozen=True)
class Pointer:
    """What git holds in place of a large file."""

    sha256: str
    size: int

    def encode(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @classmethod
    def decode(cls, content: bytes) -> Pointer | None:
        """The pointer in a blob; None if the blob is an ordinary file."""
        pattern = rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n"
        match = re.fullmatch(pattern, content)
        return cls(match[1].decode(), int(match[2])) if match else None


class LargeFiles:
    """The objects of one repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise HubError(422, f"Not a sha256: {sha256!r}")
        return self.folder / sha256

    def holds(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def store(self, sha256: str, size: int, chunks: Iterable[bytes]) -> None:
        """Keep an object, if its bytes are what its name says."""
        target, digest, length = self.path(sha256), hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="incoming-", delete=False) as file:
            incoming = Path(file.name)
            try:
                for chunk in chunks:
                    digest.update(chunk)
                    length += file.write(chunk)
                file.flush()
                if (digest.hexdigest(), length) != (sha256, size):
                    raise HubError(400, f"BadDigest: promised {size} bytes with sha256 {sha256}, received {length}")
                incoming.replace(target)
            finally:
                incoming.unlink(missing_ok=True)

    def add(self, content: bytes) -> Pointer:
        pointer = Pointer(hashlib.sha256(content).hexdigest(), len(content))
        self.store(pointer.sha256, pointer.size, [content])
        return pointer
