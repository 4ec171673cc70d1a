"""TIPL: its backbone, its training, and what its forecasts keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import synthetic
from tipl_bench.baselines.autoregression import Autoregression, AutoregressionOptions
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.baselines.tipl import TIPL, TIPLOptions
from tipl_bench.baselines.tipl.backbone import MIN_TIMESTEPS, Backbone
from tipl_bench.baselines.tipl.training import orthogonal
from tipl_bench.benchmark.forecast.weight_errors import span_projection
from tipl_bench.registry.trial import Trial
from tipl_bench.utils.errors import OptionError, PredictorError

HORIZON = 3
SMALL = TIPLOptions(layers=2, heads=2, width=16, rank=5)


@pytest.fixture(scope="module")
def fitted(smooth) -> TIPL:
    """Trained for a few hundred small steps."""
    split = smooth.manifest.split
    options = TIPLOptions(layers=1, width=32, steps=300, batch=32, learning_rate=3e-3, warmup=10, validate_every=50)
    predictor = TIPL(options)
    predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), HORIZON, 20))
    return predictor


def backbone(options: TIPLOptions = SMALL) -> Backbone:
    """A backbone whose every parameter is random, in evaluation mode."""
    torch.manual_seed(0)
    model = Backbone(options, rank=5, positions=5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tokens(batch: int = 3, length: int = 12):
    """Points and positions."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, SMALL.rank, generator=generator), torch.arange(length).expand(batch, -1) % 5


def test_when_a_later_token_changes_then_no_earlier_output_does():
    model, (points, positions) = backbone(), tokens()
    before = model(points, positions)
    for changed in range(1, points.shape[1]):
        other = points.clone()
        other[:, changed:] += 1.0
        after = model(other, positions)
        torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=0, atol=1e-6)
        assert (after[:, changed] - before[:, changed]).abs().max() > 1e-3


def test_when_later_positions_change_then_no_earlier_output_does():
    model, (points, positions) = backbone(), tokens()
    other = positions.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 5
    before, after = model(points, positions), model(points, other)
    torch.testing.assert_close(after[:, :7], before[:, :7], rtol=0, atol=1e-6)
    assert (after[:, 7:] - before[:, 7:]).abs().max() > 1e-3


def test_when_an_earlier_token_changes_then_every_later_output_does():
    model, (points, positions) = backbone(), tokens()
    other = points.clone()
    other[:, 0] += 1.0
    difference = (model(other, positions) - model(points, positions)).abs().amax(dim=(0, 2))
    assert (difference > 1e-5).all()


def test_when_windows_share_a_batch_then_none_sees_another():
    model, (points, positions) = backbone(), tokens()
    other = points.clone()
    other[1] = 7.0
    before, after = model(points, positions), model(other, positions)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=0, atol=1e-6)


def test_when_a_backbone_is_new_then_it_forecasts_no_movement():
    points, positions = tokens()
    assert not Backbone(SMALL, rank=5, positions=5)(points, positions).any()


def test_when_it_begins_at_the_ridge_line_then_its_first_forecasts_are_those_of_autoregression(smooth):
    split = smooth.manifest.split
    task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 1, 20)
    line = Autoregression(AutoregressionOptions())
    line.fit(task)
    options = TIPLOptions(layers=1, width=16, steps=1, learning_rate=1e-30, ridge=True)
    predictor = TIPL(options)
    predictor.fit(task)
    contexts = synthetic.contexts_of(smooth, 7, tuple(range(19, 78)))
    step = np.abs(np.diff(contexts.weights, axis=1)).max()
    np.testing.assert_allclose(predictor.predict(contexts, 1), line.predict(contexts, 1), rtol=0, atol=1e-3 * step)


def test_when_the_past_is_shorter_than_the_lags_then_what_is_missing_counts_as_no_movement():
    model = Backbone(SMALL, rank=5, positions=2, ridge=np.array([[0.5, 0.25], [1.0, -1.0]], dtype=np.float32))
    points, positions = tokens(length=3)
    positions = positions % 2
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 1]
    expected = points + torch.stack([torch.zeros_like(first), first, 0.5 * second + 0.25 * first], dim=1)
    torch.testing.assert_close(model.following(points, positions), expected)


def test_when_it_begins_at_the_ridge_line_then_its_state_holds_that(smooth, tmp_path):
    split = smooth.manifest.split
    options = TIPLOptions(layers=1, width=16, rank=19, steps=5, ridge=True, rotations=False)
    one, other = TIPL(options), TIPL(options)
    one.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), HORIZON, 20))
    one.save(tmp_path / "state.safetensors")
    other.load(tmp_path / "state.safetensors")
    contexts = synthetic.contexts_of(smooth, 7, (25, 50))
    np.testing.assert_array_equal(one.predict(contexts, HORIZON), other.predict(contexts, HORIZON))


def test_when_context_and_horizon_are_the_protocols_then_every_timestep_has_an_embedding():
    points, positions = tokens(length=MIN_TIMESTEPS)
    assert backbone()(points, positions).isfinite().all()


def test_when_trials_are_smooth_then_a_few_hundred_steps_beat_persistence(fitted, smooth):
    for test in smooth.manifest.split.test:
        assert (synthetic.skills(fitted, smooth, test, range(19, 78), HORIZON) > 0.5).all()


