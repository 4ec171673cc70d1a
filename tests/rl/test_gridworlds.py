"""Gridworlds and A2C beside plain computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tipl_bench.registry.collection.block import one_thread
from tipl_bench.rl.gridworlds import WORLDS, A2CHyperparameters, A2CTraining
from tipl_bench.rl.gridworlds.agent import GridAgentLayout, select
from tipl_bench.rl.gridworlds.training import GridAgents
from tipl_bench.rl.gridworlds.worlds import ABSENT, MOVES, Gridworlds
from tipl_bench.rl.optimizer import Adam

SMALL = WORLDS["small_dense_short"]


@pytest.fixture(autouse=True)
def _one_thread():
    """As meta-training does: small tensors, and results that do not depend on the machine."""
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("name", "planes", "parameters"),
    [
        ("small_dense_long", (3, 8, 6), 4_970),
        ("small_dense_short", (3, 6, 8), 4_970),
        ("big_dense_long", (5, 15, 11), 39_482),
        ("big_dense_short", (5, 11, 15), 29_498),
        ("big_sparse_short", (5, 12, 14), 31_994),
        ("big_sparse_long", (5, 14, 12), 36_986),
    ],
)
def test_observations_and_networks_have_the_sources_sizes(name, planes, parameters):
    assert WORLDS[name].planes == planes
    assert GridAgentLayout(WORLDS[name]).parameter_count == parameters


class PlainWorld:
    """One episode after another, in plain Python with Python's integers."""

    def __init__(self, world, stream):
        self.world, self.stream = world, stream
        self.begin()

    def uniform(self):
        mask = 2**64 - 1
        self.stream = (self.stream + 0x9E3779B97F4A7C15) & mask
        bits = self.stream
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return ((bits ^ (bits >> 31)) >> 11) / 2**53

    def cell(self):
        place = int(self.uniform() * self.world.rows * self.world.columns)
        return divmod(place, self.world.columns)

    def begin(self):
        self.clock, taken = 0, []
        for _ in range(len(self.world.objects) + 1):
            while (place := self.cell()) in taken:
                pass
            taken.append(place)
        self.agent, self.objects = taken[0], taken[1:]

    def step(self, action):
        wanted = (self.agent[0] + MOVES[action][0], self.agent[1] + MOVES[action][1])
        if 0 <= wanted[0] < self.world.rows and 0 <= wanted[1] < self.world.columns:
            self.agent = wanted
        self.clock += 1
        over, gained = self.clock == self.world.steps, 0.0
        for kind, (reward, end, back) in enumerate(self.world.objects):
            if self.objects[kind] == self.agent:
                gained += reward
                self.objects[kind] = None
                over = over or self.uniform() < end
            if self.objects[kind] is None and self.uniform() < back:
                self.objects[kind] = self.cell()
        if over:
            self.begin()
        return gained, over

    def planes(self):
        found = np.zeros(self.world.planes, dtype=np.float32)
        for plane, place in enumerate([*self.objects, self.agent]):
            if place is not None:
                found[plane, place[0] + 1, place[1] + 1] = 1
        return found


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_worlds_do_what_a_plain_one_does(world):
    streams = np.random.default_rng(3).integers(2**63, size=4).astype(np.uint64)
    many, plain = Gridworlds(world, streams), [PlainWorld(world, int(one)) for one in streams]
    draw, seen = np.random.default_rng(4), np.empty((4, *world.planes), np.float32)
    for _ in range(700):
        many.observe(seen)
        np.testing.assert_array_equal(seen, [one.planes() for one in plain])
        actions = draw.integers(len(MOVES), size=4)
        rewards, ended = many.step(actions)
        expected = [one.step(action) for one, action in zip(plain, actions, strict=True)]
        assert [*zip(rewards.tolist(), ended.tolist(), strict=True)] == expected


def test_collecting_and_coming_back_have_the_stated_chances():
    """Many agents stand on both objects; each object is back with its chance, and the second one ends half the time."""
    many = Gridworlds(SMALL, np.arange(1, 40_001))
    many.agents[:], many.objects[:] = 5, 5
    rewards, ended = many.step(np.zeros(40_000, dtype=np.int64))
    assert (rewards == 0).all()
    assert ended.mean() == pytest.approx(0.5, abs=0.01)
    still = ~ended
    assert (many.objects[still] == ABSENT).mean() == pytest.approx(0.5, abs=0.01)


