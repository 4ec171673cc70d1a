"""Discovery: the predictors in the tree, and those that installed packages announce."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import synthetic
from helpers.plugins import install
from tipl_bench.baselines import IN_TREE, predictor, predictor_names, predictor_type
from tipl_bench.baselines.optimizers import OPTIMIZERS, OUTER_RULES
from tipl_bench.baselines.optimizers.collecting import code_versions
from tipl_bench.baselines.plugins.discovery import OPTIMIZER_ENTRY_POINTS, plugins
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.cli import main
from tipl_bench.registry.collection_config import CollectionMethod
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


def test_the_information_classes_are_documented_in_one_table():
    text = (Path(__file__).parents[2] / "docs" / "your-own-predictor.md").read_text()
    rows = [f"| `{name}` | {meaning} |" for name, meaning in predictor.INFORMATION_CLASSES.items()]
    assert "\n".join(rows) in text


def test_when_a_packages_metadata_are_damaged_then_other_packages_are_still_found(third_party_predictors):
    damaged = third_party_predictors / "damaged-1.0.dist-info"
    damaged.mkdir()
    (damaged / "METADATA").write_bytes(b"Name: damaged\n")
    (damaged / "entry_points.txt").write_text("[tipl_bench.predictors]\nno equals sign\n")
    assert "keeping" in predictor_names()
    assert predictor_type("keeping").name == "keeping"


@pytest.mark.parametrize(
    ("name", "others", "problem"),
    [
        ("Tipl", (), "'tipl' is a predictor of tipl-bench itself; rename the one of first"),
        (
            "mine",
            ("Mine",),
            r"first \(mine\) and second \(Mine\) announce names that differ by case at most",
        ),
        ("mine", ("mine",), r"first \(mine\) and second \(mine\) announce"),
        ("a b", (), "its name is not letters and digits joined by"),
    ],
)
def test_when_names_are_not_told_apart_then_none_of_them_is_used_and_both_packages_are_named(
    name, others, problem, tmp_path, monkeypatch
):
    for package, point in zip(("first", "second"), (name, *others), strict=False):
        install(tmp_path / package, package, {point: "helpers.third_party:Raising"}, monkeypatch)
    assert name not in predictor_names()
    with pytest.raises(PredictorError, match=f"{name}: {problem}"):
        predictor_type(name)
    assert predictor_type("linear").name == "linear"


def test_when_a_package_announces_an_optimizer_by_a_taken_name_then_the_problem_says_optimizer(tmp_path, monkeypatch):
    points = {"Adam": "helpers.third_party:Raising", "tipl-published": "helpers.third_party:Raising"}
    install(tmp_path, "first", points, monkeypatch, group=OPTIMIZER_ENTRY_POINTS)
    found = {one.name: one.problem for one in plugins(OPTIMIZERS | OUTER_RULES, OPTIMIZER_ENTRY_POINTS)}
    assert found == {
        "Adam": "'adam' is an optimizer or outer rule of tipl-bench itself; rename the one of first",
        "tipl-published": None,
    }


def test_when_the_package_of_a_new_predictor_is_not_installed_then_the_command_is_named(tmp_path):
    CliRunner().invoke(main, ["models", "new", "fresh-one"])
    run = ["run", "--model", "fresh-one", "--dataset", "inverted-pendulum/ppo-head-v1"]
    for command in (["models", "check", "fresh-one"], ["models", "fresh-one"], run):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2
        assert (
            "Unknown predictor 'fresh-one'. The package in fresh-one/ is not installed: "
            "pip install -e 'fresh-one[test]'." in (result.output)
        )


def test_the_code_of_a_collections_method_is_known_by_its_files(tmp_path, monkeypatch):
    site = install(tmp_path, "my-rules", {"my-rule": "my_rule:Rule"}, monkeypatch, "tipl_bench.optimizers")
    (site / "my_rules-1.0.dist-info" / "RECORD").write_text("my_rule.py,,\n")
    (site / "my_rule.py").write_text("one = 1\n")
    method = CollectionMethod(outer=("outer-step", "my-rule"))
    before = code_versions(method)
    assert before["my-rules"].startswith("1.0, files ")
    assert code_versions(method) == before
    (site / "my_rule.py").write_text("one = 2\n")
    assert code_versions(method) != before
    assert code_versions(CollectionMethod(outer=("outer-step",))) == {}
