"""Blocks of trials some of which diverge, and what a method's mistakes and a full disk say."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch
from helpers.training_records import ENVIRONMENT, small_protocol
from tipl_bench.benchmark.training import block as blocks
from tipl_bench.benchmark.training import protocol as protocols
from tipl_bench.benchmark.training.block import curves_of, train_block
from tipl_bench.benchmark.training.curves import Curves
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.rl import FusedAdam, evaluate_returns

SMALL = small_protocol(trials=4, iterations=3)
SEEDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A protocol of seconds."""
    monkeypatch.setitem(protocols.PROTOCOLS, ENVIRONMENT, SMALL)


def errors_of(folder):
    """The errors of a block of Adam's that is trained here."""
    request = TrainingRequest.of("adam", ENVIRONMENT, iterations=3)
    sent = []
    train_block(request.work(request.key(), folder, [(0, SEEDS)]).task, lambda message: sent.append(message))
    return [message["error"] for message in sent if "error" in message]


def trained(folder):
    """The curves of the block."""
    assert errors_of(folder) == []
    return Curves.read(curves_of(folder, 0), len(SEEDS), [*SMALL.evaluated])[0]


def use(monkeypatch, step):
    """Adam, but for what a step does to the weights that it makes."""

    class Changed(FusedAdam):
        def step(self, parameters, gradient, state, **place):
            return step(super().step(parameters, gradient, state, **place), place["iteration"])

    monkeypatch.setattr("tipl_bench.baselines.optimizers.lookup.rule_type", lambda *name: Changed)


def test_a_trial_that_diverges_counts_as_its_initialisation_and_stops_nobody(tmp_path, monkeypatch):
    plain = trained(tmp_path)

    def explode(parameters, iteration):
        if iteration == 2:
            parameters[1] = torch.inf
        return parameters

    use(monkeypatch, explode)
    curves = trained(tmp_path)
    assert curves.diverged.tolist() == [0, 2, 0]
    np.testing.assert_array_equal(curves.returns[[0, 2]], plain.returns[[0, 2]])
    assert curves.returns[1].tolist() == [plain.returns[1, 0], plain.returns[1, 1], plain.returns[1, 0]]


def test_a_trial_whose_return_is_undefined_diverged_too(tmp_path, monkeypatch):
    """Weights that are huge but finite can make the physics undefined."""
    plain = trained(tmp_path)

    def undefined(environment, layout, policies, seeds, **settings):
        found = evaluate_returns(environment, layout, policies, seeds, **settings)
        return np.where(np.abs(policies.weights).max(axis=1) > 1e30, np.nan, found)

    def grow(parameters, iteration):
        if iteration == 1:
            parameters[1] = 1e35
        return parameters

    use(monkeypatch, grow)
    monkeypatch.setattr(blocks, "evaluate_returns", undefined)
    curves = trained(tmp_path)
    assert curves.diverged.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(curves.returns[[0, 2]], plain.returns[[0, 2]])
    assert curves.returns[1].tolist() == [plain.returns[1, 0]] * 3


def test_a_hook_of_the_wrong_shape_is_named(tmp_path, monkeypatch):
    use(monkeypatch, lambda parameters, iteration: parameters[:, 1:])
    (error,) = errors_of(tmp_path)
    assert "`step` of fused-adam returned weights of shape [3, " in error


def test_a_full_disk_names_the_folder_and_the_way_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blocks, "save_file", full)
    (error,) = errors_of(tmp_path)
    assert error == f"{tmp_path}: No space left on device. Finished trials are kept; the same command goes on."
