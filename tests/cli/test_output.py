"""Output in any encoding, to pipes and files: nothing printed ends a command."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers import synthetic
from rich.console import Console
from tipl_bench import ProgressLines, run
from tipl_bench.baselines import IN_TREE
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.table import render
from tipl_bench.cli import main
from tipl_bench.cli.groups import MainCommands, as_options
from tipl_bench.cli.output import Bars, console, draw_bars, plain_output, quiet_option
from tipl_bench.registry.catalog import catalog

ENCODINGS = ("utf-8", "cp1252", "latin-1", "ascii", "cp437")
ODD = "é █ … 日本 \U0001f600 \udcff"
"""Text that most encodings lack."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs on the bundled dataset's little sister."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(tmp_path_factory.mktemp("store")))
        folder = tmp_path_factory.mktemp("runs")
        synthetic.smooth_dataset(folder / "set")
        for model in ("persistence", "linear"):
            command = ["run", "--model", model, "--dataset", str(folder / "set"), "--out", str(folder / model)]
            command += ["--protocol", "1"]  # under which it has a learning phase
            assert CliRunner().invoke(main, command).exit_code == 0
        return [folder / "persistence", folder / "linear", folder / "set"]


READ_ONLY = {
    "help": ["--help"],
    "models": ["models"],
    "model": ["models", "tipl"],
    "models as JSON": ["models", "--json"],
    "datasets": ["datasets", "list"],
    "dataset": ["datasets", "show", "inverted-pendulum/ppo-head-v1"],
    "odd dataset": ["datasets", "show", "ODD"],
    "odd dataset as JSON": ["datasets", "show", "ODD", "--json"],
    "difference": ["datasets", "diff", "SET", "ODD"],
    "bytes": ["datasets", "verify", "SET"],
    "comparison": ["compare", "RUN0", "RUN1"],
    "verification": ["verify", "RUN0", "--dataset", "SET"],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("command", READ_ONLY)
def test_when_the_console_has_any_encoding_then_what_is_printed_is_in_it(command, encoding, runs, tmp_path):
    words = READ_ONLY[command]
    if "ODD" in words:
        synthetic.write_dataset(
            tmp_path / "odd", [synthetic.random_walk(i, 31, 32) for i in range(3)], cpu="CPU é █ 日"
        )
    places = {"RUN0": runs[0], "RUN1": runs[1], "SET": runs[2], "ODD": tmp_path / "odd"}
    result = CliRunner(charset=encoding).invoke(main, [str(places.get(word, word)) for word in words])
    assert result.exit_code == 0, result.output
    shown = result.stdout_bytes.decode(encoding)  # strictly
    if "JSON" in command:
        document = json.loads(shown)
        assert command != "odd dataset as JSON" or document["manifest"]["cpu"] == "CPU é █ 日"
    elif command == "dataset":
        assert "│" in shown or "|" in shown
        assert "█" * 9 in shown or "#" * 9 in shown
        assert ("\u00b1" in shown) or ("+/-" in shown)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_when_an_error_names_something_odd_then_it_is_printed(encoding):
    result = CliRunner(charset=encoding).invoke(main, ["datasets", "show", "é█\U0001f600"])
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    shown = result.stderr_bytes.decode(encoding)
    assert shown.startswith("Error: Unknown dataset ")
    assert "'é█\U0001f600'" in shown.encode("ascii", "backslashreplace").decode("unicode_escape") or "\\u" in shown


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_everything_that_commands_print_with_goes_through_any_encoding(encoding, runs, monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    monkeypatch.setenv("FORCE_COLOR", "1")
    with plain_output():
        click.echo(ODD)
        click.echo(ODD, err=True)
        warnings.warn(ODD, UserWarning, stacklevel=1)
        Console().print(ODD)
        console().print(render(read_record(runs[1] / "record.json")))
        with Bars() as bars:
            bars.stage("fit", 1, 2, ODD)
    for stream in streams:
        stream.flush()
        assert stream.buffer.getvalue().decode(encoding)


def test_when_output_is_lacking_characters_then_look_alikes_or_json_escapes_stand_for_them(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with plain_output():
        click.echo("1 ± 2 … █ " + json.dumps("é \U0001f600", ensure_ascii=False))
    shown = stream.buffer.getvalue().decode("ascii")
    assert shown.startswith("1 +/- 2 ... # ")
    assert json.loads(shown.removeprefix("1 +/- 2 ... # ")) == "é \U0001f600"


def process(*arguments: str, stdout: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[bytes]:
    """`tipl-bench ARGUMENTS` in a process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    command = [sys.executable, "-m", "tipl_bench", *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)


def test_when_a_process_has_an_ascii_console_then_a_dataset_is_shown():
    shown, problems = process(
        "datasets", "show", "inverted-pendulum/ppo-head-v1", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C"
    ).communicate()
    assert problems == b""
    assert b"#########" in shown
    shown.decode("ascii")


def test_when_the_reader_closes_its_end_then_the_command_ends_without_a_word():
    running = process("models")
    running.stdout.close()
    problems = running.stderr.read()
    assert (running.wait(), problems) == (1, b"")


def test_when_the_disk_is_full_then_that_is_the_message():
    with Path("/dev/full").open("wb") as full:
        running = process("models", "--json", stdout=full.fileno())
    assert running.stderr.read().startswith(b"Error: No space left on device.\n")
    assert running.wait() != 0


def command_of(function: object) -> MainCommands:
    """A command line whose only command calls the function."""
    group = MainCommands("bench")
    group.command("go")(quiet_option(function))
    return group


def warn_of_all() -> None:
    warnings.warn("the cache\ncannot be written", UserWarning, stacklevel=1)
    warnings.warn("use v5", DeprecationWarning, stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("The environment Hopper-v4 is out of date.", DeprecationWarning, stacklevel=1)
        warnings.warn("In a future version", FutureWarning, stacklevel=1)


def test_a_warning_is_one_line_and_those_for_programmers_are_not_shown():
    result = CliRunner().invoke(command_of(warn_of_all), ["go"])
    assert (result.stdout, result.stderr) == ("", "warning: the cache\\u000acannot be written\n")


def test_a_log_message_is_a_line_of_the_same_form():
    def log() -> None:
        logging.getLogger("tipl_bench.registry").warning("%s was yanked", "x/y-v1")

    assert CliRunner().invoke(command_of(log), ["go"]).stderr == "warning: x/y-v1 was yanked\n"


def work(failure: BaseException | None = None, stages: int = 2):
    """A command that reports progress, then fails."""

    def go() -> None:
        with Bars() as bars:
            for done in range(stages):
                bars.stage("fit", done, 2, "loss [0.3]")
            if failure is not None:
                raise failure

    return go


def test_without_a_terminal_each_stage_has_lines_on_standard_error():
    result = CliRunner().invoke(command_of(work()), ["go"])
    assert (result.stdout, result.stderr) == ("", "fit started\nfit done in 0:00\n")
    assert CliRunner().invoke(command_of(work()), ["go", "--quiet"]).output == ""


def test_a_terminal_without_cursor_control_has_lines_too(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in CliRunner().invoke(command_of(work()), ["go"]).stderr
    monkeypatch.setenv("TERM", "dumb")
    assert CliRunner().invoke(command_of(work()), ["go"]).stderr == "fit started\nfit done in 0:00\n"


FAILURES = {
    "file": (FileNotFoundError(2, "No such file or directory", "/a/b"), "Error: /a/b: No such file or directory."),
    "denied": (
        PermissionError(13, "Permission denied", "/a/b"),
        "Error: /a/b: Permission denied. Choose a folder that you can write.",
    ),
    "disk": (OSError(28, "No space left on device"), "Error: No space left on device."),
    "folder": (IsADirectoryError(21, "Is a directory", "/a"), "Error: /a: Is a directory."),
    "memory": (MemoryError(), "Error: This machine is out of memory."),
    "interrupt": (KeyboardInterrupt(), "Interrupted."),
}
KEPT = " Finished work is kept; run the same command to continue."
AGAIN = " Run the same command again: it continues what an earlier one kept, or begins anew if nothing is kept yet."


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_one_sentence_and_says_that_work_is_kept_only_where_some_is(kind):
    failure, message = FAILURES[kind]
    again = AGAIN if kind == "interrupt" else ""
    for name, stages, hint in (("run", 1, KEPT), ("run", 0, again), ("list", 1, "")):
        group = MainCommands("bench")
        group.command(name)(work(failure, stages))
        result = CliRunner().invoke(group, [name])
        assert result.exit_code == (130 if kind == "interrupt" else 1)
        assert result.stderr.splitlines()[-1] == message + hint


def test_an_unexpected_error_is_raised_in_tests_and_is_two_lines_in_a_process():
    assert isinstance(CliRunner().invoke(command_of(work(KeyError("x"))), ["go"]).exception, KeyError)
    code = "import sys; from tipl_bench.cli import main\n@main.command()\ndef go(): raise KeyError('x')\nmain()"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    shown = [
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment).stderr
        for words in (["go"], ["-v", "go"])
    ]
    assert shown[0].startswith("Error: unexpected KeyError (<string>, line 3): 'x'\nThis is a fault of tipl-bench")
    assert "-v COMMAND" in shown[0]
    assert "Traceback" not in shown[0]
    assert "Traceback" in shown[1]


def test_parameters_in_messages_of_the_library_are_options_on_the_command_line():
    message = 'Choose another folder (`out=`), or `device="cpu"`; `tipl-bench run` and `dry_run=` are there too.'
    assert as_options(message) == (
        "Choose another folder (--out), or --device cpu; `tipl-bench run` and --dry-run are there too."
    )


WHOLE = {
    "models": IN_TREE,
    "models tipl": ("learning_rate", "validate_every", "500000", "30000", "0.0001", "0.0005", "weight_decay", "0.25"),
    "datasets list": [*catalog(), "50", "401", "122", "12.2"],
}


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("command", WHOLE)
def test_when_the_terminal_is_narrow_then_no_name_and_no_number_is_cut(command, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = CliRunner().invoke(main, command.split()).stdout
    assert "\u2026" not in shown
    assert not set(WHOLE[command]) - set(shown.split())
    assert max(map(len, shown.splitlines())) <= width


PROSE = [name for name in READ_ONLY if "JSON" not in name and name != "help"]


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", [*PROSE, "unknown name", "no run", "unknown command"])
def test_no_line_is_longer_than_the_terminal_is_wide_but_for_a_word_that_is(command, width, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    mistakes = {
        "unknown name": ["datasets", "show", "nope"],
        "no run": ["verify", str(runs[0].parent)],
        "unknown command": ["datasets", "nope"],
    }
    places = {"RUN0": runs[0], "RUN1": runs[1], "SET": runs[2], "ODD": runs[2]}
    words = [str(places.get(word, word)) for word in (READ_ONLY | mistakes)[command]]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == {"unknown name": 2, "no run": 1, "unknown command": 2}.get(command, 0), result.output
    long = [line for line in result.output.splitlines() if len(line) > width]
    assert [line for line in long if " " in line.strip()] == []


def test_without_a_terminal_a_run_has_lines_of_its_stages_also_where_a_predictor_reports_none(smooth, tmp_path):
    command = ["run", "--model", "linear", "--dataset", str(smooth.folder), "--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(main, command)
    json.loads(result.stdout)
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.endswith("started")][:3] == [
        "phases started", "fit started", "forecast started",
    ]  # fmt: skip
    ended = [line.split(" done in ")[0] for line in lines if " done in " in line]
    assert ended == ["phases", "fit", "forecast", "contract check", "reference", "returns"]


@pytest.mark.parametrize("threads", [1, 2])
def test_from_python_a_run_prints_the_same_lines(smooth, tmp_path, capsys, monkeypatch, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(threads)})
    run("persistence", smooth, out=tmp_path / "run", progress=ProgressLines())
    assert capsys.readouterr().err.startswith("phases started\nphases done in 0:0")


@pytest.mark.parametrize("width", [80, 60, 50])
def test_the_times_beside_a_bar_are_whole_on_a_narrow_terminal_however_long_a_predictors_status(width):
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with draw_bars(terminal) as report:
        report("contract check", 0, 10, "")
        report("fit", 10, 10, "validation skill 0.217, best 0.217")
        time.sleep(0.15)  # bars are drawn ten times a second
    assert re.search(r"fit .*100% 0:00:00 left 0:00:00 valid", terminal.file.getvalue())


def test_when_one_trial_is_scored_then_the_table_says_why_there_are_no_intervals(tmp_path):
    synthetic.smooth_dataset(tmp_path / "set", trials=4)
    result = CliRunner().invoke(
        main, ["run", "--model", "linear", "--dataset", str(tmp_path / "set"), "--on", "validation", "--no-returns"]
    )
    assert result.exit_code == 0, result.output
    assert "of 1 trial, hence no intervals" in " ".join(result.output.split())
