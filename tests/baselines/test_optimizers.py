"""Optimizers and outer rules: nulls bit for bit, each beside an independent computation, and what is refused."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.small_collections import tiny_config
from tipl_bench.baselines.optimizers import OPTIMIZERS, OUTER_RULES
from tipl_bench.baselines.optimizers.backtracking import Backtracking
from tipl_bench.baselines.optimizers.jump import Jump
from tipl_bench.baselines.optimizers.lookup import build_optimizer, rule_type, settings_of
from tipl_bench.baselines.optimizers.outer_step import OuterNesterov
from tipl_bench.baselines.optimizers.pptb import PPTB
from tipl_bench.baselines.plugins.discovery import optimizer_names
from tipl_bench.rl import (
    Adam,
    AgentLayout,
    Checkpoint,
    Composed,
    IterationSteps,
    Optimizer,
    OuterRule,
    PolicyLayout,
    PPOHyperparameters,
    PPOTraining,
    TrainingConfig,
)
from tipl_bench.utils.errors import OptionError, PredictorError, UnknownNameError

SEEDS = [1, 2, 3]
LAYOUT = AgentLayout(PolicyLayout(4, (3,), 1))
P, ALL = LAYOUT.policy.parameter_count, LAYOUT.parameter_count


def train(optimizer, iterations=6):
    training = PPOTraining(tiny_config(environment_steps=4096).training, SEEDS, optimizer, threads=1)
    checkpoints = [training.start()]
    for _ in range(iterations):
        checkpoints += training.iterate()
    return training, checkpoints


@pytest.fixture(scope="module")
def plain():
    """The training that nulls must repeat."""
    return train(build_optimizer("adam"))


@pytest.mark.parametrize(
    ("rules", "settings"),
    [
        (["outer-step"], ["outer-step.scale=1"]),
        (["outer-nesterov"], ["outer-nesterov.momentum=0"]),
        (["ema"], ["ema.decay=0"]),
        (["lawa"], ["lawa.count=1"]),
        (["jump"], ["jump.predictor=persistence", "jump.period=1"]),
        (["jump"], ["jump.predictor=persistence", "jump.period=2", "jump.direction=last-change"]),
        (["outer-step", "lawa", "jump"], ["outer-step.scale=1", "lawa.count=1", "jump.predictor=persistence"]),
        (["pptb"], ["pptb.trim=false", "pptb.window=6"]),
        (["backtracking"], []),
        (["outer-step", "backtracking"], ["backtracking.share=1", "outer-step.scale=1"]),
    ],
    ids=lambda value: "+".join(value),
)
def test_a_rule_that_changes_nothing_gives_adams_bits(plain, rules, settings):
    training, checkpoints = train(build_optimizer("adam", rules, settings))
    for ours, theirs in zip(checkpoints, plain[1], strict=True):
        for name, value in vars(ours).items():
            np.testing.assert_array_equal(value, getattr(theirs, name), err_msg=name)
    assert torch.equal(training.agent.parameters, plain[0].agent.parameters)
    np.testing.assert_array_equal(training.policies().weights, plain[0].policies().weights)


def test_an_adam_that_resets_or_counts_anew_is_not_plain_adam(plain):
    for name, settings in (("adam-rel", ()), ("adam-reset", ["period=2"])):
        assert not torch.equal(
            train(build_optimizer(name, (), settings))[0].agent.parameters, plain[0].agent.parameters
        )
    never = train(build_optimizer("adam-reset", (), ["period=100"]))[0]
    assert torch.equal(never.agent.parameters, plain[0].agent.parameters)


@pytest.mark.parametrize(
    ("name", "settings", "peer"),
    [
        ("sgd", ("momentum=0.5",), lambda w: torch.optim.SGD([w], lr=1e-2, momentum=0.5)),
        ("rmsprop", (), lambda w: torch.optim.RMSprop([w], lr=1e-2, alpha=0.99, eps=1e-5)),
    ],
)
def test_gradient_rules_are_torchs(name, settings, peer):
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(3, ALL, generator=rng)
    optimizer = build_optimizer(name, (), settings)
    ours, theirs = start.clone(), torch.nn.Parameter(start.clone())
    state, reference = optimizer.init(ours, LAYOUT, SEEDS), peer(theirs)
    for number in range(20):
        gradient = torch.randn(3, ALL, generator=rng)
        theirs.grad = gradient.clone()
        reference.step()
        ours = optimizer.step(ours, gradient.clone(), state, learning_rate=1e-2, iteration=1, epoch=1, minibatch=number)
    torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-6)


def test_adam_rel_begins_its_count_with_every_batch_and_keeps_the_moments():
    relative, plain = build_optimizer("adam-rel"), build_optimizer("adam")
    rng, weights = torch.Generator().manual_seed(0), torch.zeros(3, ALL)
    states = [relative.init(weights, LAYOUT, SEEDS), plain.init(weights, LAYOUT, SEEDS)]
    for number in range(8):
        gradient = torch.randn(3, ALL, generator=rng)
        place = {"iteration": 1 + number // 4, "epoch": 1, "minibatch": number % 4, "learning_rate": 1e-3}
        for optimizer, state in zip((relative, plain), states, strict=True):
            optimizer.step(weights.clone(), gradient.clone(), state, **place)
    assert [float(state["updates"]) for state in states] == [4, 8]
    assert torch.equal(states[0]["second_moment"], states[1]["second_moment"])


def checkpoints(weights, per_iteration=5):
    """Checkpoints [T, N, P] of a training, the last at an iteration's end."""
    count = len(weights)
    zeros = np.zeros((weights.shape[1], 4))
    return [
        Checkpoint(
            row=row,
            weights=one.astype(np.float32),
            observation_mean=zeros,
            observation_variance=zeros + 1,
            observation_count=zeros[:, 0] + 1,
            environment_steps=2048,
            iteration=1 + (row - count) // per_iteration + 10,
            epoch=10,
            learning_rate=3e-4,
            episodic_return=zeros[:, 0].astype(np.float32),
        )
        for row, one in enumerate(weights)
    ]


