"""Saved predictors: safetensors with name, version and options in the header."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.third_party import Keeping, KeepingOptions
from safetensors import safe_open
from safetensors.numpy import save_file
from tipl_bench.baselines.optimizers.state_file import load_state_file
from tipl_bench.baselines.persistence import Persistence
from tipl_bench.baselines.predictor import FitTask, NoOptions
from tipl_bench.baselines.saving import LABEL
from tipl_bench.utils.errors import PredictorError, UnknownNameError


@pytest.fixture
def keeping() -> Keeping:
    """A predictor whose state has a scalar, a flag, a name of its own and a turned matrix."""
    predictor = Keeping(KeepingOptions())
    predictor.fit(FitTask([], [], 3, 20))
    return predictor


@pytest.mark.parametrize("name", ["scalar", "flag", "fitted", "turned"])
def test_when_a_state_is_saved_and_loaded_then_every_array_keeps_its_shape_type_and_values(name, keeping, tmp_path):
    keeping.save(tmp_path / "state.safetensors")
    loaded = Keeping(KeepingOptions())
    loaded.load(tmp_path / "state.safetensors")
    assert name in loaded.learned
    assert loaded.learned[name].shape == keeping.learned[name].shape
    assert loaded.learned[name].dtype == keeping.learned[name].dtype
    np.testing.assert_array_equal(loaded.learned[name], keeping.learned[name])


def test_when_a_predictor_learned_nothing_then_its_file_can_still_be_written_and_read(tmp_path):
    Persistence(NoOptions()).save(tmp_path / "state.safetensors")
    Persistence(NoOptions()).load(tmp_path / "state.safetensors")


def test_when_a_state_is_saved_then_any_safetensors_reader_can_say_whose_it_is(keeping, tmp_path):
    keeping.save(tmp_path / "state.safetensors")
    with safe_open(tmp_path / "state.safetensors", framework="numpy") as file:
        words = " ".join(file.metadata().values())
    for word in ("keeping", "1", "shift", "0.5"):
        assert word in words


def test_when_a_state_is_saved_many_times_then_its_bytes_are_the_same(keeping, tmp_path):
    files = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for file in files:
        keeping.save(file)
    assert len({file.read_bytes() for file in files}) == 1


def test_when_the_version_was_another_then_both_are_named(keeping, tmp_path, monkeypatch):
    keeping.save(tmp_path / "state.safetensors")
    monkeypatch.setattr(Keeping, "version", 2)
    with pytest.raises(PredictorError, match="saved with version 1, not 2"):
        Keeping(KeepingOptions()).load(tmp_path / "state.safetensors")


def test_when_saving_fails_then_an_earlier_file_stays(keeping, tmp_path):
    keeping.save(tmp_path / "state.safetensors")
    before = (tmp_path / "state.safetensors").read_bytes()
    keeping.learned["text"] = np.array(["no such dtype"])
    with pytest.raises(Exception, match="str"):
        keeping.save(tmp_path / "state.safetensors")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".safetensors"] == ["state.safetensors"]
    assert (tmp_path / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, b"\x00" * 8])
def test_when_a_file_is_no_state_then_it_is_named(content, tmp_path):
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(PredictorError, match=r"state\.safetensors: not a saved predictor"):
        Persistence(NoOptions()).load(tmp_path / "state.safetensors")


def test_when_there_is_no_file_then_its_path_is_named(tmp_path):
    with pytest.raises(PredictorError, match=r"state\.safetensors: not a saved predictor"):
        Persistence(NoOptions()).load(tmp_path / "state.safetensors")


def test_when_a_file_says_nothing_of_its_predictor_then_it_is_refused(tmp_path):
    save_file({"fitted": np.ones(1, dtype=np.uint8)}, tmp_path / "state.safetensors")
    with pytest.raises(PredictorError, match="not persistence"):
        Persistence(NoOptions()).load(tmp_path / "state.safetensors")


@pytest.mark.parametrize("named", ["{code}:Own", "os:Own", "", "no-such-predictor"])
def test_a_states_header_names_an_installed_predictor_and_never_code_to_run(named, tmp_path):
    code, ran = tmp_path / "own.py", tmp_path / "ran"
    code.write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass Own:\n    pass\n")
    label = {"predictor": named.format(code=code), "version": 1, "options": {}}
    save_file({"x": np.zeros(1)}, tmp_path / "predictor.safetensors", {LABEL: json.dumps(label)})
    with pytest.raises((PredictorError, UnknownNameError), match=r"no predictor's name|Unknown predictor"):
        load_state_file(str(tmp_path / "predictor.safetensors"))
    assert not ran.exists()
