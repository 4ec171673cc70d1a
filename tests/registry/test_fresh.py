"""Fresh trials of a dataset: its configuration and length, other seeds, and the trials to fit on as they are."""

from __future__ import annotations

import stat

import numpy as np
import pytest
from helpers.small_collections import TINY, contents, edit_manifest, silent, tiny_config
from tipl_bench.registry.catalog import origin_of
from tipl_bench.registry.collection.collect import collect, truncate
from tipl_bench.registry.collection.fresh import collect_fresh
from tipl_bench.registry.dataset import Dataset
from tipl_bench.utils.errors import DatasetError

NAME = "inverted-pendulum/tiny-fresh-1-v1"
SEEDS = [2**127 + 11, 2**127 + 13]


def fresh(base, folder, progress=silent, seeds=SEEDS, threads=1):
    folder.mkdir(exist_ok=True)
    return collect_fresh(base, NAME, seeds, folder / "dataset", threads=threads, progress=progress)


def test_fresh_trials_stand_beside_the_trials_to_fit_on(collected, tmp_path):
    found = fresh(collected, tmp_path / "set")
    found.verify()
    assert found.manifest.name == NAME
    assert found.manifest.trial_seeds == (1, 2, 3, *SEEDS)
    assert found.manifest.split.model_dump() == {"train": (0, 1), "validation": (2,), "test": (3, 4)}
    assert found.manifest.extends == origin_of(collected)
    assert found.manifest.collection == collected.manifest.collection
    kept = [entry.sha256 for entry in collected.manifest.trials[:3]]
    assert [entry.sha256 for entry in found.manifest.trials[:3]] == kept
    assert len(list((tmp_path / "set").iterdir())) == 1, "nothing is left beside it"
    weights = [trial.weights() for trial in (*collected.trials(), *found.trials([3, 4]))]
    assert len({array.tobytes() for array in weights}) == 7


def test_fresh_trials_can_be_read_by_nobody_else_and_public_ones_keep_their_modes(collected, tmp_path):
    before = {path: path.stat().st_mode for path in collected.folder.rglob("*")}
    found = fresh(collected, tmp_path / "set")
    own = [found.folder, *(trial.path for trial in found.trials([3, 4])), found.folder / "manifest.json"]
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in own)
    assert {path: path.stat().st_mode for path in before} == before


def test_of_a_truncated_dataset_fresh_trials_are_as_long_and_trained_as_the_whole(collected, tmp_path):
    """The learning rate falls over the whole collection, however much of it is kept."""
    short = truncate(collected, "inverted-pendulum/tiny-head-v1", 9, tmp_path / "head")
    found, whole = fresh(short, tmp_path / "set"), fresh(collected, tmp_path / "whole")
    assert {len(trial) for trial in found.trials()} == {9}
    for mine, theirs in zip(found.trials([3, 4]), whole.trials([3, 4]), strict=True):
        np.testing.assert_array_equal(mine.weights(), theirs.weights(0, 9))
        np.testing.assert_array_equal(mine.columns["learning_rate"], theirs.columns["learning_rate"][:9])


@pytest.mark.parametrize("threads", [1, 2])
def test_under_version_2_seeds_reach_the_processes_that_train(threads, tmp_path):
    base = collect(TINY, tiny_config(version=2), threads=1, progress=silent)
    ours = fresh(base, tmp_path / "ours", threads=threads, seeds=[2, 2**127, 2**127 + 1])
    assert len({trial.weights(0, 1).tobytes() for trial in ours.trials()}) == 5, (
        "trial 1 and the first fresh one are one"
    )


def test_after_ctrl_c_fresh_trials_go_on_to_the_same_bytes(collected, tmp_path):
    calls = []

    def interrupt(*report):
        calls.append(report)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh(collected, tmp_path / "one", interrupt)
    assert not (tmp_path / "one/dataset").exists()
    assert contents(fresh(collected, tmp_path / "one").folder) == contents(fresh(collected, tmp_path / "two").folder)
    assert fresh(collected, tmp_path / "one", interrupt) == Dataset.open(tmp_path / "one/dataset"), "nothing is redone"


def test_a_damaged_trial_to_fit_on_and_another_machine_are_refused(dataset, tmp_path):
    damaged = dataset.trial(0).path
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DatasetError, match="trial-0000"):
        fresh(dataset, tmp_path / "set")
    damaged.write_bytes(content)
    versions = tmp_path / "set/collecting/versions.json"
    versions.write_text(versions.read_text().replace(np.__version__, "1.26.4"))
    with pytest.raises(DatasetError, match="begun on another processor or with other package versions"):
        fresh(dataset, tmp_path / "set")
    edit_manifest(dataset.folder, lambda manifest: manifest.update(cpu="Another"))
    assert fresh(Dataset.open(dataset.folder), tmp_path / "other").manifest.cpu != "Another"
