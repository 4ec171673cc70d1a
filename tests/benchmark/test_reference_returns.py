"""Reference returns: the truth, computed once, each true policy under its own normaliser."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from helpers import synthetic
from helpers.small_collections import contents
from safetensors.numpy import save_file
from tipl_bench.benchmark.forecast.reference_returns import derive_reference_returns, reference_returns
from tipl_bench.benchmark.forecast.scoring import forecast_returns
from tipl_bench.benchmark.forecast.true_returns import curves_name, iteration_ends, learning_curves, write_curves
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.derived import write_derived
from tipl_bench.rl.evaluation import Policies, evaluate_returns
from tipl_bench.utils.errors import DatasetError
from tipl_bench.utils.tensorfile import map_tensors

NAME = "reference-returns-p901.safetensors"


@pytest.fixture(scope="module")
def drifting(tmp_path_factory) -> Dataset:
    """A dataset whose observation normaliser moves a great deal from checkpoint to checkpoint."""
    stream = np.random.default_rng(0)
    moments = [(stream.normal(size=(81, 4)), stream.uniform(0.05, 3.0, size=(81, 4))) for _ in range(8)]
    return synthetic.walking_dataset(tmp_path_factory.mktemp("drifting") / "set", moments=moments)


def true_return(dataset, trial, checkpoint, normaliser, seeds) -> float:
    """J of one stored policy by itself, with the normaliser of a checkpoint."""
    stored, row = dataset.trial(trial), slice(normaliser, normaliser + 1)
    weights = stored.weights(checkpoint, checkpoint + 1)
    policy = Policies(weights, stored.tensors["observation_mean"][row], stored.tensors["observation_variance"][row])
    return evaluate_returns(dataset.environment, dataset.layout, policy, seeds)[0]


def test_when_the_truth_is_evaluated_then_every_policy_acts_with_its_own_normaliser(drifting):
    returns = reference_returns(drifting, synthetic.SMALL)
    windows = evaluation_windows(drifting, synthetic.SMALL)
    for number in range(0, len(windows), 6):
        trial, origin = windows[number].trial, windows[number].origin
        assert returns.origin[number] == true_return(drifting, trial, origin, origin, (1, 2))
        for step in range(3):
            t = origin + 1 + step
            assert returns.target[number, step] == true_return(drifting, trial, t, t, (1, 2))
            assert returns.target_noise[number, step] == true_return(drifting, trial, t, t, (3, 4))


def test_when_a_forecast_is_evaluated_then_it_acts_with_the_normaliser_at_the_origin(drifting):
    windows = evaluation_windows(drifting, synthetic.SMALL)[:4]
    true = [drifting.trial(w.trial).weights(w.origin + 1, w.origin + 4) for w in windows]
    returns = forecast_returns(drifting, windows, np.stack(true), synthetic.SMALL).values
    at_origin = [[true_return(drifting, w.trial, w.origin + h, w.origin, (1, 2)) for h in (1, 2, 3)] for w in windows]
    at_target = [
        [true_return(drifting, w.trial, w.origin + h, w.origin + h, (1, 2)) for h in (1, 2, 3)] for w in windows
    ]
    assert returns.tolist() == at_origin
    assert returns.tolist() != at_target


def test_when_the_truth_is_asked_for_again_then_it_comes_from_the_store(drifting):
    first = reference_returns(drifting, synthetic.SMALL)
    calls: list[tuple[int, int]] = []
    second = reference_returns(drifting, synthetic.SMALL, lambda stage, done, total, word: calls.append((done, total)))
    assert calls == []
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_when_windows_overlap_then_progress_counts_each_policy_once_a_seed_set(drifting):
    calls: list[tuple[int, int]] = []
    reference_returns(drifting, synthetic.SMALL, lambda stage, done, total, word: calls.append((done, total)))
    windows = evaluation_windows(drifting, synthetic.SMALL)
    distinct = {(w.trial, w.origin + h) for w in windows for h in range(4)}
    assert calls[-1] == (2 * len(distinct), 2 * len(distinct))


def test_derived_returns_stand_beside_the_dataset_outside_its_digest_and_are_used(tmp_path, store):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    before = contents(dataset.folder)
    computed = reference_returns(dataset, synthetic.SMALL)
    derive_reference_returns(dataset, synthetic.SMALL)
    place = "derived/p901"
    assert contents(dataset.folder).keys() - before.keys() == {f"{place}/{NAME}", f"{place}/derived.json"}
    assert contents(dataset.folder)["manifest.json"] == before["manifest.json"]
    dataset.verify()
    calls: list[int] = []
    shutil.rmtree(store)
    read = reference_returns(dataset, synthetic.SMALL, lambda stage, done, total, word: calls.append(done))
    np.testing.assert_array_equal(read.target, computed.target)
    derive_reference_returns(dataset, synthetic.SMALL, lambda stage, done, total, word: calls.append(done))
    assert calls == []


def test_damaged_derived_returns_are_refused_with_their_file(tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    derive_reference_returns(dataset, synthetic.SMALL)
    path = dataset.folder / "derived/p901" / NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for read in (lambda: reference_returns(dataset, synthetic.SMALL), dataset.verify):
        with pytest.raises(DatasetError, match=rf"{NAME}: tensor '\w+' does not have the manifest's sha256"):
            read()


def test_derived_returns_of_another_dataset_are_refused(tmp_path):
    first, second = (synthetic.walking_dataset(tmp_path / name, cpu=name) for name in ("first", "second"))
    derive_reference_returns(first, synthetic.SMALL)
    shutil.copytree(first.folder / "derived", second.folder / "derived")
    with pytest.raises(DatasetError, match=rf"derived by protocol 901 .* {first.digest}, not .* {second.digest}"):
        reference_returns(second, synthetic.SMALL)


@pytest.mark.parametrize("change", [{"origins_per_phase": 4}, {"context": 25}, {"horizon": 2}])
def test_when_stored_returns_belong_to_other_windows_then_they_are_refused(change, tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    derive_reference_returns(dataset, synthetic.SMALL)
    with pytest.raises(DatasetError, match=r"reference-returns-p901.safetensors: (not the r|r)eference returns of"):
        reference_returns(dataset, synthetic.SMALL.model_copy(update=change))


@pytest.mark.parametrize("missing", ["trial", "origin", "target_return"])
def test_when_stored_returns_lack_a_tensor_then_the_file_is_named(missing, tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    derive_reference_returns(dataset, synthetic.SMALL)
    derived = dataset.folder / "derived/p901"
    kept = {key: np.array(rows) for key, rows in map_tensors(derived / NAME).items() if key != missing}
    shutil.rmtree(derived)
    write_derived(dataset.folder, dataset.manifest, 901, lambda folder: save_file(kept, folder / NAME))
    with pytest.raises(DatasetError, match=r"reference-returns-p901.safetensors: not the reference returns"):
        reference_returns(dataset, synthetic.SMALL)


def test_version_2_goes_by_the_true_returns_and_its_derived_data_hold_them(tmp_path, store):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    split, protocol = dataset.manifest.split, synthetic.SMALL_2
    curves = learning_curves(dataset, protocol, split.test)
    ends = iteration_ends(dataset.trial(split.test[0]))
    assert ends.tolist() == [0, *range(5, 81, 5)]
    for index, curve in curves.items():
        assert curve.tolist() == [true_return(dataset, index, t, t, (1, 2)) for t in ends]
    everything = {on: evaluation_windows(dataset, protocol, on) for on in ("test", "validation")}
    computed = {on: reference_returns(dataset, protocol, windows=windows) for on, windows in everything.items()}
    derive_reference_returns(dataset, protocol)
    shutil.rmtree(store)
    calls: list[str] = []
    for split, windows in everything.items():
        assert (
            evaluation_windows(dataset, protocol, split, progress=lambda stage, *rest: calls.append(stage)) == windows
        )
        read = reference_returns(dataset, protocol, lambda stage, *rest: calls.append(stage), windows)
        for one, other in zip(vars(read).values(), vars(computed[split]).values(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert calls == []


def test_a_perfect_forecast_acts_with_the_normaliser_at_the_origin(drifting):
    windows = evaluation_windows(drifting, synthetic.SMALL_2)
    returns = reference_returns(drifting, synthetic.SMALL_2)
    for number in range(0, len(windows), 4):
        trial, origin = windows[number].trial, windows[number].origin
        for step in range(3):
            t = origin + 1 + step
            assert returns.target[number, step] == true_return(drifting, trial, t, t, (1, 2))
            assert returns.perfect[number, step] == true_return(drifting, trial, t, origin, (1, 2))
    assert (returns.perfect != returns.target).any()


@pytest.mark.parametrize("damage", ["another trial", "a gap"])
def test_when_a_learning_curve_is_not_whole_then_its_file_is_named(damage, tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    trials = dataset.manifest.split.test

    def save(folder):
        known = dict.fromkeys(range(0, 81, 10 if damage == "a gap" else 5), 1.0)
        write_curves(folder / curves_name(synthetic.SMALL_2), 81, {t + (damage != "a gap"): known for t in trials})

    write_derived(dataset.folder, dataset.manifest, 902, save)
    with pytest.raises(DatasetError, match=r"learning-curves-p902\.safetensors: lacks the learning curve of one of"):
        evaluation_windows(dataset, synthetic.SMALL_2)
