"""WNN+ and NiNo, which forecast from five past states of every weight."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers import synthetic
from helpers.released import tensors_like, write_release
from safetensors.numpy import save_file
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.field.nowcasting import nowcaster
from tipl_bench.baselines.field.nowcasting.calibration import Calibration, interpolation
from tipl_bench.baselines.field.nowcasting.graph import NeuralGraph
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.predictor import Contexts, FitTask
from tipl_bench.baselines.saving import options_dict
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.errors import OptionError, PredictorError

MODELS = ("wnn-plus", "nino")
both = pytest.mark.parametrize("model", MODELS)
TINY = PolicyLayout(2, (3, 2), 1)


def contexts_of(weights, layout) -> Contexts:
    """Contexts of weights [B, L, P] and nothing else."""
    batch, length, _ = weights.shape
    blank = np.zeros((batch, length, layout.observation_size))
    columns = {"epoch": np.zeros((batch, length), dtype=np.int64)}
    weights = weights.astype(np.float32)
    return Contexts(weights, blank, blank + 1, blank[..., 0], columns, np.zeros(batch, dtype=np.int64), layout)


def walks(batch: int, length: int, layout: PolicyLayout):
    """Random walks away from random weights, [B, L, P]."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(batch, 1, layout.parameter_count))
    return start + 0.05 * rng.normal(size=(batch, length, layout.parameter_count)).cumsum(axis=1)


def fitted(model: str, dataset, *settings: str):
    """A predictor fitted on a dataset."""
    kind, split = predictor_type(model), dataset.manifest.split
    predictor = kind(build_options(kind, "smoke", settings, 20))
    predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), 3, 20))
    return predictor


# An independent computation, edge by edge, from the tensors of a published file.


def silu(x):
    return x / (1 + np.exp(-x))


def graph_of(layout: PolicyLayout):
    """(layer name, index in P, target, source) of every parameter, and the number of nodes, by names of nodes."""
    edges, nodes = [], [("in", i) for i in range(layout.observation_size)]
    before = list(nodes)
    for layer, size in enumerate(layout.sizes[1:]):
        last = layer == len(layout.hidden_sizes)
        after = [(layer, i) for i in range(size)]
        for name in [f"layer{layer}.bias", *["log_std"] * last]:
            nodes.append(name)
            edges += [(name, layout.slices[name].start + i, node, name) for i, node in enumerate(after)]
        start, name = layout.slices[f"layer{layer}.weight"].start, f"layer{layer}.weight"
        edges += [(name, start + i * len(before) + j, t, s) for i, t in enumerate(after) for j, s in enumerate(before)]
        nodes += after
        before = after
    place = {node: number for number, node in enumerate(nodes)}
    return [(name, index, place[t], place[s]) for name, index, t, s in sorted(edges, key=lambda e: e[1])], len(nodes)


def laplacian_of(edges, count: int):
    """Eigenvectors of simple eigenvalues of the normalised Laplacian, by their places; positive at the first node."""
    near = np.zeros((count, count))
    for _, _, target, source in edges:
        near[target, source] = near[source, target] = 1
    degree = near.sum(0)
    values, vectors = np.linalg.eigh(np.eye(count) - near / np.sqrt(np.outer(degree, degree)))
    found = np.zeros((count, 8))
    for place in range(8):
        alike = np.abs(values - values[place + 1]) < 1e-6
        if place + 1 < count and alike.sum() == 1:
            found[:, place] = vectors[:, place + 1] * np.sign(vectors[0, place + 1])
    return found


def standardised(window, layout, stride):
    """States [5, P] of a context [L, P], and the deviation of each weight's layer."""
    states = np.stack([window[len(window) - 1 - stride * back] for back in (4, 3, 2, 1, 0)]).astype(np.float64)
    deviation = np.empty(states.shape[1])
    for part in layout.slices.values():
        mean, deviation[part] = states[:, part].mean(), states[:, part].std(ddof=1)
        states[:, part] = (states[:, part] - mean) / (deviation[part] + 1e-6)
    return states, deviation