def test_actions_are_drawn_by_their_chances():
    logits = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    draws = torch.linspace(0, 1, 10_001, dtype=torch.float64)[:-1]
    counts = torch.bincount(select(logits.expand(10_000, 4), draws), minlength=4)
    torch.testing.assert_close(counts / 10_000, torch.tensor([0.1, 0.2, 0.3, 0.4]), atol=2e-4, rtol=0)
    assert select(torch.zeros(9), torch.tensor(1 - 2**-53, dtype=torch.float64)) == 8


@pytest.mark.parametrize("name", ["small_dense_short", "big_dense_short"])
def test_losses_are_those_of_a_plain_computation(name):
    """Of one agent with torch's own layers and convolution, and targets by their recursion."""
    settings = A2CHyperparameters(environments=3, rollout=60)
    agents = GridAgents(WORLDS[name], [1, 2], settings)
    parameters = agents.initial([1, 2])
    rollout = agents.rollout(parameters)
    assert rollout.ended.any()
    found = agents.loss(parameters, rollout)
    for agent in range(2):
        part = {n: parameters[agent, s].view(agents.layout.shapes[n]) for n, s in agents.layout.slices.items()}
        x = rollout.planes[agent].flatten(0, 1)
        if "convolution.weight" in part:  # planes are the image's rows, the map's columns its channels
            kernel = part["convolution.weight"].permute(3, 2, 0, 1)
            x = F.conv2d(F.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1)), kernel, part["convolution.bias"]).relu()
            x = x.permute(0, 2, 3, 1)
        x = (x.flatten(1) @ part["dense.weight"] + part["dense.bias"]).relu()
        logits = (x @ part["policy.weight"] + part["policy.bias"]).view(61, 3, 9)
        values = (x @ part["value.weight"] + part["value.bias"]).view(61, 3)
        total = 0.0
        for environment in range(3):
            target = values[60, environment]
            for step in reversed(range(60)):
                discount = 0.0 if rollout.ended[agent, step, environment] else 0.995
                mixed = 0.05 * values[step + 1, environment] + 0.95 * target
                target = rollout.rewards[agent, step, environment] + discount * mixed
                error, chances = target - values[step, environment], torch.softmax(logits[step, environment], 0)
                chosen = chances[rollout.actions[agent, step, environment]]
                total += -chosen.log() * error + 0.5 * error**2 + 0.01 * (chances * chances.log()).sum()
        torch.testing.assert_close(found[agent], total / 180, rtol=2e-5, atol=1e-6)


def test_an_agent_does_not_depend_on_the_others():
    together = A2CTraining(SMALL, [5, 6, 7], Adam(learning_rate=0.01))
    alone = A2CTraining(SMALL, [6], Adam(learning_rate=0.01))
    for _ in range(5):
        np.testing.assert_array_equal(together.update()[1:2], alone.update())
    torch.testing.assert_close(together.parameters[1:2], alone.parameters, rtol=1e-4, atol=1e-6)


def test_an_agent_that_begins_anew_is_one_that_begins():
    settings = A2CHyperparameters(environments=2)
    agents = GridAgents(SMALL, [1, 2], settings)
    agents.rollout(agents.initial([1, 2]))
    parameters = agents.restart(1, 9)
    fresh = GridAgents(SMALL, [9], settings)
    torch.testing.assert_close(parameters[None], fresh.initial([9]), rtol=0, atol=0)
    for name, array in fresh.worlds.arrays.items():
        np.testing.assert_array_equal(agents.worlds.arrays[name][2:], array)
    assert parameters[agents.layout.slices["dense.weight"]].std() == pytest.approx(144**-0.5, rel=0.05)


def test_a2c_learns_to_collect():
    training = A2CTraining(SMALL, range(4), Adam(learning_rate=0.01))
    rewards = np.stack([training.update().mean() for _ in range(150)])
    assert rewards[-30:].mean() > rewards[:30].mean() + 0.01
