"""Optim4RL's rule beside torch's GRU, its meta-gradients beside finite differences, and both ways to train it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tipl_bench.baselines.optimizers.lookup import build_optimizer
from tipl_bench.baselines.optimizers.optim4rl import meta_training
from tipl_bench.baselines.optimizers.optim4rl.meta_training import LossTraining, RewardTraining, pull_back
from tipl_bench.baselines.optimizers.optim4rl.optimizer import GivenRule
from tipl_bench.baselines.optimizers.optim4rl.parameters import MetaParameters
from tipl_bench.baselines.optimizers.optim4rl.rule import PRESETS, Rule, scales
from tipl_bench.baselines.optimizers.optim4rl.settings import MetaOptions
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.registry.collection.block import one_thread
from tipl_bench.rl.gridworlds import WORLDS, A2CHyperparameters, A2CTraining
from tipl_bench.utils.errors import OptionError, PredictorError, ProtocolError
from tipl_bench.utils.files import sha256

RULES = {
    **PRESETS,
    "unprocessed": dataclasses.replace(PRESETS["2023"], processed=False),
    "single": dataclasses.replace(PRESETS["2023"], single=True),
}
TINY = MetaOptions(agents=4, environments=2, lifetime=8, iterations=3, validate_every=1, probes=2)


@pytest.fixture(autouse=True)
def _one_thread():
    """As meta-training does: small tensors, and results that do not depend on the machine."""
    with one_thread():
        yield


def test_published_structures_have_the_published_sizes():
    assert PRESETS["2023"].parameter_count == 1_403
    assert PRESETS["2024"].parameter_count == 514


def plain_update(rule, vector, gradients):
    """Updates of one coordinate after each of its gradients, with torch's GRU cell and plain layers."""
    part = {name: vector[where].view(rule.shapes[name]) for name, where in rule.slices.items()}
    names = list(dict.fromkeys(name.partition(".")[0] for name in part))
    cells, states, found = {}, dict.fromkeys(names, torch.zeros(1, 8)), []
    for name in names:
        cell = cells[name] = torch.nn.GRUCell(part[f"{name}.input"].shape[0], 8)
        cell.weight_ih.data, cell.bias_ih.data = part[f"{name}.input"].T.clone(), part[f"{name}.bias"].clone()
        cell.weight_hh.data = part[f"{name}.recurrent"].T.clone()
        cell.bias_hh.data = torch.cat([torch.zeros(16), part[f"{name}.new_bias"]])
    for g in gradients:
        log = float(np.log(abs(g) + 1e-18))
        reads = [[np.sign(g), log], [2 * log]] if rule.processed else [[g], [g * g]]
        outputs = []
        for name, read in zip(names, reads, strict=False):
            x = states[name] = cells[name](torch.tensor([read], dtype=torch.float32), states[name])
            layers = len(rule.head) + 1
            for layer in range(layers):
                x = x @ part[f"{name}.head{layer}.weight"] + part[f"{name}.head{layer}.bias"]
                x = x.relu() if layer < layers - 1 else x
            outputs += x[0].tolist()
        turn = np.sign(np.tanh(outputs[0] + 1)) if rule.turns else 1
        length, square = outputs[-2:]
        found.append(np.sign(g) * turn * np.exp(length) / np.sqrt(np.exp(square) + (1e-18 if rule.processed else 1e-8)))
    return found


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_rule_is_that_of_a_plain_computation(rule):
    vector = rule.initial(3) + 0.3 * torch.from_numpy(np.random.default_rng(1).standard_normal(rule.parameter_count))
    vector = vector.float()
    gradients = np.random.default_rng(2).standard_normal((5, 3)) * [1, 1e-3, 1e-6]
    gradients[2, 1] = 0
    hidden = torch.zeros(1, 3, rule.hidden_size)
    found = [rule.advance(vector, torch.tensor(g[None]).float(), hidden)[0].tolist() for g in gradients]
    for coordinate in range(3):
        expected = plain_update(rule, vector, gradients[:, coordinate])
        np.testing.assert_allclose([one[coordinate] for one in found], expected, rtol=2e-4, atol=1e-7)


