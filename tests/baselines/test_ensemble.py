"""An ensemble is the mean of its members."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.utils.errors import OptionError, PredictorError

HORIZON, CONTEXT = 3, 20


def fitted(model, dataset, *settings, seed=0):
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "smoke", settings, CONTEXT))
    split = dataset.manifest.split
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), HORIZON, CONTEXT, seed=seed))
    return predictor


@pytest.mark.parametrize(("seed", "members"), [(0, (0, 1)), (1, (2, 3))])
def test_its_forecast_is_the_mean_of_fits_with_seeds_that_no_other_ensemble_has(seed, members, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    expected = np.mean([fitted("mlp", smooth, seed=one).predict(contexts, HORIZON) for one in members], axis=0)
    forecast = fitted("ensemble", smooth, seed=seed).predict(contexts, HORIZON)
    np.testing.assert_allclose(forecast, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["model=ensemble"], r"option model: unknown predictor 'ensemble'\. Known: persistence, "),
        (["model_version=9"], r"option model_version is 9, but mlp has version 1 here\."),
        (["members=0"], r"option members \(int\): input should be greater than or equal to 1"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(settings, complaint):
    kind = predictor_type("ensemble")
    with pytest.raises(OptionError, match=complaint):
        build_options(kind, "smoke", settings, CONTEXT)


def test_a_record_states_the_version_of_the_member():
    kind = predictor_type("ensemble")
    options = build_options(kind, "quick", ["model=tipl"], CONTEXT)
    assert options.model_version == predictor_type("tipl").version


def test_a_state_of_another_version_of_the_member_is_refused(smooth, tmp_path):
    predictor = fitted("ensemble", smooth)
    predictor.save(tmp_path / "state.safetensors")
    other = type(predictor)(predictor.options.model_copy(update={"model_version": 9}))
    with pytest.raises(PredictorError, match="of version 9 of mlp, and version 1 is installed: fit it again"):
        other.load_state(predictor.state())
