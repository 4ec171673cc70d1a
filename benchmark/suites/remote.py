"""Finished runs of a suite at an address of fsspec, such as a bucket: sent there whole, fetched where missing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from ...utils.canonical import strict_json
from ...utils.errors import OptionError, TiplBenchError, reason
from ...utils.fields import Sha256
from ...utils.files import new_folder, sha256

LISTING_NAME = "files.json"
"""Written last: the sha256 of each of a run's files, by name. A run without it is not whole."""
_LISTING = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")], Sha256])


class RemoteResults:
    """Finished runs at an address.

    Parameters
    ----------
    address
        As fsspec takes it: `s3://bucket/board`, `gs://...`, `sftp://host/folder`, or a folder.

    Raises
    ------
    OptionError
        If fsspec does not know its protocol, or the protocol's package is not installed.
    TiplBenchError
        If it cannot be read.
    """

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self.address = address
        self.names: set[str] = set()
        """The runs that are there."""
        with self._told("read"):
            try:
                self._system, root = url_to_fs(address)
            except (ImportError, ValueError) as error:
                raise OptionError(
                    f"{address}: {reason(error)}. Use a folder, or an address like s3://bucket/board."
                ) from None
            self._root = str(root).rstrip("/")
            with contextlib.suppress(FileNotFoundError):  # nothing was sent there yet
                self._system.info(self._root)
                for folder, _, files in self._system.walk(self._root, on_error="raise"):
                    if LISTING_NAME in files:
                        self.names.add(str(folder).rstrip("/")[len(self._root) + 1 :])

    def fetch(self, name: str, folder: Path) -> None:
        """Put a run that is there into a folder that is not, or is empty, each file compared with its sha256."""
        with contextlib.suppress(OSError):
            folder.rmdir()
        with self._told("read"):
            listed = self._system.cat_file(self._place(name, LISTING_NAME))
        try:
            listing = _LISTING.validate_python(strict_json(listed.decode()))
        except ValueError as error:
            raise TiplBenchError(f"{self._place(name, LISTING_NAME)}: not a run's files ({reason(error)}).") from None
        with new_folder(folder) as staging:
            for file, digest in listing.items():
                with self._told("read"):
                    self._system.get_file(self._place(name, file), str(staging / file))
                if sha256(staging / file) != digest:
                    raise TiplBenchError(
                        f"{self._place(name, file)}: not the file that was sent there. Remove the run's folder there "
                        "to run it anew."
                    )

    def send(self, name: str, folder: Path) -> None:
        """Send a run's files, unless the run is there, which another machine may have sent meanwhile."""
        if name in self.names or self._is_there(name):
            return
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
        with self._told("written"):
            self._system.makedirs(self._place(name), exist_ok=True)
            for path in files:
                self._system.put_file(str(path), self._place(name, path.name))
            listing = json.dumps({path.name: sha256(path) for path in files}, indent=1)
            self._system.pipe_file(self._place(name, LISTING_NAME), listing.encode())
        self.names.add(name)

    def _is_there(self, name: str) -> bool:
        with self._told("read"):
            self._system.invalidate_cache()
            try:
                self._system.info(self._place(name, LISTING_NAME))
            except FileNotFoundError:
                return False
        return True

    def _place(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[Any]:
        """Say of any error of a file system, whose kinds nobody can list, where it was."""
        try:
            yield
        except TiplBenchError:
            raise
        except Exception as error:
            raise TiplBenchError(f"{self.address}: cannot be {what} ({reason(error)}).") from error