def end(rule, parameters, state, trajectory):
    changed = rule.end_of_iteration(torch.from_numpy(parameters.astype(np.float32)), state, trajectory)
    rule.start_of_iteration(changed, state)
    return changed.numpy()


class Kick(OuterRule):
    """Adds 1 to every weight at the end of the first iteration."""

    name = "kick"
    history = 1

    def end_of_iteration(self, parameters, state, trajectory):
        return parameters + (trajectory[-1].iteration == 1)


class Still(Optimizer):
    name = "still"

    def step(self, parameters, gradient, state, **place):
        return parameters


@pytest.mark.parametrize("rule", ["outer-step scale=2", "outer-nesterov scale=2 momentum=0"])
@pytest.mark.parametrize(("order", "moved"), [(["outer", "kick"], 1.0), (["kick", "outer"], 2.0)])
def test_what_a_later_rule_does_is_no_change_that_an_outer_step_makes_again(rule, order, moved):
    name, *settings = rule.split()
    outer = build_optimizer("adam", [name], [f"{name}.{setting}" for setting in settings]).parts[1]
    rules = {"kick": Kick(), "outer": outer}
    training = PPOTraining(tiny_config().training, SEEDS, Composed(Still(), [rules[one] for one in order]), threads=1)
    training.start()
    before = training.agent.parameters.clone()
    for _ in range(3):
        training.iterate()
        torch.testing.assert_close(training.agent.parameters - before, torch.full_like(before, moved))


def test_an_outer_step_is_nesterovs_on_the_changes_of_iterations():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(2, ALL)).astype(np.float32)
    rule = OuterNesterov(scale=1.7, momentum=0.4)
    state = rule.init(torch.from_numpy(start.copy()), LAYOUT, SEEDS[:2])
    velocity, now = np.zeros_like(start, np.float64), start.astype(np.float64)
    for _ in range(4):
        change = rng.normal(size=start.shape)
        velocity = 0.4 * velocity + change
        expected = now + 1.7 * (change + 0.4 * velocity)
        found = end(rule, now + change, state, ())
        np.testing.assert_allclose(found, expected, atol=2e-5)
        now = found.astype(np.float64)


def test_an_outer_step_scales_what_each_iteration_changed():
    rng = np.random.default_rng(0)
    now = rng.normal(size=(2, ALL)).astype(np.float32)
    rule = rule_type("outer-step")(scale=3.0)
    state = rule.init(torch.from_numpy(now.copy()), LAYOUT, SEEDS[:2])
    for _ in range(3):
        change = rng.normal(size=now.shape)
        found = end(rule, now + change, state, ())
        np.testing.assert_allclose(found, now + 3 * change, atol=2e-5)
        now = found


def test_averages_are_those_of_the_ends_of_iterations():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(6, 2, ALL)).astype(np.float32)
    ema, lawa = rule_type("ema")(decay=0.3), rule_type("lawa")(count=3)
    states = [rule.init(torch.from_numpy(weights[0]), LAYOUT, SEEDS[:2]) for rule in (ema, lawa)]
    average = weights[0].astype(np.float64)
    for number, one in enumerate(weights[1:], 1):
        average = 0.3 * average + 0.7 * one
        for rule, state in zip((ema, lawa), states, strict=True):
            assert np.array_equal(end(rule, one, state, ()), one), "training goes on with its own weights"
        np.testing.assert_allclose(ema.evaluation_parameters(None, states[0]).numpy(), average, atol=1e-6)
        recent = weights[max(1, number - 2) : number + 1].mean(0)
        np.testing.assert_allclose(lawa.evaluation_parameters(None, states[1]).numpy(), recent, atol=1e-6)