def linear(tensors, name, x):
    return tensors[f"{name}.weight"] @ x + tensors[f"{name}.bias"]


def wnn_plus_answers(tensors, states, layout):
    answers = []
    for name, index, _, _ in graph_of(layout)[0]:
        kind = 1 if name.endswith(".weight") else 2
        x = linear(tensors, "edge_proj.fc.0", states[:, index]) + tensors["layer_embed.weight"][kind]
        for layer in (0, 2, 4):
            x = silu(linear(tensors, f"edge_mlp.fc.{layer}", x))
        answers.append(linear(tensors, "edge_mlp.fc.6", x))
    return np.array(answers)


def nino_answers(tensors, states, layout):
    """All three rounds and all nine places of a kernel, as published."""
    parameters, count = graph_of(layout)
    edges = [(t, s, 1 if name.endswith(".weight") else 2, states[:, i]) for name, i, t, s in parameters]
    edges += [(node, node, 13, np.full(5, 2.0)) for node in range(count)]
    features = [
        linear(tensors, "edge_proj.fc.0", np.concatenate([x, np.zeros(40)])) + tensors["layer_embed.weight"][kind]
        for _, _, kind, x in edges
    ]
    nodes = [linear(tensors, "node_proj.fc.0", row) for row in laplacian_of(parameters, count)]
    for number in range(3):
        conv, update = f"gnn.convs.{number}", f"gnn.edge_update.{number}"
        messages = [[] for _ in range(count)]
        for (t, s, _, _), e in zip(edges, features, strict=True):
            scale, shift = np.split(linear(tensors, f"{conv}.edge_encoder", e), 2)
            pair = linear(tensors, f"{conv}.pre_nns.0.0", np.concatenate([nodes[t], nodes[s]]))
            messages[t].append(scale * pair + shift)
        joined = [np.concatenate([x, np.mean(into, axis=0)]) for x, into in zip(nodes, messages, strict=True)]
        nodes = [silu(linear(tensors, f"{conv}.lin", linear(tensors, f"{conv}.post_nns.0.0", x))) for x in joined]
        if number < 2:
            terms = [
                linear(tensors, f"{update}.lin_e", e)
                + linear(tensors, f"{update}.lin_s", nodes[s])
                + linear(tensors, f"{update}.lin_t", nodes[t])
                for (t, s, _, _), e in zip(edges, features, strict=True)
            ]
            features = [linear(tensors, f"{update}.lin1", silu(x)) for x in terms]
    heads = [linear(tensors, "edge_out.fc.2", silu(linear(tensors, "edge_out.fc.0", e))) for e in features]
    return np.array(heads)[: len(parameters)].reshape(len(parameters), 9, 40)[:, 0]


@pytest.mark.parametrize(("stride", "scale"), [(1, 1.0), (2, 0.5)])
@pytest.mark.parametrize(("model", "answers"), [("wnn-plus", wnn_plus_answers), ("nino", nino_answers)])
def test_when_released_weights_forecast_then_it_is_what_their_equations_give(model, answers, stride, scale, tmp_path):
    file = write_release(model, tmp_path / "released.safetensors")
    tensors = {name: array.astype(np.float64) for name, array in tensors_like(model).items()}
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "quick", [f"weights={file}", f"stride={stride}", f"scale={scale}"], 20))
    predictor.fit(FitTask((), (), 7, 20))
    contexts = contexts_of(walks(2, 20, TINY), TINY)
    forecast = predictor.predict(contexts, 7)
    for row, window in enumerate(contexts.weights):
        states, deviation = standardised(window, TINY, stride)
        steps = np.concatenate([np.zeros((len(deviation), 1)), answers(tensors, states, TINY)], axis=1)
        for h in range(1, 8):
            below, share = divmod(h, stride)
            moved = (1 - share / stride) * steps[:, below] + share / stride * steps[:, below + 1]
            expected = scale * deviation * moved
            np.testing.assert_allclose(forecast[row, h - 1] - window[-1], expected, rtol=0, atol=2e-6)
            assert np.abs(expected).max() > 1e-3


