"""Trial files against the official safetensors library: what either writes, the other reads."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors
from helpers.small_collections import contents, safetensors_bytes, split_file
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load_file, save_file
from tipl_bench.utils.errors import DatasetError
from tipl_bench.utils.tensorfile import create_tensors, map_tensors, read_header, release_pages, tensor_digests

shapes = array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=5)
some_arrays = st.sampled_from(["float32", "float64", "int64"]).flatmap(lambda dtype: arrays(dtype, shapes))
names = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable())
files = st.dictionaries(names, some_arrays, min_size=1, max_size=5)


def write(path, tensors):
    """Write arrays with our own writer."""
    maps = create_tensors(path, {name: (array.dtype.name, array.shape) for name, array in tensors.items()})
    for name, array in tensors.items():
        maps[name][...] = array
        maps[name].flush()


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(files)
def test_files_written_here_are_read_by_the_official_library(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("files") / "ours.safetensors"
    write(path, tensors)
    assert_equal(load_file(path), tensors)


@given(files)
def test_files_written_by_the_official_library_are_mapped_here(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("files") / "theirs.safetensors"
    save_file(tensors, path, metadata={"any": "thing"})
    assert_equal(map_tensors(path), tensors)
    assert read_header(path).keys() == tensors.keys()


@given(files)
def test_digests_are_those_of_each_tensors_bytes(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("files") / "digests.safetensors"
    write(path, tensors)
    assert tensor_digests(path) == {name: hashlib.sha256(a.tobytes()).hexdigest() for name, a in tensors.items()}


def test_a_tensor_longer_than_one_piece_is_hashed_whole(tmp_path):
    tensors = {"long": np.random.default_rng(0).normal(size=(2, 100_003)), "short": np.arange(3)}
    write(tmp_path / "long.safetensors", tensors)
    digests = tensor_digests(tmp_path / "long.safetensors")
    assert digests == {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in tensors.items()}


@pytest.mark.parametrize("length", [80, 4088, 8184])
def test_a_tensor_without_elements_is_mapped_wherever_it_lies(tmp_path, length):
    """A mapping cannot begin where the file ends, as it would behind a header of exactly one page."""
    path = tmp_path / "empty.safetensors"
    header = json.dumps({"a": entry(shape=(0, 3), offsets=(0, 0))}).encode()
    path.write_bytes(safetensors_bytes(header.ljust(length)))
    assert_equal(map_tensors(path), load_file(path))


def test_a_new_file_has_its_full_size_and_zeros(tmp_path):
    path = tmp_path / "new.safetensors"
    create_tensors(path, {"a": ("float32", (1000, 7)), "b": ("int64", (5,))})
    assert path.stat().st_size == 8 + len(split_file(path)[0]) + 4 * 7000 + 8 * 5
    assert not any(array.any() for array in load_file(path).values())


def test_an_existing_file_of_the_same_layout_keeps_its_rows(tmp_path):
    path, layout = tmp_path / "kept.safetensors", {"a": ("float32", (4, 2))}
    create_tensors(path, layout)["a"][1] = 5
    assert create_tensors(path, layout)["a"][1].tolist() == [5, 5]


@pytest.mark.parametrize("other", [{"a": ("int64", (4, 1))}, {"b": ("float32", (4, 2))}, {"a": ("float32", (5, 2))}])
def test_an_existing_file_of_another_layout_is_laid_out_anew(tmp_path, other):
    path = tmp_path / "replaced.safetensors"
    create_tensors(path, {"a": ("float32", (4, 2))})["a"][:] = 5
    assert not any(array.any() for array in create_tensors(path, other).values())
    assert {name: (a.dtype.name, a.shape) for name, a in load_file(path).items()} == other


def test_mapped_tensors_cannot_be_written(tmp_path):
    write(tmp_path / "read.safetensors", {"a": np.arange(3)})
    with pytest.raises(ValueError, match="read-only"):
        map_tensors(tmp_path / "read.safetensors")["a"][0] = 1


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


TWO = {"a": entry(), "b": entry(offsets=(8, 16))}
BROKEN = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "header a little longer than the file": (100).to_bytes(8, "little") + b"{}",
    "header length bomb": (2**62).to_bytes(8, "little") + b"{}" + b"\0" * 64,
    "largest header length": b"\xff" * 8 + b"{}",
    "header over the limit": safetensors_bytes(b" " * (1 << 20) + b"{}"),
    "not JSON": safetensors_bytes(b"{'a': 1}"),
    "not UTF-8": safetensors_bytes(b'{"\xff": 1}'),
    "nested too deeply": safetensors_bytes(b'{"a":' * 5000),
    "a number of 5000 digits": safetensors_bytes(b'{"a":' + b"9" * 5000 + b"}"),
    "a list": safetensors_bytes([1, 2]),
    "an entry that is a number": safetensors_bytes({"a": 3}),
    "an entry without offsets": safetensors_bytes({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "an entry without dtype": safetensors_bytes({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "another dtype": safetensors_bytes({"a": entry("F16", (4,))}, bytes(8)),
    "a dtype that is a list": safetensors_bytes({"a": entry(["F32"])}, bytes(8)),
    "three offsets": safetensors_bytes({"a": entry(offsets=(0, 8, 16))}, bytes(16)),
    "offsets that are text": safetensors_bytes({"a": entry(offsets=("zero", "eight"))}, bytes(8)),
    "a shape that is text": safetensors_bytes({"a": entry(shape="12", offsets="08")}, bytes(8)),
    "a fractional shape": safetensors_bytes({"a": entry(shape=(2.7,))}, bytes(8)),
    "an infinite shape": safetensors_bytes(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,8]}}', bytes(8)),
    "a negative shape": safetensors_bytes({"a": entry(shape=(-1, -2))}, bytes(8)),
    "a shape for more bytes": safetensors_bytes({"a": entry(shape=(3,))}, bytes(12)),
    "a negative offset": safetensors_bytes({"a": entry(offsets=(-8, 0))}, bytes(8)),
    "offsets far before the file": safetensors_bytes({"a": entry(offsets=(-9992, -9984))}, bytes(8)),
    "offsets beyond the file": safetensors_bytes({"a": entry(offsets=(8, 16))}, bytes(8)),
    "a truncated body": safetensors_bytes(TWO, bytes(15)),
    "bytes behind the last tensor": safetensors_bytes(TWO, bytes(17)),
    "a hole between tensors": safetensors_bytes({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "two tensors in one place": safetensors_bytes({"a": entry(), "b": entry()}, bytes(8)),
    "two tensors in one place and an unused one": safetensors_bytes({"a": entry(), "b": entry()}, bytes(16)),
    "a name given twice": safetensors_bytes(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}',
        bytes(16),
    ),
}


def test_the_official_library_refuses_every_broken_file_but_two(tmp_path):
    """The table is the format's, not our taste; only a smaller header and fewer dtypes are rules of this suite."""
    accepted = []
    for what, content in BROKEN.items():
        (tmp_path / "broken.safetensors").write_bytes(content)
        try:
            load_file(tmp_path / "broken.safetensors")
            accepted.append(what)
        except (safetensors.SafetensorError, ValueError, OverflowError):
            pass
    assert accepted == ["header over the limit", "another dtype"]


