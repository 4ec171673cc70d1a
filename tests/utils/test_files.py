"""Files that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from helpers.small_collections import contents
from safetensors import SafetensorError
from safetensors.numpy import save_file
from tipl_bench.utils.files import replace_atomically, sha256, write_text


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_a_file_is_replaced_only_when_its_successor_is_complete(folder):
    path = folder / "file.txt"
    path.write_text("old")
    with replace_atomically(path) as temporary:
        assert temporary.parent == folder
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert contents(folder).keys() == {"file.txt"}


def test_whoever_reads_a_file_while_it_is_replaced_reads_it_whole(folder):
    write_text(folder / "file.txt", "old")
    with (folder / "file.txt").open() as reader:
        write_text(folder / "file.txt", "a longer successor")
        assert reader.read() == "old"


def write_half(path):
    with replace_atomically(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def write_to_full_disk(path):
    with replace_atomically(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("new")


def test_when_the_writer_raises_then_the_old_file_stays_and_nothing_else(folder):
    path = folder / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "old"
    assert contents(folder).keys() == {"file.txt"}


def test_when_the_writer_raises_then_a_new_file_does_not_appear(folder):
    with pytest.raises(ZeroDivisionError):
        write_half(folder / "file.txt")
    assert not list(folder.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_when_the_disk_is_full_then_the_old_file_stays(folder):
    path = folder / "file.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left"):
        write_to_full_disk(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in folder.iterdir()] == ["file.txt"]


def test_text_is_written_as_utf8(folder):
    write_text(folder / "file.txt", "Müller ✓\n")
    assert (folder / "file.txt").read_bytes() == "Müller ✓\n".encode()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_files_sha256_is_that_of_all_its_bytes(folder, size):
    content = os.urandom(size)
    (folder / "file").write_bytes(content)
    assert sha256(folder / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_gets_the_mode_of_any_new_file_whatever_writes_it(folder, mask):
    before = os.umask(mask)
    try:
        with replace_atomically(folder / "weights.safetensors") as temporary:
            save_file({"weights": np.zeros(3)}, temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "weights.safetensors").stat().st_mode) == 0o666 & ~mask


def test_a_disk_that_is_full_is_an_error_of_the_system_whatever_writes(folder):
    def save() -> None:
        with replace_atomically(folder / "weights.safetensors"):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left on device") as caught:
        save()
    assert caught.value.errno == errno.ENOSPC
    assert [*folder.iterdir()] == []
