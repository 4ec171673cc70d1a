"""Discovery: the predictors in the tree, and those that installed packages announce."""

from __future__ import annotations

import re
import textwrap

import numpy as np
import pytest
from helpers import synthetic
from tipl_bench.baselines import IN_TREE, predictor, predictor_names, predictor_type
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.utils.errors import PredictorError, UnknownNameError
from tipl_bench.utils.tensorfile import map_tensors


def test_when_nothing_is_installed_then_the_trees_own_are_listed():
    assert predictor_names()[: len(IN_TREE)] == list(IN_TREE)
    assert {"persistence", "linear", "autoregression", "mlp", "tipl"} <= set(IN_TREE)


def test_when_a_package_announces_predictors_then_they_come_after_the_trees(third_party_predictors):
    names = predictor_names()
    assert names[: len(IN_TREE)] == list(IN_TREE)
    assert {"keeping", "raising"} <= set(names[len(IN_TREE) :])
    assert len(names) == len(set(names))
    assert predictor_type("keeping").name == "keeping"


def test_when_a_third_party_predictor_is_run_then_its_options_and_state_are_recorded(
    third_party_predictors, smooth, tmp_path
):
    request = RunRequest("keeping", smooth, settings=("shift=0.25",), protocol=synthetic.SMALL, device="cpu")
    record = execute(request, tmp_path / "run").record
    assert record.key.method.options == {"shift": 0.25}
    assert record.parameter_count == 1 + 2 + 6 + 6
    tensors = map_tensors(tmp_path / "run" / "forecasts.safetensors")
    for trial, origin, forecast in zip(tensors["trial"], tensors["origin"], tensors["forecasts"], strict=True):
        expected = smooth.trial(trial).weights(origin, origin + 1).repeat(3, axis=0) + np.float32(0.25)
        np.testing.assert_array_equal(forecast, expected)


def test_when_no_predictor_has_the_name_then_the_nearest_and_all_are_named(third_party_predictors):
    with pytest.raises(UnknownNameError) as caught:
        predictor_type("keping")
    assert str(caught.value).startswith("Unknown predictor 'keping'. Did you mean 'keeping'? Known: ")
    assert all(name in str(caught.value) for name in predictor_names())


def test_when_an_entry_point_does_not_load_then_it_is_named(third_party_predictors):
    with pytest.raises(
        PredictorError,
        match=r"missing: its entry point 'helpers.third_party:NotThere' does not load \(AttributeError",
    ):
        predictor_type("missing")


def test_when_an_entry_point_is_no_predictor_then_it_is_named(third_party_predictors):
    with pytest.raises(PredictorError, match=r"not-a-predictor: .* is not a Predictor of that name"):
        predictor_type("not-a-predictor")


def test_when_a_package_takes_a_trees_name_then_the_trees_own_stays(tmp_path, monkeypatch):
    information = tmp_path / "rival-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[tipl_bench.predictors]\nlinear = helpers.third_party:Raising\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert predictor_names().count("linear") == 1
    assert predictor_type("linear").__module__ == "tipl_bench.baselines.linear"


def test_when_a_predictor_says_another_name_than_its_entry_point_then_it_is_refused(tmp_path, monkeypatch):
    information = tmp_path / "alias-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: alias\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[tipl_bench.predictors]\nalias = helpers.third_party:Keeping\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PredictorError, match=r"alias: .* is not a Predictor of that name"):
        predictor_type("alias")


def test_when_the_tutorial_is_typed_in_then_it_is_a_predictor(smooth):
    text = textwrap.dedent(re.search(r"::\n\n(.*?)\n\n(?=\S)", predictor.__doc__, re.DOTALL).group(1))
    module: dict = {"__name__": "typed_in"}
    exec(compile(text, "the tutorial", "exec"), module)
    (kind,) = [
        value
        for value in module.values()
        if isinstance(value, type) and issubclass(value, predictor.Predictor) and value.__module__ == "typed_in"
    ]
    contexts = synthetic.contexts_of(smooth, 7, (19, 40))
    forecast = kind(predictor.NoOptions()).predict(contexts, 3)
    np.testing.assert_array_equal(forecast, contexts.weights[:, [-1] * 3])
