"""The branching ceiling: its estimator against known truths, and continuations of a small real collection."""

from __future__ import annotations

import shutil
import stat

import numpy as np
import pytest
from helpers.ceilings import COPIES, PARAMETERS, synthetic_document, truth
from helpers.mujoco_warnings import quiet_mujoco
from helpers.small_collections import TINY, edit_manifest, silent, tiny_config
from tipl_bench.benchmark.ceiling import compute
from tipl_bench.benchmark.ceiling.branching import summarise
from tipl_bench.benchmark.ceiling.compute import branching_ceiling
from tipl_bench.benchmark.ceiling.document import read_ceiling
from tipl_bench.benchmark.ceiling.estimate import estimate_ceiling
from tipl_bench.benchmark.forecast.windows import evaluation_windows, spread_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.dataset import Dataset
from tipl_bench.utils.errors import DatasetError, OptionError

__all__ = ["quiet_mujoco"]

SHORT = PROTOCOLS[1].model_copy(update={"context": 6, "horizon": 4, "origins_per_phase": 2, "smoothing": 3})


@pytest.mark.parametrize("noise", [0.2, 1.0, 3.0])
def test_of_continuations_with_a_known_variance_the_ceiling_is_as_known(noise):
    exact = truth(noise)
    found = estimate_ceiling(synthetic_document(noise), "learning", PROTOCOLS[1])
    assert [one.value for one in found.by_horizon] == pytest.approx(exact, abs=0.02)
    assert all(one.low < value < one.high for one, value in zip(found.by_horizon, exact, strict=True))
    assert found.mean.low < np.mean(exact) < found.mean.high
    assert np.array(found.positions[1]) == pytest.approx(np.repeat(exact, 5).reshape(4, 5), abs=0.05)
    assert found.stored.low < np.mean(exact) < found.stored.high
    assert (found.windows, found.trials) == (100, 20)


def test_the_variance_is_that_of_a_held_out_continuation_about_the_exact_mean():
    """Each continuation, forecast by the mean of the others, is off by N / (N - 1) times the unbiased variance."""
    continuations = np.random.default_rng(1).normal(size=(COPIES, 3, PARAMETERS)).astype(np.float32)
    stored = np.zeros((4, PARAMETERS), dtype=np.float32)
    found = summarise(continuations, stored, 0.0)
    others = [np.delete(continuations, i, axis=0).mean(axis=0, dtype=np.float64) for i in range(COPIES)]
    errors = np.mean([(own - mean) ** 2 for own, mean in zip(continuations, others, strict=True)], axis=(0, 2))
    assert found.variance * COPIES / (COPIES - 1) == pytest.approx(errors, rel=1e-6)
    assert found.displacement == pytest.approx((continuations.astype(np.float64) ** 2).mean(axis=(0, 2)), rel=1e-6)
    assert found.stored_error == pytest.approx(
        (continuations.mean(axis=0, dtype=np.float64) ** 2).mean(axis=1), rel=1e-6
    )


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("collected")))
        return collect(TINY, tiny_config(), threads=1, progress=silent)


@pytest.fixture
def copy(collected, tmp_path):
    return Dataset.open(shutil.copytree(collected.folder, tmp_path / "dataset"))


def measured(dataset, progress=silent, **settings):
    return branching_ceiling(dataset, SHORT, copies=2, progress=progress, phases=["learning", "converged"], **settings)


def test_some_windows_are_branched_as_all_of_them_are(collected, store, monkeypatch, tmp_path):
    some = measured(collected, limit=3)
    assert [one.window for one in some.windows] == spread_windows(evaluation_windows(collected, SHORT), 3)
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "other"))
    every = measured(collected)
    assert len(every.windows) > 3
    assert [one for one in every.windows if one in some.windows] == list(some.windows)


def test_continuations_start_from_the_stored_trial_and_part_from_it(collected, store):
    found = measured(collected)
    windows = evaluation_windows(collected, SHORT)
    assert [one.window for one in found.windows] == windows
    assert {window.trial for window in windows} == {*collected.manifest.split.test}
    assert max(one.drift for one in found.windows) < 1e-3, "trained in its own block, a trial is the stored one"
    for one in found.windows:
        weights = collected.trial(one.trial).weights(one.origin, one.origin + 5).astype(np.float64)
        assert one.stored_displacement == pytest.approx(((weights[1:] - weights[0]) ** 2).mean(axis=1), rel=1e-4)
        assert all(0 < v < 1.5 * d for v, d in zip(one.variance, one.displacement, strict=True))
    (path,) = (store / "ceilings").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_ceiling(path) == found


def test_a_measurement_that_was_interrupted_continues_to_the_same_document(collected, tmp_path, monkeypatch):
    expected = measured(collected).to_json()
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path / "other"))
    seen = []

    def interrupt(stage, done, total, word):
        seen.append((done, total))
        if word.startswith("2 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(collected, interrupt)
    (path,) = (tmp_path / "other/ceilings").iterdir()
    assert len(read_ceiling(path).windows) == 2
    assert seen == sorted(seen)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(compute, "cpu_name", lambda: "another")
        with pytest.raises(DatasetError, match=r"begun .* or on another processor\. Continue with those, or remove it"):
            measured(collected)
    seen.clear()
    again = measured(collected, lambda stage, done, total, word: seen.append((done, total)))
    assert again.to_json() == expected
    assert seen[-1][0] == seen[-1][1]
    assert path.read_text() == expected
    seen.clear()
    assert measured(collected, lambda *_: seen.append(1)).to_json() == expected
    assert seen == []


def test_when_a_trial_trained_again_is_another_then_it_is_refused(copy):
    edit_manifest(copy.folder, lambda manifest: manifest["trial_seeds"].__setitem__(4, 77))
    with pytest.raises(DatasetError, match=r"trial 4 trained again .* at checkpoint 0 .* state there was not stored"):
        measured(Dataset.open(copy.folder))


def test_a_collection_of_version_3_is_trained_again_bit_for_bit_whatever_the_processor_prefers(store, tmp_path):
    dataset = collect(TINY, tiny_config(version=3, hidden_sizes=(64, 64)), threads=1, progress=silent)
    seen = []
    found = measured(dataset, lambda stage, done, total, word: seen.append((stage, done, total)))
    assert {one.drift for one in found.windows} == {0.0}
    assert seen == sorted(seen)
    assert ("branch", seen[-1][2], seen[-1][2]) in seen
    edit_manifest(dataset.folder, lambda manifest: manifest["trial_seeds"].__setitem__(4, 77))
    shutil.rmtree(store / "ceilings")
    with pytest.raises(DatasetError, match=r"trial 4 trained again .* at checkpoint 0 .* state there was not stored"):
        measured(Dataset.open(dataset.folder))


def test_when_the_environments_state_cannot_be_copied_then_it_is_refused(copy):
    edit_manifest(copy.folder, lambda manifest: manifest["collection"].update(environment="Pendulum-v1"))
    with pytest.raises(DatasetError, match="the state of Pendulum-v1 cannot be copied"):
        measured(Dataset.open(copy.folder))


def test_when_there_are_no_two_continuations_then_nothing_is_computed(collected, store):
    with pytest.raises(OptionError, match="copies is 1: a variance takes 2"):
        branching_ceiling(collected, SHORT, copies=1)
    assert not (store / "ceilings").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}'])
def test_a_damaged_document_is_named(text, tmp_path):
    path = tmp_path / "ceiling.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"ceiling\.json.* Remove it to compute the ceiling anew"):
        read_ceiling(path)