def walk(trials=3, count=26, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(size=(count, trials, P)), axis=0)


def test_pptb_keeps_and_boosts_the_change_along_the_major_directions():
    weights = walk()
    rule = PPTB(rank=2, window=26, period=1, boost=0.5)
    parameters = np.concatenate([weights[-1], np.ones((3, ALL - P))], axis=1)
    found = end(rule, parameters, {}, checkpoints(weights))
    for trial in range(3):
        path = weights[:, trial].astype(np.float32).astype(np.float64)
        path = path - path[0]
        eigenvalues, directions = np.linalg.eigh(path.T @ path)
        major = directions[:, np.argsort(eigenvalues)[-2:]]
        expected = weights[0, trial] + 1.5 * major @ (major.T @ path[-1])
        np.testing.assert_allclose(found[trial, :P], expected, atol=1e-4)
    assert (found[:, P:] == 1).all(), "the critic stays"


def jump(**settings):
    rule = Jump(**settings)
    state = rule.init(torch.zeros(3, ALL), LAYOUT, SEEDS)
    return rule, state


def test_a_jump_moves_the_actor_to_the_forecast_and_nothing_else():
    weights = walk(count=20)
    rule, state = jump(predictor="linear", horizon=4, factor=2.0, period=5)
    parameters = np.concatenate([weights[-1], np.ones((3, ALL - P))], axis=1)
    found = end(rule, parameters, state, checkpoints(weights))
    shown = np.asarray(weights, np.float32)
    context = SimpleNamespace(weights=shown.transpose(1, 0, 2))
    forecast = rule.forecaster.predict(context, 4)[:, -1]
    np.testing.assert_allclose(found[:, :P], shown[-1] + 2 * (forecast - shown[-1]), atol=1e-4)
    assert (found[:, P:] == 1).all()
    early = checkpoints(weights)[1:]
    assert np.array_equal(end(rule, parameters, state, early), parameters.astype(np.float32)), "too short a past"


def test_the_control_of_a_jump_is_exactly_as_long_along_the_last_iterations_change():
    weights = walk(count=20)
    weights[:, 1] = weights[0, 1]  # a trial that stands still has no direction
    parameters = np.concatenate([weights[-1], np.ones((3, ALL - P))], axis=1)
    moves = {}
    for direction in ("forecast", "last-change"):
        rule, state = jump(predictor="linear", horizon=4, period=5, direction=direction)
        moves[direction] = (end(rule, parameters, state, checkpoints(weights)) - parameters)[:, :P]
    lengths = {name: np.linalg.norm(move, axis=1) for name, move in moves.items()}
    np.testing.assert_allclose(lengths["last-change"], lengths["forecast"], rtol=1e-4)
    last = (weights[-1] - weights[-6])[[0, 2]]
    cosine = (moves["last-change"][[0, 2]] * last).sum(1) / np.linalg.norm(last, axis=1) / lengths["forecast"][[0, 2]]
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_a_trial_whose_weights_are_not_finite_neither_jumps_nor_disturbs_the_others():
    weights = walk(count=20)
    rule, state = jump(predictor="linear", horizon=4, period=5)
    parameters = np.concatenate([weights[-1], np.ones((3, ALL - P))], axis=1)
    whole = end(rule, parameters, state, checkpoints(weights))
    broken, sick = weights.copy(), parameters.copy()
    broken[-1, 1, 0] = sick[1, 0] = np.inf
    found = end(rule, sick, state, checkpoints(broken))
    np.testing.assert_array_equal(found[[0, 2]], whole[[0, 2]])
    np.testing.assert_array_equal(found[1], sick[1].astype(np.float32))


def test_backtracking_halves_a_change_until_the_objective_allows_it_and_else_gives_it_up():
    left = torch.zeros(4, ALL)
    limits = torch.tensor([9.0, 3.0, 0.6, torch.nan])  # how far each trial may go

    def objective(weights):
        found = torch.where(weights[:, 0] <= limits, 1.0 - 0.1 * (weights[:, 0] > 0), -1.0)
        return found.masked_fill(limits.isnan(), torch.nan)

    steps = IterationSteps(left, objective)
    for share, expected in ((0.5, [4.0, 2.0, 0.5, 0.0]), (1.0, [0.0] * 4)):
        found = Backtracking(share=share).end_of_iteration(left + 4, {}, (), steps)
        assert torch.equal(found, torch.tensor(expected)[:, None].expand(4, ALL))
    found = Backtracking(halvings=1).end_of_iteration(left + 4, {}, (), steps)
    assert found[:, 0].tolist() == [4.0, 2.0, 0.0, 0.0]


