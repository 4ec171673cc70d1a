"""Nulls: where nothing can be forecast nobody has skill, and where something can, the test would see it."""

from __future__ import annotations

import pytest
from helpers import synthetic
from helpers.predictors import IN_PROCESSES
from tipl_bench.benchmark.forecast.reference_returns import derive_reference_returns
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.manifest import Split

PROTOCOL = synthetic.SMALL.model_copy(update={"version": 902, "origins_per_phase": 10, "evaluation_seeds": (1,)})
SPLIT = Split(train=tuple(range(8)), validation=(8, 9), test=tuple(range(10, 22)))
SETTINGS = {
    "tipl": ("steps=150", "width=32", "layers=1", "learning_rate=0.003", "warmup=10", "validate_every=50"),
    "tipl-pooled": ("steps=100", "width=32", "layers=1", "rank=16", "learning_rate=0.003", "warmup=10"),
    "mlp": ("steps=300", "width=32", "learning_rate=0.003", "warmup=10", "validate_every=100"),
    **dict.fromkeys(
        ("tipl-neuron", "tipl-neuron-statistics"),
        ("steps=50", "width=8", "rounds=1", "windows=16", "warmup=10", "validate_every=25"),
    ),
    **dict.fromkeys(("introspection", "farcasting", "wnn"), ("steps=100", "windows=16", "weights=16")),
    "wnn-plus": ("steps=100", "windows=4", "warmup=10", "validate_every=50"),
    "nino": ("steps=40", "windows=4", "warmup=10", "validate_every=20"),
    "ensemble": ("model=autoregression",),
}


def skill(model: str, dataset: Dataset, folder):
    """The skill at h = 1 over all windows, with its interval."""
    request = RunRequest(model, dataset, settings=SETTINGS.get(model, ()), device="cpu", protocol=PROTOCOL)
    return execute(request, folder / "run").record.result("all", 1)["skill"]


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Dataset:
    """22 random walks, 12 of them for testing."""
    dataset = synthetic.walking_dataset(tmp_path_factory.mktemp("noise") / "set", trials=22, split=SPLIT)
    derive_reference_returns(dataset, PROTOCOL)
    return dataset


@pytest.fixture(scope="module")
def signal(tmp_path_factory) -> Dataset:
    """22 trials whose differences follow their last two."""
    weights = [synthetic.autoregressive(i, 81, 32, (0.6, -0.2)) for i in range(22)]
    return synthetic.write_dataset(tmp_path_factory.mktemp("signal") / "set", weights, split=SPLIT)


@pytest.mark.parametrize("model", IN_PROCESSES)
def test_when_trials_are_random_walks_then_no_predictor_has_significant_skill(model, noise, tmp_path):
    estimate = skill(model, noise, tmp_path)
    assert estimate.low <= 0
    if model == "linear":  # its error is the sum of two independent differences: twice persistence's
        assert estimate.low <= -1 <= estimate.high


def test_when_differences_are_autoregressive_then_ridge_has_the_skill_that_theory_gives(signal, tmp_path):
    # with a = (0.6, -0.2): rho_1 = a1 / (1 - a2), and the explained share of the variance is a1 rho_1 + a2 rho_2
    first = 0.6 / 1.2
    explained = 0.6 * first - 0.2 * (0.6 * first - 0.2)
    estimate = skill("autoregression", signal, tmp_path)
    assert estimate.low > 0
    assert abs(estimate.value - explained) < 0.03
