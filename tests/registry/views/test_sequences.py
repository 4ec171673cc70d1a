"""Windows of trials as a torch dataset: what each holds, how many there are, and how little memory they take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import synthetic
from helpers.sparse_datasets import write_sparse
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from tipl_bench import concatenate
from tipl_bench.utils.errors import DatasetError
from torch.utils.data import DataLoader

CHECKPOINTS = 21
"""T of the tiny collection; its training trials are 0 and 1."""


def brute_force(trials, context, horizon, stride):
    """Trial and origin of every window, by trying each checkpoint as a start."""
    return [
        (trial, start + context - 1)
        for trial in trials
        for start in range(CHECKPOINTS)
        if start % stride == 0 and start + context + horizon <= CHECKPOINTS
    ]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.permutations(range(5)), st.integers(0, 5))
def test_every_window_holds_its_trials_tensors_around_its_origin(collected, context, horizon, stride, order, count):
    if context + horizon > CHECKPOINTS:
        return
    trials = order[:count]
    windows = collected.windows(trials, context=context, horizon=horizon, stride=stride)
    expected = brute_force(trials, context, horizon, stride)
    assert len(windows) == len(expected)
    files = {t: load_file(collected.folder / f"trials/trial-{t:04d}.safetensors") for t in trials}
    for window, (trial, origin) in zip(windows, expected, strict=True):
        past = slice(origin - context + 1, origin + 1)
        whole = slice(past.start, origin + 1 + horizon)
        assert (window["trial"], window["origin"]) == (trial, origin)
        assert np.array_equal(window["context"].numpy(), files[trial]["weights"][past])
        assert np.array_equal(window["target"].numpy(), files[trial]["weights"][origin + 1 : whole.stop])
        assert np.array_equal(window["iteration"].numpy(), files[trial]["iteration"][whole])
        assert np.array_equal(window["epoch"].numpy(), files[trial]["epoch"][whole])


def test_by_default_windows_are_of_the_training_trials_with_a_context_of_20_and_a_horizon_of_10(smooth):
    windows = smooth.windows()
    assert len(windows) == len(smooth.manifest.split.train) * (smooth.manifest.checkpoints - 30 + 1)
    assert {window["trial"] for window in windows} == set(smooth.manifest.split.train)
    assert (windows[0]["context"].shape, windows[0]["target"].shape) == ((20, 32), (10, 32))
    assert (windows[0]["context"].dtype, windows[0]["epoch"].dtype) == (torch.float32, torch.int64)


def test_a_negative_index_counts_from_the_end_and_beyond_either_end_there_is_nothing(collected):
    windows = collected.windows(context=5, horizon=2)
    count = len(windows)
    for index in (0, 1, count - 1):
        mine, same = windows[index], windows[index - count]
        assert (mine["trial"], mine["origin"]) == (same["trial"], same["origin"])
        assert torch.equal(mine["context"], same["context"])
    for index in (count, -count - 1, 10**9):
        with pytest.raises(IndexError, match=f"window {index} of {count}"):
            windows[index]


def test_a_loop_without_a_length_ends(collected):
    windows = collected.windows([3], context=5, horizon=2, stride=4)
    assert [window["origin"] for window in iter(windows)] == [4, 8, 12, 16]
    assert list(collected.windows([], context=5, horizon=2)) == []


def test_a_window_is_ones_own_to_change(collected):
    windows = collected.windows(context=5, horizon=2)
    for tensor in (windows[0]["context"], windows[0]["target"], windows[0]["epoch"], windows[0]["iteration"]):
        tensor.fill_(99)
    assert not any((windows[0][name] == 99).any() for name in ("context", "target", "epoch", "iteration"))


def test_a_window_may_fill_a_trial_and_not_be_longer(collected):
    (window,) = collected.windows([0], context=CHECKPOINTS - 1, horizon=1)
    assert window["origin"] == CHECKPOINTS - 2
    with pytest.raises(DatasetError, match="has 21 checkpoints; a window needs 22"):
        collected.windows(context=CHECKPOINTS - 1, horizon=2)


@pytest.mark.parametrize("wrong", [{"context": 0}, {"horizon": 0}, {"stride": 0}, {"stride": -1}])
def test_lengths_below_one_are_refused(collected, wrong):
    with pytest.raises(DatasetError, match="must each be at least 1"):
        collected.windows(**({"context": 5, "horizon": 2} | wrong))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_every_window_once_in_batches(collected, workers):
    windows = collected.windows(context=5, horizon=2, stride=3)
    batches = list(DataLoader(windows, batch_size=4, num_workers=workers))
    assert [tuple(batch["context"].shape) for batch in batches] == [(4, 5, 46), (4, 5, 46), (2, 5, 46)]
    for name in ("context", "target", "iteration", "epoch"):
        assert torch.equal(torch.cat([batch[name] for batch in batches]), torch.stack([w[name] for w in windows]))
    origins = torch.cat([batch["origin"] for batch in batches]).tolist()
    assert origins == [origin for _, origin in brute_force([0, 1], 5, 2, 3)]


def test_shuffling_loses_and_repeats_nothing(collected):
    windows = collected.windows(context=5, horizon=2)
    loader = DataLoader(windows, batch_size=7, shuffle=True, generator=torch.Generator().manual_seed(0))
    seen = [pair for b in loader for pair in zip(b["trial"].tolist(), b["origin"].tolist(), strict=True)]
    assert seen != sorted(seen)
    assert sorted(seen) == brute_force([0, 1], 5, 2, 1)


PASS = """
import json, sys
from pathlib import Path
from tipl_bench.registry.dataset import Dataset

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

windows = Dataset.open(Path(sys.argv[1])).windows(context=20, horizon=10, stride=30)
windows[0]
before, read = peak(), 0
for window in windows:
    read += window["context"].nbytes + window["target"].nbytes
print(json.dumps({"read": read, "grown": peak() - before}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_a_pass_over_a_file_of_hundreds_of_megabytes_takes_the_memory_of_a_few_windows(tmp_path):
    """In a process of its own; `ru_maxrss` would begin with the peak of this one, `VmHWM` does not."""
    write_sparse(tmp_path / "zeros", 3, 1201)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", PASS, tmp_path / "zeros"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["read"] > 300e6
    assert answer["grown"] < 100e6


def test_trials_of_different_lengths_have_all_of_their_windows(tmp_path):
    short, long = (
        synthetic.write_dataset(
            tmp_path / f"of-{length}",
            [synthetic.random_walk(length + trial, length, 32) for trial in range(3)],
            first_seed=length,
        )
        for length in (31, 46)
    )
    windows = concatenate(short.select([0]), long.select([1]), short.select([2])).windows(stride=3)
    assert [(window["trial"], window["origin"]) for window in windows] == [
        *((0, origin) for origin in (19,)),
        *((1, origin) for origin in range(19, 36, 3)),
        *((2, origin) for origin in (19,)),
    ]
    assert windows[-1]["trial"] == 2
    assert np.array_equal(windows[3]["context"].numpy(), long.trial(1).weights(6, 26))
