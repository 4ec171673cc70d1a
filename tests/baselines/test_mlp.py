"""The MLP on each weight's own past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines import mlp
from tipl_bench.baselines.mlp import MLP, MLPOptions
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.utils.errors import OptionError

HORIZON = 3


@pytest.fixture(scope="module")
def fitted(smooth) -> MLP:
    """Trained for a few hundred small steps."""
    split = smooth.manifest.split
    predictor = MLP(MLPOptions(width=32, steps=300, windows=16, weights=16, learning_rate=3e-3, validate_every=100))
    predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), HORIZON, 20))
    return predictor


def test_when_trials_are_smooth_then_a_few_hundred_steps_beat_persistence(fitted, smooth):
    for test in smooth.manifest.split.test:
        assert (synthetic.skills(fitted, smooth, test, range(19, 78), HORIZON) > 0.5).all()


def test_when_weights_change_places_then_their_forecasts_do(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (30, 50))
    order = np.random.default_rng(0).permutation(32)
    turned = replace(contexts, weights=contexts.weights[..., order])
    expected = fitted.predict(contexts, HORIZON)[..., order]
    np.testing.assert_allclose(fitted.predict(turned, HORIZON), expected, rtol=0, atol=1e-6)


def test_when_a_policy_is_wider_than_one_piece_then_its_forecast_is_the_same(fitted, smooth, monkeypatch):
    contexts = synthetic.contexts_of(smooth, 7, (30, 50))
    whole = fitted.predict(contexts, HORIZON)
    monkeypatch.setattr(mlp, "CHUNK_ROWS", 5)
    np.testing.assert_allclose(fitted.predict(contexts, HORIZON), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["width", "hidden_layers", "steps", "windows", "weights", "validate_every"])
def test_when_a_size_is_zero_then_it_is_named(name):
    with pytest.raises(OptionError, match=rf"mlp: option {name} \(int\): .* greater than or equal to 1; got '0'"):
        build_options(MLP, "quick", [f"{name}=0"], 20)
