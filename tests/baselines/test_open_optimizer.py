"""OPEN beside a plain computation of each coordinate by itself, and files that are not its weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.released import write_vector
from safetensors.numpy import save_file
from tipl_bench.baselines.optimizers.lookup import build_optimizer
from tipl_bench.baselines.optimizers.open_optimizer import SHAPES
from tipl_bench.benchmark.training.record import TrainingKey
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.rl import AgentLayout, PolicyLayout
from tipl_bench.utils.errors import OptionError, ProtocolError

LAYOUT = AgentLayout(PolicyLayout(3, (4, 5), 2))
UNITS = (4, 5, 2, 4, 5, 1)
"""Outputs of the actor's layers and of the critic's."""
DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def arrays(vector):
    """The network's arrays, cut out of the vector one by one."""
    found, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        found[name] = vector[start : start + size].reshape(shape).astype(np.float64)
        start += size
    assert start == len(vector)
    return found


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def network(w, x, h):
    r = sigmoid(x @ w["ir.kernel"] + w["ir.bias"] + h @ w["hr.kernel"])
    z = sigmoid(x @ w["iz.kernel"] + w["iz.bias"] + h @ w["hz.kernel"])
    n = np.tanh(x @ w["in.kernel"] + w["in.bias"] + r * (h @ w["hn.kernel"] + w["hn.bias"]))
    y = h = (1 - z) * n + z * h
    for dense, norm in ("01", "34"):
        y = y @ w[f"{dense}.kernel"] + w[f"{dense}.bias"]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-6) * w[f"{norm}.scale"] + w[f"{norm}.bias"]
        y = np.maximum(y, 0)
    return y @ w["6.kernel"] + w["6.bias"], h


def by_hand(w, weights, gradients, activations, places):
    """The weights of one trial after steps, each coordinate by itself; without the noise."""
    means, hidden = np.zeros((len(weights), 6)), np.zeros((len(weights), 8))
    actor = LAYOUT.blocks["actor"].stop
    for gradient, units, (trained, epochs) in zip(gradients, activations, places, strict=True):
        gradient = gradient.astype(np.float64).copy()
        for block in (slice(0, actor), slice(actor, None)):
            gradient[block] *= min(1, 0.5 / (np.linalg.norm(gradient[block]) + 1e-6))
        change = np.zeros(len(weights))
        for name, part in LAYOUT.slices.items():
            shape = LAYOUT.shapes[name]
            is_actor, last = name.startswith("actor"), name.endswith("log_std")
            layer = 3 if last else int(name.split("layer")[1][0])
            own = []
            for i in range(part.start, part.stop):
                means[i] = [d * m + (1 - d) * gradient[i] for d, m in zip(DECAYS, means[i], strict=True)]
                logs = [np.log(abs(v) + 1e-13) for v in (*means[i], gradient[i])]
                own.append([weights[i], *np.sign(means[i]), *logs[:6], np.sign(gradient[i]), logs[6]])
            own = np.array(own)
            own = own / np.sqrt(1e-5 + (own**2).mean(0))
            for i in range(part.start, part.stop):
                dormancy = 1.0
                if not last:
                    outputs = units[layer + (0 if is_actor else 3)] + 1e-11
                    unit = (i - part.start) // shape[1] if len(shape) == 2 else i - part.start
                    dormancy = outputs[unit] / outputs.sum() * len(outputs)
                x = [*own[i - part.start], trained, layer / (3 if is_actor else 2), epochs, dormancy]
                y, hidden[i] = network(w, np.array(x), hidden[i])
                change[i] = 1e-3 * y[0] * np.exp(1e-3 * y[1])
        weights = weights - (change - change.mean())
    return weights


def silent_noise(vector):
    """No output that the noise is multiplied by."""
    vector[-48:].reshape(16, 3)[:, 2] = 0
    vector[-51:-48][2] = 0


