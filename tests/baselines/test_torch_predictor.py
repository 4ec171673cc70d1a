"""The training loop that the trained predictors share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tipl_bench.baselines.fitting import torch_predictor
from tipl_bench.baselines.fitting.torch_predictor import Schedule, seeded, train
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.utils.errors import PredictorError


def schedule(**changes) -> Schedule:
    settings = {"steps": 40, "learning_rate": 0.1, "weight_decay": 0.0, "warmup": 1, "cosine": False}
    return Schedule(**(settings | {"gradient_clip": 1e9, "validate_every": 10} | changes))


def task(**settings) -> FitTask:
    """A task of no trials: the loop reports to it and reads none."""
    return FitTask([], [], horizon=1, context=1, **settings)


def test_when_the_rate_warms_up_then_it_rises_linearly_to_one():
    factors = [schedule(warmup=4).factor(step) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_when_the_rate_falls_as_a_cosine_then_it_ends_at_zero():
    falling = schedule(warmup=0, cosine=True)
    assert falling.factor(0) == 1.0
    assert falling.factor(20) == pytest.approx(0.5)
    assert falling.factor(10) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert falling.factor(40) == pytest.approx(0.0, abs=1e-15)


def test_when_the_error_is_quadratic_then_training_finds_its_minimum():
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    inputs, truth = torch.randn(50, 3), torch.tensor([[1.0, -2.0, 0.5]])

    def error() -> torch.Tensor:
        return (model(inputs) - inputs @ truth.T - 0.25).square().mean()

    train(model, lambda step: error(), lambda: float(error()), schedule(steps=300), task(), [])
    torch.testing.assert_close(model.weight.detach(), truth, rtol=0, atol=1e-2)
    assert not model.training


def test_when_validation_gets_worse_then_the_best_state_is_kept():
    model = torch.nn.Linear(1, 1)
    states, errors = [], iter([5.0, 3.0, 1.0, 4.0, 2.0])

    def validate() -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        states.append(model.weight.item())
        return next(errors)

    def loss(step: int) -> torch.Tensor:
        assert model.training
        return model(torch.ones(1, 1)).sum()

    train(model, loss, validate, schedule(), task(), [])
    assert len(states) == 5  # at 0, 10, 20, 30 and after the last step
    assert len(set(states)) == 5
    assert model.weight.item() == states[2]


def test_when_training_diverges_then_the_error_names_the_step_and_the_rate_and_no_such_state_is_kept(monkeypatch):
    monkeypatch.setattr(torch_predictor, "KEEP_EVERY", 0.0)
    model, kept = torch.nn.Linear(1, 1), []

    def loss(step):
        return model(torch.ones(1, 1)).sum() * (math.nan if step == 12 else 1)

    with pytest.raises(PredictorError, match=r"error at step 20 of 40 is nan\. Lower its learning rate, which is 0\.1"):
        train(model, loss, lambda: model.weight.item(), schedule(), task(keep=kept.append), [])
    assert len(kept) == 12


def test_when_the_gradient_is_clipped_then_its_size_no_longer_matters():
    ends = []
    for size in (1e3, 1e6):
        model = torch.nn.Linear(1, 1)
        torch.nn.init.ones_(model.weight)
        clipped = schedule(gradient_clip=1e-3, steps=5, validate_every=5)
        errors = iter([1.0, 0.0])
        train(model, lambda step, m=model, s=size: s * m.weight.sum(), lambda e=errors: next(e), clipped, task(), [])
        ends.append(model.weight.item())
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
    assert ends[0] < 1.0


def test_when_training_runs_then_progress_counts_every_step_and_tells_the_skill():
    model = torch.nn.Linear(1, 1)
    calls: list[tuple[int, int, str]] = []
    loss = lambda step: model(torch.ones(1, 1)).square().sum()  # noqa: E731
    train(model, loss, lambda: 0.25, schedule(), task(progress=lambda *call: calls.append(call)), [])
    assert [call[:2] for call in calls] == [(step, 40) for step in range(41)]
    assert calls[-1][2] == "validation skill 0.750, best 0.750"


def test_when_steps_are_to_be_replayed_then_streams_of_the_processor_are_refused():
    model = torch.nn.Linear(1, 1)
    with pytest.raises(TypeError, match="replayed draw from torch's generators alone"):
        train(
            model,
            lambda step: model(torch.ones(1, 1)).sum(),
            lambda: 0.0,
            schedule(),
            task(),
            [np.random.default_rng(0)],
            replay=True,
        )


def test_when_a_block_is_seeded_then_it_repeats_and_the_stream_outside_goes_on():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(5, "cpu"):
        first = torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5, "cpu"):
        assert torch.equal(torch.rand(4), first)
    with seeded(6, "cpu"):
        assert not torch.equal(torch.rand(4), first)