@pytest.mark.parametrize("reader", [map_tensors, tensor_digests])
@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_by_its_name_and_left_alone(tmp_path, what, reader):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(BROKEN[what])
    before = contents(tmp_path)
    with pytest.raises(DatasetError) as caught:
        reader(path)
    assert "broken.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert contents(tmp_path) == before


@pytest.mark.parametrize("reader", [read_header, map_tensors, tensor_digests])
def test_a_missing_file_is_named(tmp_path, reader):
    with pytest.raises(DatasetError, match=r"absent\.safetensors: the file is missing"):
        reader(tmp_path / "absent.safetensors")


def test_a_header_is_written_as_compact_padded_json(tmp_path):
    write(tmp_path / "a.safetensors", {"a": np.arange(3)})
    header, _ = split_file(tmp_path / "a.safetensors")
    assert len(header) % 8 == 0
    assert json.loads(header) == {"a": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]}}


def test_released_pages_hold_what_was_written(tmp_path):
    written = create_tensors(tmp_path / "x.safetensors", {"a": ("float32", (50, 3000))})["a"]
    for row in range(50):
        written[row] = row
        release_pages(written)
    read = np.asarray(map_tensors(tmp_path / "x.safetensors")["a"]).reshape(25, 2, -1)
    release_pages(read)
    assert np.array_equal(read.reshape(50, -1), np.repeat(np.arange(50.0)[:, None], 3000, axis=1))


def test_what_is_no_mapped_file_is_left_alone(tmp_path):
    own = np.arange(5.0)
    np.save(tmp_path / "x.npy", own)
    changed = np.load(tmp_path / "x.npy", mmap_mode="c")
    changed[:] = 7  # a private copy, of which the file knows nothing
    for array in (own, own[1:], changed, changed[1:]):
        release_pages(array)
    assert own.tolist() == [0, 1, 2, 3, 4]
    assert changed.tolist() == [7] * 5