def test_a_rule_whose_heads_say_nothing_is_a_step_along_signs():
    rule = PRESETS["2024"]
    vector = rule.initial(0)
    for name, where in rule.slices.items():
        if "head" in name:
            vector[where] = 0
    training = A2CTraining(WORLDS["small_dense_short"], [1, 2], GivenRule(rule, vector, 0.01))
    before = training.parameters.clone()
    training.update()
    moved = training.parameters - before
    torch.testing.assert_close(moved[moved != 0].abs(), torch.full_like(moved[moved != 0], 0.01), rtol=1e-4, atol=0)


def test_many_rules_at_once_are_each_by_itself():
    rule, draw = PRESETS["2023"], np.random.default_rng(0)
    vectors = torch.stack([rule.initial(seed) for seed in range(3)])
    gradient = torch.from_numpy(draw.standard_normal((3, 5_000)).astype(np.float32))
    hidden = torch.from_numpy(draw.standard_normal((3, 5_000, 16)).astype(np.float32))
    alone = [rule.advance(v, g[None], h[None].clone()) for v, g, h in zip(vectors, gradient, hidden, strict=True)]
    torch.testing.assert_close(rule.advance(vectors, gradient, hidden), torch.cat(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["2023", "2024", "unprocessed", "single"])
def test_meta_gradients_are_finite_differences(name):
    """Of the sum of cotangents * updates over three updates, in double precision."""
    rule, draw = dataclasses.replace(RULES[name], turns=False), np.random.default_rng(5)
    vector = rule.initial(1).double()
    gradients, cotangents = torch.from_numpy(draw.standard_normal((2, 3, 2, 7)))
    hidden = torch.from_numpy(draw.standard_normal((2, 7, rule.hidden_size)))

    def total(at):
        known, found = hidden.reshape(1, 14, -1), 0.0
        for g, c in zip(gradients, cotangents, strict=True):
            update, known = rule.apply(at[None], g.reshape(1, -1), known)
            found = found + (update * c.reshape(1, -1)).sum()
        return float(found)

    found = pull_back(rule, vector, [*gradients], hidden, [*cotangents])
    for place in draw.choice(len(vector), 25, replace=False):
        step = torch.zeros_like(vector)
        step[place] = 1e-6
        assert float(found[place]) == pytest.approx((total(vector + step) - total(vector - step)) / 2e-6, abs=1e-5)
    parts = [pull_back(rule, vector, [*gradients[..., c]], hidden[:, c], [*cotangents[..., c]])
             for c in (slice(0, 3), slice(3, 7))]  # fmt: skip
    torch.testing.assert_close(found, sum(parts))  # a sum over coordinates, so that a sample of them is unbiased


def test_the_normalised_rules_cotangent_is_a_finite_difference():
    options = dataclasses.replace(TINY, normalised=True)
    population = LossTraining(options, 0).populations[0]
    draw = np.random.default_rng(0)
    update, loss = (torch.from_numpy(draw.standard_normal(population.parameters.shape)) for _ in range(2))
    direction = torch.from_numpy(draw.standard_normal(population.parameters.shape))

    def value(at):
        return float((loss * at * scales(at, population.tensors)).sum())

    found = population._cotangent(loss, update, scales(update, population.tensors))
    expected = (value(update + 1e-6 * direction) - value(update - 1e-6 * direction)) / 2e-6
    assert float((found * direction).sum()) == pytest.approx(expected, rel=1e-5)


def test_normalised_updates_have_the_rate_as_their_size():
    rule = Rule(normalised=True)
    training = A2CTraining(WORLDS["small_dense_short"], [1], GivenRule(rule, rule.initial(0), 0.01))
    before = training.parameters.clone()
    training.update()
    for name, part in training.agents.layout.slices.items():
        size = (training.parameters - before)[:, part].square().mean().sqrt()
        assert size == pytest.approx(0.01, rel=1e-3), name


@pytest.mark.parametrize("pipeline", [True, False])
def test_agents_begin_anew_in_turn_or_never(pipeline):
    """At a rate at which weights stand still, only an agent that begins anew has others."""
    training = LossTraining(dataclasses.replace(TINY, unroll=2, rate=1e-12, pipeline=pipeline), 0)
    first = training.populations[0].parameters.clone()
    changed = []
    for _ in range(5):
        training.iterate()
        now = training.populations[0].parameters
        changed.append([n for n in range(4) if not torch.allclose(now[n], first[n], atol=1e-6)])
        first = now.clone()
    assert changed == ([[], [1], [2], [3], [0]] if pipeline else [[]] * 5)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_meta_iterations_gradient_is_a_finite_difference_of_the_loss(normalised, monkeypatch):
    """Of the agents' loss on the last rollout, were their weights moved by what the rule would have done."""
    options = dataclasses.replace(TINY, structure="2024", coordinates=1.0, normalised=normalised, rate=0.01)
    training = LossTraining(options, 3)
    training.iterate()  # so that hidden states are carried in
    population, vector = training.populations[0], training.vector
    start, known = population.parameters.clone(), population.hidden.clone()
    gradients, gradient_of = [], population._gradient

    def seen(rollout):
        found = gradient_of(rollout)
        gradients.append(found[0].clone())
        return found

    monkeypatch.setattr(population, "_gradient", seen)
    population.turns[:] = -1  # nobody begins anew
    found, _ = population.iterate(vector, 1, np.random.default_rng(0))
    *inner, loss = gradients

    def value(at):
        hidden, parameters = known.clone(), start.double()
        for gradient in inner:
            update = population.rule.advance(at, gradient.clamp(-1, 1), hidden)
            if normalised:
                update = update * scales(update, population.tensors)
            parameters = parameters - options.rate * update.double()
        return float((loss.double() * parameters).sum() / options.agents)

    direction = found / found.norm()
    expected = (value(vector + 3e-3 * direction) - value(vector - 3e-3 * direction)) / 6e-3
    assert float(found.norm()) == pytest.approx(expected, rel=0.02)


def test_an_agent_that_diverged_begins_anew_and_harms_nobody():
    training = LossTraining(TINY, 0)
    training.populations[0].parameters[2] = torch.nan
    training.iterate()
    training.iterate()
    assert training.vector.isfinite().all()
    assert training.populations[0].parameters.isfinite().all()
    assert training.populations[0].hidden.isfinite().all()


def test_a_rule_that_diverges_is_an_error():
    training = LossTraining(TINY, 0)
    with pytest.raises(PredictorError, match=r"diverged in meta-iteration 1.*Lower"):
        training.descend(torch.full_like(training.vector, torch.nan))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vector", lambda array: array[:-1]),
        ("vector", lambda array: array * np.nan),
        ("vector", lambda array: array.astype(np.uint16)),
        ("iteration", lambda array: array + 99),
        ("iteration", lambda array: array - 99),
        ("0.hidden", lambda array: array[:1]),
        ("0.objects", lambda array: array + 1000),
        ("0.agents", lambda array: array - 1000),
    ],
)
def test_arrays_that_no_training_has_are_refused(name, change):
    training = LossTraining(TINY, 0)
    training.iterate()
    arrays = {key: array.copy() for key, array in training.arrays().items()}
    arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=r"."):
        LossTraining(TINY, 0).restore(arrays)


