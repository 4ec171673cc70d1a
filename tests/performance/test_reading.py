"""Reading windows beside a plain memory copy, and beside the safetensors library."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open
from tipl_bench.registry.trial import Trial, trial_tensors
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.tensorfile import create_tensors

pytestmark = pytest.mark.performance
LAYOUT = PolicyLayout(17, (256, 256), 6)
CHECKPOINTS, WINDOW, COUNT = 400, 30, 50


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A HalfCheetah-sized trial in the page cache."""
    path = tmp_path_factory.mktemp("trial") / "trial.safetensors"
    files = create_tensors(path, trial_tensors(CHECKPOINTS, LAYOUT.parameter_count, 17))
    files["weights"][:] = np.random.default_rng(0).standard_normal(LAYOUT.parameter_count)
    return Trial(path, 0, LAYOUT, CHECKPOINTS)


ORIGINS = np.random.default_rng(1).integers(0, CHECKPOINTS - WINDOW, COUNT)
MEGABYTES = COUNT * WINDOW * LAYOUT.parameter_count * 4 / 1e6


@pytest.mark.benchmark(group="window reading")
def test_limit_memory_copy(trial, timed):
    weights = trial.weights()
    timed(
        "copies of windows in memory (limit)",
        lambda: [weights[o : o + WINDOW].copy() for o in ORIGINS],
        MEGABYTES,
        "MB/s",
    )


@pytest.mark.benchmark(group="window reading")
def test_trial_windows(trial, timed):
    timed("Trial.weights", lambda: [trial.weights(o, o + WINDOW) for o in ORIGINS], MEGABYTES, "MB/s")


@pytest.mark.benchmark(group="window reading")
def test_peer_safetensors_slices(trial, timed):
    file = safe_open(trial.path, framework="numpy")
    work = lambda: [file.get_slice("weights")[int(o) : int(o) + WINDOW] for o in ORIGINS]  # noqa: E731
    timed("safetensors get_slice (peer)", work, MEGABYTES, "MB/s")


def test_windows_are_read_as_fast_as_by_the_safetensors_library(reaches):
    reaches("Trial.weights", 1, "safetensors get_slice (peer)")
