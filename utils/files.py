"""Atomic file writes, hashes and links."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import DatasetError, reason

CHUNK = 1 << 20
TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>[0-9]+)(?:-[0-9a-f]{8}@(?P<host>[^.]*))?\.partial")
"""Names of temporary files and folders: what they become, and the process that writes them."""
DAY = 86_400.0


def temporary_beside(path: Path) -> Path:
    """A temporary path beside `path` that no other process or thread uses, on any machine that shares the folder."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}@{_host()}.partial")


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node())[:63]


@contextlib.contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed over `path`.

    If the block raises, the temporary file is removed and `path` is unchanged. The file gets the mode of any new file,
    whatever writes it: safetensors makes its own readable by the user alone. An error of the disk that safetensors
    meets, which is no `OSError` of its own, is raised as one.
    """
    temporary = temporary_beside(path)
    temporary.touch()
    mode = stat.S_IMODE(temporary.stat().st_mode)
    temporary.unlink()
    try:
        yield temporary
        found = temporary.stat()
        if found.st_nlink == 1 and stat.S_IMODE(found.st_mode) != mode:  # a link's mode is that of the other file
            with contextlib.suppress(PermissionError):  # of a file system without modes
                temporary.chmod(mode)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except Exception as error:  # safetensors' own class, which would have to be imported
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None or isinstance(error, OSError):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(temporary)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which gets that name on success and is removed otherwise.

    Raises
    ------
    DatasetError
        If there is something of the name, or the folder cannot be written.
    """
    if target.exists():
        raise DatasetError(f"{target} exists already; remove it, or choose another name or folder.")
    partial = temporary_beside(target)
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        if not is_being_written(left):
            shutil.rmtree(left, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written ({reason(error)}).") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear_leftovers(folder: Path, *, held: bool = False) -> None:
    """Remove temporary files that killed processes left in a folder.

    Files of running processes stay, unless the caller holds the folder's lock (`held`): then no other process can be
    writing, and the PID of a leftover may belong to an unrelated process.
    """
    for path in folder.glob(".*.partial"):
        if held or not is_being_written(path):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def is_being_written(path: Path) -> bool:
    """Whether a temporary file or folder may be a running process's: of another machine, if it is of the last day."""
    found = TEMPORARY.fullmatch(path.name)
    if found is None:
        return True
    if found["host"] in (None, _host()):
        return _is_running(int(found["pid"]))
    try:
        return time.time() - path.lstat().st_mtime < DAY
    except OSError:
        return False


def remove_tree(folder: Path) -> str:
    """Remove a folder whatever its depth and modes; returns why it is not wholly removed, or an empty text.

    What `shutil.rmtree` does not remove (10,000 nested folders, folders without permissions) is left to `rm`.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder):
        return ""
    try:
        subprocess.run(["chmod", "-R", "u+rwX", folder], capture_output=True, check=False)
        removal = subprocess.run(["rm", "-rf", folder], capture_output=True, check=False)
    except OSError as error:
        return str(error)
    return removal.stderr.decode(errors="replace").strip()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """What this process creates in the meantime can be read by its own user alone: files 0600, folders 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file to `target`, or copy it where the file system has no hard links."""
    with replace_atomically(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def sync(path: Path) -> None:
    """Flush a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_file(path: Path) -> bool:
    """Whether a file is there, as far as one may look: `Path.is_file` raises below a folder of somebody else's."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def sha256(path: Path) -> str:
    """The file's sha256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
