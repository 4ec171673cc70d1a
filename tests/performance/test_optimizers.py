"""PPO with each optimizer beside PPO with Adam; and meta-training's parts beside the forward pass of the rule alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tipl_bench.baselines.optimizers.lookup import build_optimizer
from tipl_bench.baselines.optimizers.optim4rl.meta_training import LossTraining
from tipl_bench.baselines.optimizers.optim4rl.parameters import MetaParameters
from tipl_bench.baselines.optimizers.optim4rl.rule import PRESETS
from tipl_bench.baselines.optimizers.optim4rl.settings import MetaOptions
from tipl_bench.benchmark.fitted.states import fitted_state
from tipl_bench.benchmark.training.protocol import training_protocol
from tipl_bench.registry.collection.block import one_thread
from tipl_bench.rl import PPOTraining
from tipl_bench.rl.gridworlds import WORLDS, A2CTraining
from tipl_bench.rl.optimizer import Adam

pytestmark = pytest.mark.performance
TRIALS, STEPS = 25, 2048
PARAMETERS = 64 * 4_970
"""Weights of the 64 agents of meta-training's default."""
METHODS = {
    "Adam": ("adam", (), ()),
    "Adam with an outer step": ("adam", ("outer-step",), ()),
    "Adam with a jump every 2 iterations": ("adam", ("jump",), ("jump.period=2", "jump.predictor={state}")),
    "Optim4RL, 2023": ("optim4rl", (), ("weights={weights}",)),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """As training runs have it."""
    with one_thread():
        yield


@pytest.mark.benchmark(group="training track: environment steps, without scoring")
@pytest.mark.parametrize("name", METHODS)
def test_training_with(name, timed, tmp_path):
    optimizer, outer, settings = METHODS[name]
    rule, weights = PRESETS["2023"], tmp_path / "rule.safetensors"
    MetaParameters(rule, rule.initial(0), rule.initial(0)).write(weights)
    places = {"state": fitted_state("inverted-pendulum/tipl-neuron-v1").path, "weights": weights}
    built = build_optimizer(optimizer, outer, [one.format(**places) for one in settings])
    protocol = training_protocol("InvertedPendulum-v4")
    training = PPOTraining(protocol.collection("test").training, range(TRIALS), built, threads=1)
    training.start()
    for _ in range(5):  # a jump needs its history
        training.iterate()

    def work():
        training.iterate()
        training.iterate()

    timed(name, work, 2 * STEPS * TRIALS, "steps/s")


@pytest.mark.benchmark(group="meta-training: updates of one weight")
def test_limit_the_rules_forward_pass(timed):
    rule = PRESETS["2023"]
    gradient = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 4_970)).astype(np.float32))
    hidden = torch.zeros(64, 4_970, rule.hidden_size)
    timed("the rule alone (limit)", lambda: rule.advance(rule.initial(0), gradient, hidden), PARAMETERS, "weights/s")


@pytest.mark.benchmark(group="meta-training: updates of one weight")
def test_a_meta_iteration(timed):
    training = LossTraining(MetaOptions(), 0)
    timed("a meta-iteration of 4 updates", training.iterate, 4 * PARAMETERS, "weights/s")


@pytest.mark.benchmark(group="meta-training: updates of one weight")
def test_a2c_with_adam(timed):
    training = A2CTraining(WORLDS["small_dense_long"], range(64), Adam())
    timed("A2C with Adam (peer)", training.update, PARAMETERS, "weights/s")