def permuted(weights, layout: PolicyLayout, orders):
    """Weights [..., P] with the hidden units of each layer in another order."""
    moved = weights.copy()
    orders = [np.arange(layout.observation_size), *orders, np.arange(layout.action_size)]
    for layer, (into, out) in enumerate(pairwise(orders)):
        part, bias = (layout.slices[f"layer{layer}.{name}"] for name in ("weight", "bias"))
        matrix = weights[..., part].reshape(*weights.shape[:-1], len(out), len(into))
        moved[..., part] = matrix[..., out, :][..., into].reshape(*weights.shape[:-1], -1)
        moved[..., bias] = weights[..., bias][..., out]
    return moved


@both
def test_when_hidden_units_change_places_then_so_do_their_forecasts(model, tmp_path):
    file, layout = write_release(model, tmp_path / "released.safetensors"), PolicyLayout(4, (6, 5), 2)
    kind = predictor_type(model)
    predictor = kind(build_options(kind, "quick", [f"weights={file}", "stride=1", "scale=1"], 20))
    predictor.fit(FitTask((), (), 3, 20))
    weights = walks(2, 20, layout).astype(np.float32)
    orders = [np.array([3, 0, 5, 1, 4, 2]), np.array([4, 2, 0, 1, 3])]
    plain, turned = (
        predictor.predict(contexts_of(values, layout), 3) for values in (weights, permuted(weights, layout, orders))
    )
    np.testing.assert_allclose(turned, permuted(plain, layout, orders), rtol=0, atol=1e-6)
    assert np.abs(turned - plain).max() > 0.1


def test_when_a_graph_has_positions_then_they_do_not_tell_the_hidden_units_of_a_layer_apart():
    positions = NeuralGraph.of(PolicyLayout(4, (6, 5), 2)).positions
    assert positions.shape == (4 + 1 + 6 + 1 + 5 + 2 + 2, 8)
    for first, count in ((5, 6), (12, 5)):
        np.testing.assert_allclose(positions[first : first + count], positions[[first] * count], rtol=0, atol=1e-9)
    known = positions[:, (positions != 0).any(axis=0)]
    assert known.shape[1] >= 2
    np.testing.assert_allclose(known.T @ known, np.eye(known.shape[1]), rtol=0, atol=1e-9)
    assert (known[0] > 0).all()


@both
def test_when_released_weights_are_given_then_the_record_has_their_digest_and_their_class(model, smooth, tmp_path):
    file = write_release(model, tmp_path / "one.safetensors")
    again = write_release(model, tmp_path / "two.safetensors")
    one, two = (fitted(model, smooth, f"weights={path}", "stride=1", "scale=1") for path in (file, again))
    assert options_dict(one.options) == options_dict(two.options)
    assert one.options.weights.startswith("sha256:")
    assert one.information_class == "pretrained"
    assert fitted(model, smooth, "steps=1").information_class == "weights"
    contexts = synthetic.contexts_of(smooth, 7, (30, 50))
    one.save(tmp_path / "state")
    kind = predictor_type(model)
    loaded = kind(build_options(kind, "smoke", [f"weights={one.options.weights}", "stride=1", "scale=1"], 20))
    loaded.load(tmp_path / "state")
    np.testing.assert_array_equal(loaded.predict(contexts, 10), one.predict(contexts, 10))
    told = rf"^{model}: option weights is the digest of a file, sha256:.* as option weights\.$"
    with pytest.raises(PredictorError, match=told):
        loaded.fit(FitTask((), (), 3, 20))


