"""`optimizers check`: this package's and a new package's optimizers pass, and each breach fails its own check."""

from __future__ import annotations

import importlib.util
import itertools
from typing import ClassVar

import pytest
import torch
from click.testing import CliRunner
from helpers.released import write_vector
from pydantic.dataclasses import dataclass
from tipl_bench import OuterRule, check_optimizer
from tipl_bench.baselines.optimizers import OPTIMIZERS, OUTER_RULES, lookup
from tipl_bench.baselines.optimizers.lookup import rule_type
from tipl_bench.baselines.plugins.scaffold import OPTIMIZER, OUTER_RULE, write_package
from tipl_bench.benchmark.conformance import optimizer as conformance
from tipl_bench.cli import main
from tipl_bench.rl import FusedAdam
from tipl_bench.utils.errors import OptionError, UnknownNameError


@pytest.mark.parametrize("name", [*OPTIMIZERS, *OUTER_RULES])
def test_every_optimizer_and_outer_rule_of_this_package_passes(name, tmp_path):
    needed = {
        "jump": ["predictor=linear", "horizon=3"],
        "open": [f"weights={write_vector(tmp_path)}"],
        "optim4rl": ["weights=2023-0"],
    }
    report = check_optimizer(name, settings=needed.get(name, ()))
    assert report.passed, str(report)
    assert len(report.checks) == conformance.CHECKS


@pytest.fixture
def known_as(monkeypatch):
    """Make a class known by its name."""

    def know(kind):
        def find(name, *looked_for):
            return kind if name == kind.name else rule_type(name, *looked_for)

        for module in (lookup, conformance):
            monkeypatch.setattr(module, "rule_type", find)
        return kind.name

    return know


@pytest.mark.parametrize("kind", [OPTIMIZER, OUTER_RULE], ids=lambda kind: kind.kind)
def test_a_new_package_passes(kind, tmp_path, known_as):
    write_package("my-method", tmp_path / "package", kind=kind)
    assert "tipl_bench.optimizers" in (tmp_path / "package" / "pyproject.toml").read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location("my_method", tmp_path / "package" / "my_method.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report = check_optimizer(known_as(module.MyMethod))
    assert report.passed, str(report)
    with pytest.raises(OptionError, match="The name 'lawa' is taken"):
        write_package("lawa", tmp_path / "other", kind=kind)


class NotFinite(FusedAdam):
    name: ClassVar[str] = "breach"

    def step(self, parameters, gradient, state, **place):
        return parameters.mul_(torch.inf)


class OtherShape(FusedAdam):
    name: ClassVar[str] = "breach"

    def step(self, parameters, gradient, state, **place):
        state["updates"] = torch.zeros(3)
        return parameters.sub_(gradient, alpha=1e-3)


class Unseeded(FusedAdam):
    name: ClassVar[str] = "breach"
    calls = itertools.count()

    def step(self, parameters, gradient, state, **place):
        return parameters.sub_(gradient, alpha=1e-3 + 1e-6 * next(self.calls))


@dataclass(frozen=True)
class Forgetful(OuterRule):
    """Remembers outside its state."""

    name: ClassVar[str] = "breach"

    def init(self, parameters, layout, seeds):
        vars(self)["start"] = parameters.clone()
        return {}

    def end_of_iteration(self, parameters, state, trajectory):
        parameters = parameters.add(parameters - vars(self)["start"], alpha=0.1)
        vars(self)["start"] = parameters.clone()
        return parameters


@dataclass(frozen=True)
class Mixing(OuterRule):
    """Moves each trial towards the mean of all."""

    name: ClassVar[str] = "breach"

    def end_of_iteration(self, parameters, state, trajectory):
        return parameters.lerp(parameters.mean(0, keepdim=True), 0.1)


class Raising(FusedAdam):
    name: ClassVar[str] = "breach"

    def step(self, parameters, gradient, state, **place):
        raise ZeroDivisionError("no batch")


@pytest.mark.parametrize(
    ("kind", "check", "detail"),
    [
        (NotFinite, "trains, weights finite", "infinite or undefined"),
        (Raising, "trains, weights finite", "raised ZeroDivisionError: no batch"),
        (OtherShape, "state: names, shapes and dtypes stay", "updates is not as init made it"),
        (Unseeded, "the same twice", "other weights"),
        (Forgetful, "resumes bit for bit", "went on to other weights"),
        (Mixing, "trials are independent", "of its largest weight"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_breach_fails_its_check(kind, check, detail, known_as):
    report = check_optimizer(known_as(kind))
    failed = {one.name: one.detail for one in report.checks if not one.passed}
    assert check in failed, str(report)
    assert detail in failed[check]


def test_names_and_settings_that_cannot_be_are_errors():
    with pytest.raises(UnknownNameError, match="Did you mean 'lawa'"):
        check_optimizer("lawaa")
    with pytest.raises(OptionError, match="count"):
        check_optimizer("lawa", settings=["count=0"])


def test_the_commands_list_show_and_check():
    run = CliRunner().invoke
    listed = run(main, ["optimizers"]).output
    assert all(name in listed for name in [*OPTIMIZERS, *OUTER_RULES])
    assert "Checkpoints ahead" in run(main, ["optimizers", "jump"]).output
    checked = run(main, ["optimizers", "check", "outer-step", "-q"])
    assert checked.exit_code == 0
    assert "outer-step: 6 of 6 checks passed" in checked.output
    assert run(main, ["optimizers", "lawaa"]).exit_code == 2
