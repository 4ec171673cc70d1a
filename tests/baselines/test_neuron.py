"""The Transformer over neurons: its graph against the layout, and the symmetries that it must have."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from tipl_bench.baselines.autoregression import Autoregression, AutoregressionOptions
from tipl_bench.baselines.fitting.windows import TrainingWindows
from tipl_bench.baselines.neuron import TIPLNeuron, TIPLNeuronStatistics
from tipl_bench.baselines.neuron.graph import flip_signs, join, sample_units, split
from tipl_bench.baselines.neuron.network import NeuronNetwork
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.rl import PolicyLayout
from tipl_bench.utils.errors import OptionError, PredictorError

HORIZON, CONTEXT = 3, 20
layouts = st.builds(
    PolicyLayout, st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple), st.integers(1, 3)
)


def named(layout, weights):
    """The parameters of one weight vector [P] by name, as `PolicyLayout` has them."""
    return {name: weights[part].reshape(layout.shapes[name]) for name, part in layout.slices.items()}


def actions(layout, weights, observations):
    """Mean actions [N, A] of a policy, by the definition of an MLP with tanh units."""
    *matrices, _ = named(layout, weights).values()
    hidden = observations
    for place in range(0, len(matrices), 2):
        hidden = hidden @ matrices[place].T + matrices[place + 1]
        hidden = np.tanh(hidden) if place < len(matrices) - 2 else hidden
    return hidden


def permuted(layout, weights, rng):
    """Weight vectors [..., P] with the hidden units of every layer in another order, and that order of parameters."""
    orders = [np.arange(size) for size in layout.sizes]
    orders[1:-1] = [rng.permutation(size) for size in layout.hidden_sizes]
    numbers = named(layout, np.arange(layout.parameter_count))
    *matrices, log_std = numbers.values()
    parts = []
    for place, (source, target) in enumerate(pairwise(orders)):
        parts += [matrices[2 * place][np.ix_(target, source)].ravel(), matrices[2 * place + 1][target]]
    order = np.concatenate([*parts, log_std])
    return weights[..., order], order


@pytest.fixture(scope="module", params=[TIPLNeuron, TIPLNeuronStatistics])
def fitted(request, smooth):
    """A small one, trained for long enough that it is no ridge line."""
    settings_ = ("steps=30", "learning_rate=0.01", "warmup=1")
    predictor = request.param(build_options(request.param, "smoke", settings_, CONTEXT))
    split_ = smooth.manifest.split
    predictor.fit(FitTask(smooth.trials(split_.train), smooth.trials(split_.validation), HORIZON, CONTEXT))
    return predictor


@given(layouts)
def test_edges_and_biases_are_the_layouts_matrices_and_vectors(layout):
    weights = torch.arange(layout.parameter_count, dtype=torch.float32)
    values = split(weights[None, :, None], layout.sizes)
    expected = list(named(layout, weights.numpy()).values())
    found = [part[0, ..., 0].numpy() for pair in zip(values.edges, values.biases, strict=True) for part in pair]
    for one, other in zip([*found, values.log_std[0, :, 0].numpy()], expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert torch.equal(join(values)[0, :, 0], weights)


@settings(deadline=None)
@given(layouts, st.integers(0, 2**31))
def test_flipped_units_leave_every_action_as_it_is(layout, seed):
    rng = np.random.default_rng(seed)
    weights, observations = rng.normal(size=layout.parameter_count), rng.normal(size=(5, layout.observation_size))
    flipped = weights * flip_signs(layout.sizes, 1, rng)[0]
    np.testing.assert_allclose(
        actions(layout, flipped, observations), actions(layout, weights, observations), atol=1e-12
    )


@settings(deadline=None)
@given(layouts, st.integers(1, 5), st.integers(0, 2**31))
def test_sampled_units_make_a_smaller_policy_of_the_same_parameters(layout, units, seed):
    columns, sizes = sample_units(layout, units, np.random.default_rng(seed))
    assert sizes == (layout.sizes[0], *(min(size, units) for size in layout.hidden_sizes), layout.sizes[-1])
    assert len(set(columns.tolist())) == len(columns) == PolicyLayout(sizes[0], sizes[1:-1], sizes[-1]).parameter_count
    smaller = named(PolicyLayout(sizes[0], sizes[1:-1], sizes[-1]), columns)
    for name, whole in named(layout, np.arange(layout.parameter_count)).items():
        assert np.isin(smaller[name], whole).all()
        if smaller[name].ndim == 2:  # a block: whole rows and columns of the matrix
            rows, places = np.unravel_index(smaller[name] - whole.min(), whole.shape)
            assert (rows == rows[:, :1]).all()
            assert (places == places[:1]).all()
    if units >= max(layout.hidden_sizes):
        np.testing.assert_array_equal(columns, np.arange(layout.parameter_count))


def test_before_training_the_forecast_is_the_ridge_lines(smooth):
    split_ = smooth.manifest.split
    task = FitTask(smooth.trials(split_.train), smooth.trials(split_.validation), HORIZON, CONTEXT)
    line = Autoregression(AutoregressionOptions())
    line.fit(task)
    predictor = TIPLNeuron(build_options(TIPLNeuron, "smoke", (), CONTEXT))
    predictor.network = NeuronNetwork.of(smooth.layout, line.coefficients, predictor.options)
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    np.testing.assert_allclose(predictor.predict(contexts, HORIZON), line.predict(contexts, HORIZON), atol=1e-5)


def test_when_hidden_units_are_reordered_then_so_is_the_forecast(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    weights, order = permuted(smooth.layout, contexts.weights, np.random.default_rng(0))
    assert (order != np.arange(len(order))).any()
    turned = fitted.predict(replace(contexts, weights=weights), HORIZON)
    plain = fitted.predict(contexts, HORIZON)
    np.testing.assert_allclose(turned, plain[..., order], atol=1e-5)
    assert np.abs(turned - plain).max() > 1e-3


@pytest.mark.parametrize(
    "change", ["learning_rate", "episodic_return", "observation_mean", "observation_variance", "environment_steps"]
)
def test_statistics_change_the_forecasts_of_the_predictor_that_reads_them_alone(fitted, smooth, change):
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    if change in contexts.columns:
        other = replace(contexts, columns={**contexts.columns, change: contexts.columns[change] / 2 + 1})
    else:
        other = replace(contexts, **{change: getattr(contexts, change) * 1.5 + 0.1})
    changed = (fitted.predict(other, HORIZON) != fitted.predict(contexts, HORIZON)).any()
    assert changed == (fitted.consumes == "statistics" and change != "environment_steps")


def test_unknown_returns_count_as_the_training_trials_mean_and_an_unknown_rate_as_0(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    returns = np.concatenate(
        [trial.read("episodic_return") for trial in smooth.trials(smooth.manifest.split.train)]
    ).astype(np.float64)
    level = np.nanmean(np.sign(returns) * np.log1p(np.abs(returns)))

    def forecast(rate, value):
        columns = {"learning_rate": np.full((3, CONTEXT), rate), "episodic_return": np.full((3, CONTEXT), value)}
        return fitted.predict(replace(contexts, columns={**contexts.columns, **columns}), HORIZON)

    mean = np.sign(level) * np.expm1(np.abs(level))
    np.testing.assert_allclose(forecast(np.nan, np.nan), forecast(0.0, mean), rtol=1e-5, atol=1e-5)


def test_a_state_brings_back_the_forecasts(fitted, smooth):
    contexts = synthetic.contexts_of(smooth, 7, (19, 41, 77))
    again = type(fitted)(fitted.options)
    again.load_state(fitted.state())
    np.testing.assert_array_equal(again.predict(contexts, HORIZON), fitted.predict(contexts, HORIZON))


@pytest.mark.parametrize("sizes", [(3, (4,), 1), (2, (4, 4), 2)])
def test_policies_of_another_shape_are_refused(fitted, smooth, sizes):
    contexts, layout = synthetic.contexts_of(smooth, 7, (19,)), PolicyLayout(*sizes)
    assert layout.sizes != smooth.layout.sizes
    other = np.zeros((1, CONTEXT, layout.parameter_count), np.float32)
    with pytest.raises(PredictorError, match=rf"fitted on policies of .*, and was given some of {sizes[0]}, "):
        fitted.predict(replace(contexts, weights=other, layout=layout), HORIZON)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(OptionError, match="heads is 3, which does not divide width, 64"):
        build_options(TIPLNeuron, "quick", ("heads=3",), CONTEXT)


def test_windows_past_learning_are_drawn_as_seldom_as_asked(smooth):
    windows = TrainingWindows.of(smooth.trials(smooth.manifest.split.train), CONTEXT, HORIZON)
    rng = np.random.default_rng(0)
    drawn = windows.origin[windows.favour_learning(0.0).sample(4_000, rng)]
    every = windows.origin[windows.favour_learning(1.0).sample(4_000, np.random.default_rng(1))]
    plain = windows.origin[windows.sample(4_000, np.random.default_rng(1))]
    np.testing.assert_array_equal(every, plain)
    assert drawn.max() < 50 <= every.max()  # the synthetic return levels at checkpoint 40