def test_each_coordinate_moves_as_the_equations_say(tmp_path):
    optimizer = build_optimizer("open", (), [f"weights={write_vector(tmp_path, silent_noise)}"])
    w = arrays(np.load(tmp_path / "ant_OPEN.npy"))
    rng = np.random.default_rng(1)
    start = rng.normal(size=(2, LAYOUT.parameter_count)).astype(np.float32)
    gradients = rng.normal(size=(3, *start.shape)).astype(np.float32)
    gradients[1] *= 1e-3  # one that is not clipped
    activations = [[rng.uniform(size=(2, units)).astype(np.float32) for units in UNITS] for _ in range(3)]
    now, state = torch.from_numpy(start.copy()), optimizer.init(torch.from_numpy(start), LAYOUT, [5, 6])
    places = [(0.0, 0.0), (0.0, 1 / 9), (0.25, 1.0)]
    for number, (trained, epochs) in enumerate(places):
        now = optimizer.step(
            now,
            torch.from_numpy(gradients[number].copy()),
            state,
            learning_rate=3e-4 * (1 - trained),
            iteration=number + 1,
            epoch=1 + round(9 * epochs),
            minibatch=number,
            activations=[torch.from_numpy(one) for one in activations[number]],
        )
    for trial in range(2):
        units = [[one[trial].astype(np.float64) for one in step] for step in activations]
        expected = by_hand(w, start[trial].astype(np.float64), gradients[:, trial], units, places)
        moved = expected - start[trial]
        np.testing.assert_allclose(now[trial].numpy() - start[trial], moved, atol=5e-7)
        assert np.abs(moved).max() > 5e-5


def test_the_noise_is_the_actors_alone_and_a_trials_own(tmp_path):
    def only_noise(vector):
        vector[-48:] = 0
        vector[-51:-48] = [0, 0, 1]

    optimizer = build_optimizer("open", (), [f"weights={write_vector(tmp_path, only_noise)}"])
    layout = AgentLayout(PolicyLayout(3, (40, 40), 2))
    start = torch.zeros(3, layout.parameter_count)
    state = optimizer.init(start, layout, [5, 6, 5])
    activations = [torch.ones(3, units) for units in (40, 40, 2, 40, 40, 1)]
    steps = []
    for minibatch in range(2):
        place = {"learning_rate": 3e-4, "iteration": 1, "epoch": 1, "minibatch": minibatch, "activations": activations}
        steps.append(optimizer.step(start.clone(), torch.zeros_like(start), state, **place))
    actor = layout.blocks["actor"]
    assert steps[0][:, actor].std() == pytest.approx(1e-3, rel=0.05)
    assert (steps[0][:, actor.stop :].std(1) < 1e-9).all(), "the critic moves by the mean alone"
    assert torch.equal(steps[0][0], steps[0][2])
    assert not torch.equal(steps[0][0], steps[0][1])
    assert not torch.equal(steps[0], steps[1])


@pytest.mark.parametrize("kind", ["missing", "text", "length", "nan", "pickle", "other tensor"])
def test_a_file_that_is_not_its_weights_is_refused_before_training(tmp_path, kind):
    path = tmp_path / ("w.safetensors" if kind == "other tensor" else "w.npy")
    if kind == "text":
        path.write_text("weights", encoding="utf-8")
    elif kind == "length":
        np.save(path, np.zeros(1210, np.float32))
    elif kind == "nan":
        np.save(path, np.full(1211, np.nan, np.float32))
    elif kind == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif kind == "other tensor":
        save_file({"other": np.zeros(1211, np.float32)}, path)
    optimizer = build_optimizer("open", (), [f"weights={path}"])
    with pytest.raises(OptionError, match=r"open: option weights: .*rl-learned-optimization releases"):
        optimizer.init(torch.zeros(1, LAYOUT.parameter_count), LAYOUT, [1])


def test_the_record_has_the_files_digest_and_the_run_is_made_again_with_the_file(tmp_path):
    path = write_vector(tmp_path)
    key = TrainingRequest.of("open", "InvertedPendulum-v4", settings=[f"weights={path}"]).key()
    assert key.optimizer.options == {"weights": "file"}
    assert key.optimizer.state is not None
    assert TrainingKey.model_validate_json(key.model_dump_json()) == key
    assert TrainingRequest.again(key, [path]).key() == key
    with pytest.raises(ProtocolError, match="uses a file with sha256"):
        TrainingRequest.again(key)
