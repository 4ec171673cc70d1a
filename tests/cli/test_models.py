"""`models` and `models NAME`: what packages announce, and a predictor's options and budgets."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result
from helpers.plugins import install
from tipl_bench.cli import main


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"COLUMNS": "1000"})


def output_of(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_when_models_are_listed_then_no_installed_package_is_imported(tmp_path, monkeypatch):
    points = {"noisy": "noisy_package:Noisy", "Tipl": "noisy_package:Noisy"}
    site = install(tmp_path / "site", "noisy", points, monkeypatch)
    (site / "noisy_package.py").write_text("print('imported')\nraise SystemExit('imported')\n")
    with (site / "noisy-1.0.dist-info" / "METADATA").open("a") as metadata:
        metadata.write("Summary: Forecasts [/x]\x1b[31m\n")
    result = invoke("models")
    assert result.exit_code == 0
    assert "imported" not in result.output
    assert "warning: Tipl of noisy: 'tipl' is a predictor of tipl-bench itself" in result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("noisy")]
    assert row.split() == ["noisy", "noisy", "1.0", "Forecasts", r"[/x]\u001b[31m"]
    (fact,) = [fact for fact in json.loads(output_of("models", "--json")) if fact["name"] == "noisy"]
    assert (fact["distribution"], fact["distribution_version"]) == ("noisy", "1.0")
    failed = invoke("models", "noisy", "--json")
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert "noisy: its entry point 'noisy_package:Noisy' does not load (SystemExit('imported'))" in failed.stderr


def test_when_a_models_options_are_shown_then_in_the_words_of_the_command_line():
    shown = output_of("models", "tipl") + output_of("models", "autoregression")
    assert not {"None", "False", "True"} & set(shown.split())
    assert "Penalty as a share of the features' mean square" in shown
    assert "It has no options." in output_of("models", "persistence")
