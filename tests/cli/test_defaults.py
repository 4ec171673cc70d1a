"""Defaults of options from a configuration file."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tipl_bench.cli import main

SHOW = ["models", "linear", "--json"]


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Write a configuration file."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("TIPL_BENCH_CONFIG", str(path))
    return path


def invoke(*words):
    return CliRunner().invoke(main, [*map(str, words)])


def test_a_default_is_taken_unless_the_command_line_says_otherwise(configured):
    configured.write_text("[policy.evaluate]\nepisodes = 2\nseed = 7\n")
    words = ("policy", "evaluate", "inverted-pendulum/ppo-head-v1", 0, 5, "--json")
    assert json.loads(invoke(*words).output)["seeds"] == [7, 8]
    assert json.loads(invoke(*words, "--episodes", 1).output)["seeds"] == [7, 7]


def test_one_name_of_a_pair_of_switches_stands_for_both(configured):
    configured.write_text("[run]\nreturns = false\n")
    refused = invoke("run", "--model", "linear", "--env", "InvertedPendulum-v4")
    assert "A whole test run needs its returns" in " ".join(refused.output.split())


def test_other_commands_are_as_they_were(configured):
    configured.write_text("[policy.evaluate]\nepisodes = 2\n")
    assert invoke(*SHOW).exit_code == 0


def test_without_a_file_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.delenv("TIPL_BENCH_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert invoke(*SHOW).exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rum]\n", "Unknown table '[rum]'. Did you mean '[run]'"),
        ("run = 3\n", "Unknown table '[run]'"),
        ("[datasets.collekt]\n", "Did you mean '[datasets.collect]'"),
        ("[run]\ndevise = 'cpu'\n", "Unknown option of [run] 'devise'. Did you mean 'device'"),
        ("[run]\nlimit = 0\n", "[run] limit = 0: 0 is not in the range x>=1."),
        ("[run]\nlimit = 'many'\n", "[run] limit = 'many': 'many' is not a whole number."),
        ("[run\n", "not TOML"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(configured, text, message):
    configured.write_text(text)
    refused = invoke(*SHOW)
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert message in said
    assert str(configured) in said


def test_a_file_that_is_asked_for_must_be_there(configured):
    refused = invoke(*SHOW)
    assert refused.exit_code == 2
    assert "TIPL_BENCH_CONFIG names" in refused.output


def test_an_empty_variable_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TIPL_BENCH_CONFIG", "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert invoke(*SHOW).exit_code == 0


def test_help_does_not_need_the_file(configured):
    configured.write_text("[rum]\n")
    assert invoke("--help").exit_code == 0


def test_a_value_that_only_the_command_can_refuse_is_named_with_its_place(configured):
    configured.write_text("[run]\ndevice = 'gpu'\nseed = 3\n")
    words = ("run", "--model", "linear", "--env", "InvertedPendulum-v4", "--limit", 3)
    said = " ".join(invoke(*words).output.split())
    assert "Unknown device 'gpu'. Known: auto, cpu, cuda. Taken from " in said
    assert f'{configured}: [run] device = "gpu", [run] seed = 3.' in said
    typed = " ".join(invoke(*words, "--device", "gpo", "--seed", 1).output.split())
    assert "Unknown device 'gpo'" in typed
    assert "Taken from" not in typed
    configured.write_text("[train]\noptimizer = 'adm'\n[run]\nlog-dir = 'logs'\n")
    refused = invoke("train", "--env", "InvertedPendulum-v4")
    assert refused.exit_code == 2
    assert "Did you mean 'adam'?" in refused.output
    assert '[train] optimizer = "adm".' in " ".join(refused.output.split())
    excluded = " ".join(invoke(*words).output.split())
    assert f"give --log tensorboard or --log wandb too. Taken from {configured}: [run] log-dir" in excluded


def test_what_the_file_does_not_explain_is_not_laid_to_it(configured, tmp_path):
    configured.write_text("[run]\nquiet = true\nlimit = 3\n[datasets.collect]\nthreads = 2\n")
    mistyped = invoke("datasets", "nope", "--json", "more")
    assert mistyped.exit_code == 2
    assert "Unknown command 'nope'" in mistyped.output
    surplus = invoke("run", "--model", "linear", "--env", "InvertedPendulum-v4", "surplus")
    assert surplus.exit_code == 2
    assert "surplus" in surplus.output
    assert "Taken from" not in mistyped.output + surplus.output
    configured.write_text("[run]\nquiet = true\nmodel = 'Jürgen'\n")
    refused = invoke("run", "--env", "InvertedPendulum-v4")
    assert refused.exit_code == 2
    assert '[run] quiet = true, [run] model = "Jürgen".' in " ".join(refused.output.split())
