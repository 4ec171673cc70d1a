"""`models check`: valid predictors pass every check, and an invalid one fails the check that it breaks."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner
from helpers.plugins import install
from helpers.predictors import IN_PROCESSES
from tipl_bench import check_predictor
from tipl_bench.benchmark.conformance.check import CHECKS
from tipl_bench.benchmark.worker.usage import Limits
from tipl_bench.cli import main
from tipl_bench.utils.errors import OptionError, UnknownNameError

BROKEN = {
    "raising": ("forecasts: shape, dtype, finite", "raised LookupError('no idea')"),
    "raising-in-fit": ("fit", "raised LookupError"),
    "wrong-horizon": ("forecasts: shape, dtype, finite", "forecasts of shape [1, 9, 32]"),
    "integers": ("forecasts: shape, dtype, finite", "type int64"),
    "not-finite": ("forecasts: shape, dtype, finite", "not finite"),
    "mixes-windows": ("batch order", "differs by"),
    "centres-batch": ("batch size", "differs by"),
    "helpers.normalisers:CentresNormaliser": ("batch size", "the normaliser differs by"),
    "nondeterministic": ("same call, same forecasts", "differs by"),
    "saves-nothing": ("save, load in a new process", "differs by"),
    "ignores-seed": ("same seed, same forecasts", "differs by"),
    "depends-on-horizon": ("shorter horizon", "differs by"),
    "invalid-version": ("description", "its version is '1.0', not a whole number"),
    "no-summary": ("description", "its summary is None"),
    "invalid-consumes": ("description", "its consumes is None"),
    "raising-in-init": ("description", "raised LookupError('no weights to begin with')"),
    "negative-parameter-count": ("fit", "answered with a parameter_count of -3"),
    "nan-parameter-count": ("fit", "answered with a parameter_count of nan"),
    "fractional-context": ("description", "answered with a context_length of 5.7"),
    "huge-context": ("description", f"answered with a context_length of {1 << 70}"),
    "boolean-context": ("description", "answered with a context_length of True"),
    "forges-error": (
        "forecasts: shape, dtype, finite",
        r"\u001b[31mno\u202e\u000aok    no",
    ),
    "forges-error-in-fit": ("fit", r"raised DatasetError: \u001b[31mno\u202e\u000aok    no"),
    "crashing": ("forecasts: shape, dtype, finite", "was killed by SIGSEGV"),
}


@pytest.mark.parametrize("model", IN_PROCESSES)
def test_every_predictor_of_this_package_passes_every_check(model):
    forecasts_normaliser = model in ("linear", "autoregression")
    settings = ("normaliser=true",) if forecasts_normaliser else ()
    report = check_predictor(model, settings=settings, limits=Limits(300.0))  # the machine may be busy
    assert report.passed, report
    assert len(report.checks) == CHECKS
    assert ("normaliser [6, 10, 2, 4] float64" in report.checks[2].detail) == forecasts_normaliser


@pytest.mark.parametrize("model", BROKEN)
def test_when_a_predictor_breaks_the_contract_then_that_check_fails(
    model, third_party_predictors, misbehaving_predictors
):
    report = check_predictor(model)
    name, detail = BROKEN[model]
    failed = {check.name: check.detail for check in report.checks if not check.passed}
    assert detail in failed[name], report


@pytest.mark.parametrize(("model", "late"), [("early", "h +1"), ("late", "h -1")])
def test_when_forecasts_are_a_checkpoint_off_then_they_are_worse_than_persistence_and_it_is_said(
    model, late, tmp_path, monkeypatch
):
    points = {name: f"helpers.third_party:{name.title()}" for name in ("early", "late", "on-time", "long-past")}
    points["on-time"], points["long-past"] = "helpers.third_party:OnTime", "helpers.third_party:LongPast"
    install(tmp_path / "site", "off-by-one", points, monkeypatch)
    (failed,) = [check for check in check_predictor(model).checks if not check.passed]
    assert failed.name == "known answers"
    assert "-0." in failed.detail.split("on curves, ")[1] or "-1." in failed.detail.split("on curves, ")[1]
    assert f"looks like the target of {late}" in failed.detail


def test_when_forecasts_are_right_or_persistence_then_their_skill_is_printed(tmp_path, monkeypatch):
    install(tmp_path / "site", "off-by-one", {"on-time": "helpers.third_party:OnTime"}, monkeypatch)
    (known,) = [check for check in check_predictor("on-time").checks if check.name == "known answers"]
    assert known.passed
    assert float(known.detail.split("on curves, ")[1].split()[0]) > 0.9
    (known,) = [check for check in check_predictor("persistence").checks if check.name == "known answers"]
    assert known.detail.startswith("skill 0.00 on curves, 0.00 on waves")


def test_when_a_longer_past_is_wanted_then_the_check_gives_it(tmp_path, monkeypatch):
    install(tmp_path / "site", "long-past", {"long-past": "helpers.third_party:LongPast"}, monkeypatch)
    report = check_predictor("long-past")
    assert report.passed, report
    assert any("from 60 checkpoints" in check.detail for check in report.checks)


def test_when_properties_are_numpy_integers_then_they_are_accepted(third_party_predictors):
    report = check_predictor("numpy-integers")
    assert report.passed, report
    assert "context 25" in report.checks[0].detail
    assert "3 learned parameters" in report.checks[1].detail


@pytest.mark.parametrize("model", ["forges-error", "forges-error-in-fit", "forges-error-in-init"])
def test_when_an_error_imitates_a_line_of_the_report_then_it_is_escaped(model, third_party_predictors):
    result = CliRunner().invoke(main, ["models", "check", model])
    assert result.exit_code == (2 if model == "forges-error-in-init" else 1)  # it refuses its options
    assert all(character == "\n" or character.isprintable() for character in result.output)
    lines = result.output.splitlines()
    assert not any(line.startswith("ok") and "no access to test trials" in line for line in lines)
    assert max(map(len, lines)) < 700
    assert model in result.output


def test_when_an_option_has_an_unsupported_type_then_it_is_named(third_party_predictors):
    with pytest.raises(OptionError, match=r"list-option: option layers: unsupported value \(8, 8\)"):
        check_predictor("list-option")


def test_when_memory_runs_out_then_the_report_names_the_option_that_raises_the_limit(misbehaving_predictors):
    result = CliRunner().invoke(main, ["models", "check", "out-of-memory", "--memory", "2"])
    assert result.exit_code == 1
    assert "its limit is 2 GiB, which --memory raises" in result.output


def test_when_a_predictor_hangs_then_the_check_times_out(misbehaving_predictors):
    report = check_predictor("hanging", limits=Limits(timeout=4.0))
    assert [(check.name, check.passed) for check in report.checks] == [
        *(("description", True), ("fit", False), ("time", False)),
    ]
    assert "no answer within 4 s; `timeout=` raises the limit" in report.checks[1].detail
    assert "the check took more than 4 s; train less in a budget named smoke" in report.checks[-1].detail


def test_when_single_steps_are_fast_but_the_whole_check_is_slow_then_it_times_out(misbehaving_predictors):
    began = time.monotonic()
    report = check_predictor("slow", limits=Limits(timeout=6.0))
    assert time.monotonic() - began < 12
    assert report.checks[1].passed, report  # a step takes 1 s
    assert not report.checks[-1].passed
    assert report.checks[-1].name == "time"
    assert not report.passed


def test_when_the_predictor_is_unknown_then_the_nearest_name_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        check_predictor("linar")


def test_the_command_prints_the_report_and_exits_with_1_if_a_check_fails(
    third_party_predictors, misbehaving_predictors
):
    good = CliRunner().invoke(main, ["models", "check", "persistence"])
    assert good.exit_code == 0, good.output
    assert "persistence: 13 of 13 checks passed" in good.output
    assert "isolation" in good.output.splitlines()[-1]
    bad = CliRunner().invoke(main, ["models", "check", "wrong-horizon", "--json"])
    assert bad.exit_code == 1
    result = json.loads(bad.stdout)
    assert not result["passed"]
    assert result["checks"][-1]["name"] == "forecasts: shape, dtype, finite"
