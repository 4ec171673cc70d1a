"""Compiled functions, with and without a folder for their machine code."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numba
import pytest
from tipl_bench.utils.compilation import compiled

SOURCE = "from tipl_bench.utils.compilation import compiled\n\n\n@compiled\ndef double(x):\n    return 2 * x\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that numba keeps machine code in."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], ModuleType]:
    """Import a module with a compiled function, anew with each call, as another process would."""
    path = tmp_path / "doubling.py"
    path.write_text(SOURCE)

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location("doubling", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_machine_code_is_kept_and_loaded_by_the_next_process(cache, load):
    assert load().double(3) == 6
    again = load()
    assert again.double(3) == 6
    assert sum(again.double.stats.cache_hits.values()) == 1


def test_without_any_folder_for_machine_code_a_function_is_compiled_all_the_same():
    namespace: dict[str, Callable[[int], int]] = {}
    exec("def double(x): return 2 * x", namespace)  # numba has no folder for a function without a file
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(namespace["double"])
    assert compiled(namespace["double"])(3) == 6


def test_a_folder_that_can_no_longer_be_written_is_done_without(cache, load):
    module = load()
    shutil.rmtree(cache)
    cache.write_text("a file in the folder's place")
    assert module.double(3) == 6


@pytest.mark.parametrize("content", [b"", b"nothing of numba's", b"\x80\x05."])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_again(suffix, content, cache, load):
    load().double(3)
    (damaged,) = cache.rglob(f"*.{suffix}")
    damaged.write_bytes(content)
    assert load().double(3) == 6