def damage(tensors: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    """Tensors of a release with something wrong."""
    name = "edge_proj.fc.0.bias"
    if how == "lacks":
        return {other: value for other, value in tensors.items() if other != name}
    changed = {"wide": np.zeros((128, 2), np.float32), "double": np.zeros(128), "nan": np.full(128, np.nan, np.float32)}
    return tensors | ({"wte_pos_enc_layer.weight": np.zeros(1, np.float32)} if how == "more" else {name: changed[how]})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("lacks", "lacks the tensor 'edge_proj.fc.0.bias': the file is damaged or another"),
        ("more", "has a tensor 'wte_pos_enc_layer.weight', which checkpoints/nino_no_posw.pt does not have"),
        ("wide", r"is float32 \[128, 2\], where it should be float32 \[128\]"),
        ("double", r"is float64 \[128\], where it should be float32 \[128\]"),
        ("nan", "has values that are not finite"),
    ],
)
def test_when_a_file_of_released_weights_is_another_then_one_sentence_says_what_is_wrong(how, message, tmp_path):
    save_file(damage(tensors_like("nino"), how), tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match=rf"^nino: option weights: .*other\.safetensors: .*{message}") as raised:
        build_options(predictor_type("nino"), "quick", [f"weights={tmp_path}/other.safetensors"], 20)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("as option weights.")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.safetensors", "the file is missing"),
        ("text.safetensors", "the file is damaged or another"),
        ("folder.safetensors", r"cannot be read \(Is a directory\)"),
        ("weights.pt", r"not the name of a \.safetensors file"),
    ],
)
@both
def test_when_a_file_of_released_weights_is_not_one_then_one_sentence_says_so(model, name, message, tmp_path):
    (tmp_path / "text.safetensors").write_text("weights")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OptionError, match=rf"^{model}: option weights: .*{message}.* as option weights\.$"):
        build_options(predictor_type(model), "quick", [f"weights={tmp_path / name}"], 20)


@both
def test_when_a_policy_is_wider_than_one_piece_then_training_and_forecasts_are_the_same(model, smooth, monkeypatch):
    contexts = synthetic.contexts_of(smooth, 7, (30, 50))
    monkeypatch.setattr(nowcaster, "VALIDATION_WINDOWS", 4)
    settings = ("steps=2", "windows=3", "warmup=0", "validate_every=1")
    whole = fitted(model, smooth, *settings).predict(contexts, 3)
    monkeypatch.setattr(nowcaster, "CHUNK_EDGES", 1)
    np.testing.assert_allclose(fitted(model, smooth, *settings).predict(contexts, 3), whole, rtol=0, atol=1e-5)
    assert (whole != contexts.weights[:, -1:]).any()


def test_when_wnn_plus_samples_weights_of_a_wide_policy_then_it_learns(smooth, monkeypatch):
    monkeypatch.setattr(predictor_type("wnn-plus"), "per_window", 8)
    predictor = fitted("wnn-plus", smooth, "steps=60", "warmup=0", "validate_every=30")
    assert synthetic.skills(predictor, smooth, 7, range(19, 78, 4), 3).mean() > 0.3


def test_when_a_forecast_is_twice_the_truth_then_half_of_it_is_chosen(smooth):
    calibration = Calibration.of(smooth.trials(smooth.manifest.split.validation), 20, 3)
    truth = {
        calibration.windows.weights(row)[:20].tobytes(): np.diff(calibration.windows.weights(row)[19:], axis=0).cumsum(
            0
        )
        for row in calibration.rows
    }

    def doubled(weights, layout, stride, horizon):
        found = np.stack([2.0 * truth[window.tobytes()] for window in weights])
        return found if stride == 3 else np.ones_like(found)

    stride, scale = calibration.best(doubled, [1, 2, 3, 4], None, lambda done, total, word: None)
    assert (stride, round(scale, 5)) == (3, 0.5)


def test_when_the_spacing_is_two_then_odd_horizons_are_halfway():
    expected = [[0.5, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    np.testing.assert_array_equal(interpolation(2, 3, 4), np.array(expected, dtype=np.float32))


@both
def test_when_states_would_reach_beyond_the_context_then_it_is_refused(model):
    with pytest.raises(OptionError, match=r"stride is 5: five states so far apart need 21 checkpoints, .* has 20"):
        build_options(predictor_type(model), "quick", ["stride=5"], 20)