def test_the_evolution_strategy_climbs(monkeypatch):
    """On a reward that is a paraboloid of the perturbed meta-parameters."""
    options = dataclasses.replace(TINY, objective="reward", agents=64, meta_rate=0.05)
    training = RewardTraining(options, 0)
    goal = training.vector.clone()
    goal[training.trained] += 0.5

    def reward(optimizer, world, seeds, updates, settings, device):
        assert seeds[: len(seeds) // 2] == seeds[len(seeds) // 2 :]
        return np.repeat(-(optimizer.vector - goal).square().sum(1)[None].numpy(), updates, axis=0)

    monkeypatch.setattr(meta_training, "life", reward)
    distance = (training.vector - goal).norm()
    untrained = torch.ones(len(goal), dtype=torch.bool)
    untrained[training.trained] = False
    for _ in range(60):
        training.iterate()
    assert (training.vector - goal).norm() < distance / 3
    assert torch.equal(training.vector[untrained], training.rule.initial(0)[untrained])
    assert len(training.trained) == 16 * 2 + 2 + 16 + 1


@pytest.mark.parametrize("objective", ["loss", "reward"])
def test_training_goes_on_from_its_arrays(objective):
    options = dataclasses.replace(TINY, objective=objective)
    whole, first = (meta_training.meta_training(options, 7) for _ in range(2))
    rewards = [whole.iterate() for _ in range(3)]
    first.iterate()
    kept = {name: array.copy() for name, array in first.arrays().items()}
    second = meta_training.meta_training(options, 7)
    second.restore(kept)
    assert [second.iterate() for _ in range(2)] == rewards[1:]
    assert torch.equal(second.vector, whole.vector)


def write(path, rule=PRESETS["2024"]):
    MetaParameters(rule, rule.initial(1), rule.initial(0)).write(path)
    return path


def test_a_file_gives_the_trained_rule_or_its_untrained_self(tmp_path):
    path, rule = write(tmp_path / "rule.safetensors"), PRESETS["2024"]
    for setting, seed in (("trained=true", 1), ("trained=false", 0)):
        optimizer = build_optimizer("optim4rl", (), [f"weights={path}", setting])
        assert torch.equal(optimizer.given.vector, rule.initial(seed))
        assert optimizer.given.rule == rule


@pytest.mark.parametrize("kind", ["missing", "text", "other", "short", "huge", "odd"])
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path, kind):
    from safetensors.torch import save_file

    path = tmp_path / "rule.safetensors"
    if kind == "text":
        path.write_text("weights", encoding="utf-8")
    elif kind == "other":
        save_file({"trained": torch.zeros(3)}, path)
    elif kind == "short":
        rule = PRESETS["2024"]
        MetaParameters(rule, rule.initial(0)[:-1], rule.initial(0)[:-1]).write(path)
    elif kind in ("huge", "odd"):
        rule = dataclasses.replace(PRESETS["2024"], head=(10**4200,) if kind == "huge" else (-1,))
        MetaParameters(rule, torch.zeros(3), torch.zeros(3)).write(path)
    with pytest.raises(OptionError, match=r"optim4rl: option weights: .*rule\.safetensors"):
        build_optimizer("optim4rl", (), [f"weights={path}"]).init(torch.zeros(1, 3), None, [0])


def test_a_name_that_is_no_file_is_refused():
    with pytest.raises(OptionError, match="neither a file nor the name"):
        build_optimizer("optim4rl", (), [f"weights={'x' * 5000}"]).init(torch.zeros(1, 3), None, [0])


def test_a_run_is_known_by_its_files_bytes_whatever_their_name(tmp_path):
    first, second = write(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    second.write_bytes(first.read_bytes())
    key = TrainingRequest.of("optim4rl", "InvertedPendulum-v4", settings=[f"weights={first}"]).key()
    assert key.optimizer.state == sha256(first)
    again = TrainingRequest.again(key, [second])
    assert f"weights={second}" in again.settings
    other = write(tmp_path / "c.safetensors", PRESETS["2023"])
    with pytest.raises(ProtocolError, match="does not ship with this package"):
        TrainingRequest.again(key, [other])


def test_the_first_updates_are_on_fresh_agents():
    settings = A2CHyperparameters(environments=2)
    rule = GivenRule(PRESETS["2023"], PRESETS["2023"].initial(0), 0.01)
    found = meta_training.life(rule, WORLDS["small_dense_short"], [4, 4], 3, settings)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