def test_backtracking_shortens_outer_steps_that_the_objective_speaks_against():
    rules, settings = ["outer-step", "backtracking"], ["outer-step.scale=30", "backtracking.share=0.5"]
    guarded, loose = (train(build_optimizer("adam", rules[:n], settings[:n]), 4)[0] for n in (2, 1))
    reach = [
        (one.agent.parameters - train(build_optimizer("adam"), 0)[0].agent.parameters).norm()
        for one in (guarded, loose)
    ]
    assert 0 < reach[0] < 0.5 * reach[1]


def test_backtracking_judges_discrete_actions_too():
    config = TrainingConfig("CartPole-v1", (4,), 512, hyperparameters=PPOHyperparameters(steps_per_iteration=64))
    training = PPOTraining(config, SEEDS, build_optimizer("adam", ["outer-step", "backtracking"]), threads=1)
    training.start()
    training.iterate()
    assert torch.isfinite(training.agent.parameters).all()


def test_a_rule_sees_what_the_one_before_it_left():
    seen = []

    class Watching(Jump):
        def end_of_iteration(self, parameters, state, trajectory):
            seen.append(np.array_equal(trajectory[-1].weights, parameters[:, : trajectory[-1].weights.shape[1]]))
            return parameters

    composed = build_optimizer("adam", ["outer-step", "jump"], ["jump.predictor=persistence"])
    composed.parts = (*composed.parts[:2], Watching("persistence"))
    train(composed, 3)
    assert seen == [True] * 3


def test_every_name_is_listed_described_and_built():
    assert optimizer_names() == [*OPTIMIZERS, *OUTER_RULES]
    for name in optimizer_names():
        kind = rule_type(name)
        assert kind.summary
        assert all(info.description or name in OPTIMIZERS for info in settings_of(name).values())
        assert issubclass(kind, Optimizer) == (name in OPTIMIZERS)
        assert name in (kind.name, "adam")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("adma",), UnknownNameError, "Did you mean 'adam'"),
        (("ema",), OptionError, "is an outer rule"),
        (("adam", ["sgd"]), OptionError, "is an optimizer"),
        (("adam", ["ema", "ema"]), OptionError, "named twice"),
        (("adam", ["ema"], ["ema.decay=2"]), OptionError, "less than 1; got '2'"),
        (("adam", ["ema", "lawa"]), OptionError, "ema and lawa say which weights are evaluated"),
        (("adam", [], ["learning_rate=1", "learning_rate=2"]), OptionError, "is set to both 1 and 2; give one"),
        (("adam", ["ema"], ["lawa.count=2"]), UnknownNameError, "a rule that is not used"),
        (("adam", [], ["rate=2"]), UnknownNameError, "option of adam 'rate'"),
        (("adam", [], ["learning_rate=nan"]), OptionError, "learning_rate"),
        (("adam", [], ["learning_rate"]), OptionError, "not of the form name=value"),
        (("adam", ["jump"]), OptionError, "predictor: field required"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(given, error, message):
    with pytest.raises(error, match=message):
        build_optimizer(*given)


@pytest.mark.parametrize("predictor", ["autoregression", "mlp"])
def test_a_jump_without_a_fitted_state_fails_before_training(predictor):
    with pytest.raises(PredictorError, match=f"cannot forecast with {predictor} .* state that was fitted"):
        train(build_optimizer("adam", ["jump"], [f"jump.predictor={predictor}"]), 0)


def test_an_update_of_another_shape_is_refused():
    class Wrong(Adam):
        def step(self, parameters, gradient, state, **place):
            return parameters[:, :1]

    with pytest.raises(ValueError, match=r"`step` of adam returned weights of shape \[3, 1\], not weights of shape"):
        train(Wrong(), 1)


@pytest.mark.parametrize("hook", ["end_of_iteration", "evaluation_parameters"])
def test_what_a_rules_hook_returns_is_checked_and_the_rule_named(hook):
    rule = type("Wrong", (OuterRule,), {"name": "wrong", hook: lambda *given: None})()
    with pytest.raises(ValueError, match=rf"`{hook}` of wrong returned NoneType, not weights of shape \[3, "):
        train(Composed(Adam(), [rule]), 1)[0].policies()


def test_a_rule_may_be_copied_and_used_again(plain):
    optimizer = build_optimizer("adam", ["outer-step"], ["outer-step.scale=2"])
    first = train(optimizer, 2)[0].agent.parameters
    assert torch.equal(first, train(copy.deepcopy(optimizer), 2)[0].agent.parameters)
    assert not torch.equal(first, plain[0].agent.parameters)
