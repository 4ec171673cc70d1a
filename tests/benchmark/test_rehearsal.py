"""`models check`: good predictors pass every point, and a bad one fails at the point that it breaks."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner
from tipl_bench import check_predictor
from tipl_bench.baselines import IN_TREE
from tipl_bench.benchmark.conformance.check import POINTS
from tipl_bench.benchmark.worker.predictor_process import Limits
from tipl_bench.cli import main
from tipl_bench.utils.errors import OptionError, UnknownNameError

BROKEN = {
    "raising": ("forecasts: shape, type, finite", "raised LookupError('no idea')"),
    "raising-in-fit": ("fits", "raised LookupError"),
    "short": ("forecasts: shape, type, finite", "forecasts of shape [6, 9, 32]"),
    "integers": ("forecasts: shape, type, finite", "type int64"),
    "undefined": ("forecasts: shape, type, finite", "not finite"),
    "peeking": ("batch order", "differs by"),
    "averaging": ("batch size", "differs by"),
    "restless": ("the same again, asked twice", "differs by"),
    "forgetful": ("save, load in a new process", "differs by"),
    "seedless": ("same seed, same forecasts", "differs by"),
    "shortsighted": ("fewer horizons", "differs by"),
    "unversioned": ("describes itself", "its version is '1.0', not a whole number"),
    "nondescript": ("describes itself", "its summary is None"),
    "unlisted": ("describes itself", "its consumes is None"),
    "failing": ("describes itself", "raised LookupError('no weights to begin with')"),
    "indebted": ("fits", "answered with a parameter_count of -3"),
    "uncounted": ("fits", "answered with a parameter_count of nan"),
    "fractional": ("describes itself", "answered with a context_length of 5.7"),
    "insatiable": ("describes itself", f"answered with a context_length of {1 << 70}"),
    "affirmative": ("describes itself", "answered with a context_length of True"),
    "forger": ("forecasts: shape, type, finite", r"raised PredictorError: \u001b[31mno\u202e\u000aok    targets"),
    "forger-in-fit": ("fits", r"raised DatasetError: \u001b[31mno\u202e\u000aok    targets"),
    "crashing": ("forecasts: shape, type, finite", "was killed by SIGSEGV"),
}


@pytest.mark.parametrize("model", IN_TREE)
def test_every_predictor_of_this_package_keeps_the_contract(model):
    report = check_predictor(model)
    assert report.passed, report
    assert len(report.points) == POINTS


@pytest.mark.parametrize("model", BROKEN)
def test_when_a_predictor_breaks_a_point_then_that_point_fails(model, outside, wayward):
    report = check_predictor(model)
    point, seen = BROKEN[model]
    failed = {p.name: p.seen for p in report.points if not p.passed}
    assert seen in failed[point], report


def test_whole_numbers_of_numpys_are_taken(outside):
    report = check_predictor("counting")
    assert report.passed, report
    assert "context 25" in report.points[0].seen
    assert "3 learned parameters" in report.points[1].seen


@pytest.mark.parametrize("model", ["forger", "forger-in-fit", "forger-at-start"])
def test_when_a_predictor_forges_a_line_of_the_report_then_it_is_shown_for_what_it_is(model, outside):
    result = CliRunner().invoke(main, ["models", "check", model])
    assert result.exit_code == 1
    assert all(character == "\n" or character.isprintable() for character in result.output)
    lines = result.output.splitlines()
    assert not any(line.startswith("ok") and "targets out of reach" in line for line in lines)
    assert max(map(len, lines)) < 700
    assert model in result.output


def test_when_an_option_is_of_a_kind_that_no_record_holds_then_it_is_named(outside):
    with pytest.raises(OptionError, match=r"listed: option layers is \(8, 8\)"):
        check_predictor("listed")


def test_when_memory_runs_out_then_the_check_has_the_option_that_it_names(wayward):
    result = CliRunner().invoke(main, ["models", "check", "devouring", "--memory", "2"])
    assert result.exit_code == 1
    assert "its limit is 2.0 GiB, which --memory raises" in result.output


def test_when_a_predictor_hangs_then_the_check_ends_and_says_so(wayward):
    report = check_predictor("hanging", limits=Limits(timeout=4.0))
    assert [(p.name, p.passed) for p in report.points] == [
        *(("describes itself", True), ("fits", False), ("time", False)),
    ]
    assert "no answer within 4 s; --timeout raises the limit" in report.points[1].seen
    assert "more than the 4 s that the whole check may take; a budget named smoke" in report.points[-1].seen


def test_when_every_step_is_quick_but_the_whole_is_not_then_the_check_ends_at_its_time(wayward):
    began = time.monotonic()
    report = check_predictor("dawdling", limits=Limits(timeout=6.0))
    assert time.monotonic() - began < 12
    assert report.points[1].passed, report  # a step takes 1 s
    assert not report.points[-1].passed
    assert report.points[-1].name == "time"
    assert not report.passed


def test_an_unknown_predictor_is_told_as_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        check_predictor("linar")


def test_the_command_prints_a_report_to_paste_and_its_exit_code_tells(outside, wayward):
    good = CliRunner().invoke(main, ["models", "check", "persistence"])
    assert good.exit_code == 0, good.output
    assert "persistence: 12 of 12 points kept" in good.output
    assert "isolation" in good.output.splitlines()[-1]
    bad = CliRunner().invoke(main, ["models", "check", "short", "--json"])
    assert bad.exit_code == 1
    facts = json.loads(bad.output)
    assert not facts["passed"]
    assert facts["points"][-1]["name"] == "forecasts: shape, type, finite"