def test_when_weights_are_forecast_then_the_forecast_lies_in_the_contexts_span(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 40, 77))
    for context, forecast in zip(contexts.weights, fitted.predict(contexts, HORIZON), strict=True):
        np.testing.assert_allclose(forecast, span_projection(context, forecast), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["smooth", "walking"])
def test_when_weights_change_places_then_their_forecasts_do(name, fitted, request):
    dataset = request.getfixturevalue(name)
    contexts = synthetic.contexts_of(dataset, 7, tuple(range(19, 78)))
    order = np.random.default_rng(0).permutation(32)
    turned = replace(contexts, weights=contexts.weights[..., order])
    expected = fitted.predict(contexts, HORIZON)[..., order]
    step = np.abs(np.diff(contexts.weights, axis=1)).max()
    np.testing.assert_allclose(fitted.predict(turned, HORIZON), expected, rtol=0, atol=1e-2 * step)


def test_when_the_horizon_is_rolled_out_then_each_step_feeds_the_next(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (25, 50))
    long = fitted.predict(contexts, HORIZON)
    assert long.shape == (2, HORIZON, 32)
    np.testing.assert_allclose(fitted.predict(contexts, 2), long[:, :2], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["layers=0"], r"tipl: option layers \(int\): input should be greater than or equal to 1; got '0'"),
        (["batch=-2"], "option batch .* greater than or equal to 1; got '-2'"),
        (["width=30", "heads=4"], "tipl: option heads is 4, which does not divide option width, 30"),
        (["dropout=1.0"], r"option dropout \(float\): input should be less than 1; got '1\.0'"),
        (["dropout=-0.1"], "option dropout .* greater than or equal to 0"),
        (["rank=0"], r"option rank \(int \| none\): input should be greater than or equal to 1"),
        (["rank=20"], "option rank is 20, but a context of 20 has 19 coordinates"),
    ],
)
def test_when_an_option_is_out_of_range_then_it_is_named_with_its_value(options, complaint):
    with pytest.raises(OptionError, match=complaint):
        build_options(TIPL, "quick", options, 20)


def test_when_no_rank_is_given_then_it_is_all_that_the_context_has():
    assert build_options(TIPL, "quick", [], 20).rank == 19
    assert build_options(TIPL, "quick", [], 12).rank == 11
    assert build_options(TIPL, "quick", ["rank=5"], 12).rank == 5


@pytest.mark.parametrize("length", [25, 30])
def test_when_contexts_are_of_another_length_than_it_was_fitted_on_then_both_are_named(length, smooth, tmp_path):
    split = smooth.manifest.split
    predictor = TIPL(build_options(TIPL, "smoke", ("steps=2", "width=16"), 20))
    predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20))
    predictor.save(tmp_path / "state.safetensors")
    loaded = TIPL(predictor.options)
    loaded.load(tmp_path / "state.safetensors")
    assert loaded.parameter_count == predictor.parameter_count == sum(p.numel() for p in predictor.fitted.parameters())
    contexts = synthetic.contexts_of(smooth, 6, [40], synthetic.SMALL.model_copy(update={"context": length}))
    own = synthetic.contexts_of(smooth, 6, [40])
    for one in (predictor, loaded):
        with pytest.raises(PredictorError, match=f"fitted on contexts of 20 checkpoints .* from {length}: fit it"):
            one.predict(contexts, 3)
        with pytest.raises(PredictorError, match="forecasts up to 3 checkpoints ahead and was asked for 4"):
            one.predict(own, 4)
    np.testing.assert_array_equal(loaded.predict(own, 3), predictor.predict(own, 3))


def test_when_matrices_are_made_orthogonal_for_the_device_then_they_are_the_qr_factors():
    matrices = torch.randn((200, 19, 19), generator=torch.Generator().manual_seed(0))
    q, r = torch.linalg.qr(matrices.double())
    expected = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    torch.testing.assert_close(orthogonal(matrices), expected.float(), rtol=0, atol=1e-5)


def test_when_a_matrix_is_singular_then_what_is_made_of_it_is_finite():
    matrices = torch.randn((200, 19, 19), generator=torch.Generator().manual_seed(0))
    matrices[:, 3] = matrices[:, 7]
    assert orthogonal(matrices).isfinite().all()


def test_when_no_validation_weight_moves_then_that_is_said(smooth):
    split = smooth.manifest.split
    trials = smooth.trials(split.train)
    predictor = TIPL(build_options(TIPL, "smoke", ("steps=2", "width=16"), 20))
    with pytest.raises(PredictorError, match="no weight of the validation trials ever moves"):
        predictor.fit(FitTask(trials, [StillTrial(**vars(trials[0]))], 3, 20))


class StillTrial(Trial):
    """A trial that stays at its first checkpoint."""

    def weights(self, start=0, stop=None):
        return np.repeat(super().weights(0, 1), len(super().weights(start, stop)), axis=0)


def test_a_training_trial_too_short_for_a_window_is_left_out(smooth, tmp_path):
    split = smooth.manifest.split
    short = synthetic.write_dataset(tmp_path / "short", [synthetic.random_walk(trial, 21, 32) for trial in range(3)])
    forecasts = []
    for more in ([], [short.trial(0)]):
        predictor = TIPL(build_options(TIPL, "smoke", ("steps=2", "width=16"), 20))
        predictor.fit(FitTask([*smooth.trials(split.train), *more], smooth.trials(split.validation), 3, 20))
        forecasts.append(predictor.predict(synthetic.contexts_of(smooth, 6, [40]), 3))
    np.testing.assert_array_equal(*forecasts)
