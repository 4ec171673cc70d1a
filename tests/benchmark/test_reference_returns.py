"""Reference returns: the truth, computed once, each true policy under its own normaliser."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.benchmark.forecast.reference_returns import (
    add_reference_returns,
    reference_returns,
    sidecar_name,
)
from tipl_bench.benchmark.forecast.scoring import forecast_returns
from tipl_bench.benchmark.forecast.windows import test_windows
from tipl_bench.registry.dataset import Dataset, describe_file
from tipl_bench.rl.evaluation import Policies, evaluate_returns
from tipl_bench.utils.errors import DatasetError
from tipl_bench.utils.tensorfile import create_tensors, map_tensors


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
    windows = test_windows(drifting, synthetic.SMALL)
    for number in range(0, len(windows), 6):
        trial, origin = windows[number].trial, windows[number].origin
        assert returns.origin[number] == true_return(drifting, trial, origin, origin, (1, 2))
        for step in range(3):
            t = origin + 1 + step
            assert returns.target[number, step] == true_return(drifting, trial, t, t, (1, 2))
            assert returns.target_noise[number, step] == true_return(drifting, trial, t, t, (3, 4))


def test_when_a_forecast_is_evaluated_then_it_acts_with_the_normaliser_at_the_origin(drifting):
    windows = test_windows(drifting, synthetic.SMALL)[:4]
    true = [drifting.trial(w.trial).weights(w.origin + 1, w.origin + 4) for w in windows]
    returns = forecast_returns(drifting, windows, np.stack(true), synthetic.SMALL)
    at_origin = [[true_return(drifting, w.trial, w.origin + h, w.origin, (1, 2)) for h in (1, 2, 3)] for w in windows]
    at_target = [
        [true_return(drifting, w.trial, w.origin + h, w.origin + h, (1, 2)) for h in (1, 2, 3)] for w in windows
    ]
    assert returns.tolist() == at_origin
    assert returns.tolist() != at_target


def test_when_the_truth_is_asked_for_again_then_it_comes_from_the_store(drifting, store):
    first = reference_returns(drifting, synthetic.SMALL)
    (kept,) = (store / "references").iterdir()
    written = kept.stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    second = reference_returns(drifting, synthetic.SMALL, lambda done, total: calls.append((done, total)))
    assert calls == []
    assert kept.stat().st_mtime_ns == written
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_when_windows_overlap_then_progress_counts_each_policy_once_a_seed_set(drifting):
    calls: list[tuple[int, int]] = []
    reference_returns(drifting, synthetic.SMALL, lambda done, total: calls.append((done, total)))
    windows = test_windows(drifting, synthetic.SMALL)
    distinct = {(w.trial, w.origin + h) for w in windows for h in range(4)}
    assert calls[-1] == (2 * len(distinct), 2 * len(distinct))


def test_when_the_truth_is_added_to_a_dataset_then_it_is_listed_hashed_and_used(tmp_path, store):
    dataset = synthetic.walking_dataset(tmp_path / "set")
    computed = reference_returns(dataset, synthetic.SMALL)
    listed = add_reference_returns(dataset, synthetic.SMALL)
    assert listed.digest == dataset.digest
    assert listed.sidecar(sidecar_name(synthetic.SMALL)) == tmp_path / "set" / "reference-returns-p901.safetensors"
    listed.verify()
    calls: list[int] = []
    read = reference_returns(listed, synthetic.SMALL, lambda done, total: calls.append(done))
    assert calls == []
    np.testing.assert_array_equal(read.target, computed.target)
    assert (
        add_reference_returns(listed, synthetic.SMALL, lambda done, total: calls.append(done)).digest == listed.digest
    )
    assert calls == []


@pytest.mark.parametrize("change", [{"origins_per_phase": 4}, {"context": 25}, {"horizon": 2}])
def test_when_stored_returns_belong_to_other_windows_then_they_are_refused(change, tmp_path):
    dataset = add_reference_returns(synthetic.walking_dataset(tmp_path / "set"), synthetic.SMALL)
    with pytest.raises(DatasetError, match=r"reference-returns-p901.safetensors: (not the r|r)eference returns of"):
        reference_returns(dataset, synthetic.SMALL.model_copy(update=change))


@pytest.mark.parametrize("missing", ["trial", "origin", "target_return"])
def test_when_stored_returns_lack_a_tensor_then_the_file_is_named(missing, tmp_path):
    dataset = add_reference_returns(synthetic.walking_dataset(tmp_path / "set"), synthetic.SMALL)
    name = sidecar_name(synthetic.SMALL)
    kept = {key: np.array(rows) for key, rows in map_tensors(dataset.folder / name).items() if key != missing}
    (dataset.folder / name).unlink()
    for key, rows in create_tensors(
        dataset.folder / name, {k: (a.dtype.name, a.shape) for k, a in kept.items()}
    ).items():
        rows[:] = kept[key]
        rows.flush()
    manifest = dataset.manifest.model_copy(update={"format": 1, "sidecars": (describe_file(dataset.folder, name),)})
    manifest.write(dataset.folder)
    with pytest.raises(DatasetError, match=r"reference-returns-p901.safetensors: not the reference returns"):
        reference_returns(Dataset.open(dataset.folder), synthetic.SMALL)
