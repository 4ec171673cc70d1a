"""The command line: output, messages and exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from helpers import synthetic
from tipl_bench import __version__
from tipl_bench.baselines import IN_TREE
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.cli import main
from tipl_bench.registry.trial import trial_tensors
from tipl_bench.utils.tensorfile import create_tensors

HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib", "mujoco", "gymnasium", "numba", "pyarrow")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal wide enough that no line wraps."""
    monkeypatch.setenv("COLUMNS", "1000")


def invoke(*arguments: object) -> Result:
    """The result of `tipl-bench ARGUMENTS`."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_of(*arguments: object, status: int | None = None) -> str:
    """The message of a failing command, which prints no traceback."""
    result = invoke(*arguments)
    assert result.exit_code in ((1, 2) if status is None else (status,)), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Error: " in result.stderr
    own = [line for line in result.output.splitlines() if not re.match(r"\S+ \| ", line)]  # not the predictor's
    assert not [line for line in own if "Traceback" in line]
    return result.stderr


def output_of(*arguments: object) -> str:
    """The standard output of a successful command."""
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The result of a Python process with these arguments."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)


def test_when_help_is_asked_for_then_every_command_is_listed():
    shown = output_of("--help")
    for command in ("run", "datasets", "models", "leaderboard"):
        assert f"\n  {command} " in shown
    for command in ("list", "show", "verify", "collect"):
        assert f"\n  {command} " in output_of("datasets", "-h")
    for option in ("--model", "--env", "--dataset", "--budget", "--seed", "--device", "--set", "--out", "--json"):
        assert option in output_of("run", "--help")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["datasets", "--help"], ["--version"]])
def test_when_help_is_asked_for_then_nothing_heavy_is_imported(arguments):
    code = f"import sys; from tipl_bench.cli import main; main({arguments}, standalone_mode=False); "
    done = in_a_process("-c", f"{code} print('imported', *sorted(set(sys.modules) & set({HEAVY})))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported"


def test_when_the_package_is_run_as_a_module_then_it_is_the_same_command():
    done = in_a_process("-m", "tipl_bench", "--version")
    assert (done.returncode, done.stdout.split()) == (0, ["tipl-bench,", "version", __version__])


def test_when_a_command_fails_then_the_process_has_a_message_and_an_exit_code():
    done = in_a_process("-m", "tipl_bench", "datasets", "show", "no-such/set-v1")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Unknown dataset 'no-such/set-v1'.")
    assert "Traceback" not in done.stderr


def test_when_models_are_listed_then_every_predictor_has_a_row():
    shown = output_of("models")
    for name in IN_TREE:
        assert any(line.split()[:1] == [name] for line in shown.splitlines())


def test_when_models_are_listed_as_json_then_options_and_budgets_are_included():
    facts = {fact["name"]: fact for fact in json.loads(output_of("models", "--json"))}
    assert list(facts)[: len(IN_TREE)] == list(IN_TREE)
    damping = facts["linear"]["options"]["damping"]
    assert (damping["type"], damping["default"]) == ("float", 1.0)
    assert damping["description"].startswith("Share of the line's step")
    assert facts["tipl"]["budgets"]["paper"] == {}
    assert facts["tipl"]["consumes"] == "weights"


def test_when_a_model_is_shown_then_its_options_types_defaults_and_budgets_are():
    shown = output_of("models", "tipl")
    assert shown.startswith("tipl v1 (consumes weights): ")
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[::-1] if line.split()}
    assert "steps         " in shown
    assert "Training batches." in shown
    assert "paper" in shown
    assert rows["heads"] == ["int", "1"]
    assert rows["steps"][:2] == ["int", "500000"]
    assert len(rows["steps"]) == 5
    assert [fact["name"] for fact in json.loads(output_of("models", "tipl", "--json"))] == ["tipl"]


def test_when_an_installed_predictor_is_broken_then_the_others_are_still_listed(third_party_predictors):
    result = invoke("models")
    assert result.exit_code == 0, result.output
    assert "keeping" in result.stdout
    assert "tipl" in result.stdout
    assert "missing" in result.output
    assert {"keeping", "tipl"} <= {fact["name"] for fact in json.loads(output_of("models", "--json"))}


def test_when_a_predictors_summary_looks_like_markup_then_it_is_printed_literally(third_party_predictors, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = output_of("models", "markup-in-summary")
    assert r"Forecasts [/x] in [red]\u001b[31mred\u202e\u000aand more" in shown
    assert all(character == "\n" or character.isprintable() for character in shown)
    (line,) = [line for line in shown.splitlines() if line.startswith("shift")]
    assert line.split() == ["shift", "str", "[/x]", "[/y]", "0"]
    assert "[/z]" in shown


def test_when_a_dataset_is_shown_then_its_metadata_is_printed(smooth):
    shown = output_of("datasets", "show", smooth.folder)
    for word in (
        smooth.digest,
        "toy-pendulum/synthetic-v1",
        "5 train, 1 validation, 2 test",
        "4 x 3 x 3 x 1",
        "P = 32",
    ):
        assert word in shown
    as_json = json.loads(output_of("datasets", "show", smooth.folder, "--json"))
    assert as_json["digest"] == smooth.digest
    assert as_json["manifest"] == json.loads((smooth.folder / "manifest.json").read_text())


def test_when_a_manifest_holds_square_brackets_then_they_are_shown_as_they_are(tmp_path):
    trajectories = [synthetic.random_walk(i, 31, 32) for i in range(3)]
    dataset = synthetic.write_dataset(tmp_path / "set [bold]", trajectories, cpu="Fancy [/red] CPU [link=x]")
    shown = output_of("datasets", "show", dataset.folder)
    assert "Fancy [/red] CPU [link=x]" in shown
    assert "set [bold]" in shown


def test_when_a_dataset_is_verified_then_its_bytes_are_counted(smooth):
    total = sum(file.size for file in smooth.manifest.files)
    expected = f"toy-pendulum/synthetic-v1: 8 files, {total:,} bytes, all intact; digest {smooth.digest}\n"
    assert output_of("datasets", "verify", smooth.folder) == expected


def test_when_a_byte_of_a_dataset_was_changed_then_verification_names_the_file_and_tensor(tmp_path):
    dataset = synthetic.write_dataset(tmp_path / "set", [synthetic.random_walk(i, 31, 32) for i in range(3)])
    create_tensors(dataset.folder / "trials/trial-0001.safetensors", trial_tensors(31, 32, 4))["weights"][7, 3] += 1
    message = error_of("datasets", "verify", dataset.folder)
    assert "trial-0001.safetensors: tensor 'weights'" in message


def test_when_the_store_holds_datasets_then_they_are_listed(store):
    dataset = synthetic.write_dataset(
        store / "datasets/toy-pendulum/synthetic-v1", [synthetic.random_walk(i, 31, 32) for i in range(3)]
    )
    rows = {row["name"]: row for row in json.loads(output_of("datasets", "list", "--json"))}
    own = rows["toy-pendulum/synthetic-v1"]
    assert (own["environment"], own["trials"], own["checkpoints"], own["parameters"]) == (
        synthetic.PENDULUM,
        3,
        31,
        32,
    )
    assert own["bytes"] == sum(file.size for file in dataset.manifest.files)
    assert (own["where"], own["default"]) == ("local", False)
    assert "toy-pendulum/synthetic-v1" in output_of("datasets", "list")
    assert dataset.digest in output_of("datasets", "show", "toy-pendulum/synthetic-v1")


def test_when_a_stored_dataset_is_broken_then_it_is_listed_as_such_with_a_warning(store):
    folder = store / "datasets/toy-pendulum/broken-v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    result = invoke("datasets", "list", "--json")
    assert result.exit_code == 0
    (row,) = [row for row in json.loads(result.stdout) if row["name"] == "toy-pendulum/broken-v1"]
    assert row["where"] == "broken"
    assert "warning: " in result.stderr
    assert "manifest.json" in result.stderr


def test_when_a_run_finishes_then_its_table_and_folder_are_printed_and_its_files_exist(smooth, tmp_path):
    out = tmp_path / "my run"
    shown = output_of("run", "--model", "linear", "--dataset", smooth.folder, "--out", out, "--set", "damping=0.5")
    record = read_record(out / "record.json")
    assert "linear v1 on toy-pendulum/synthetic-v1" in shown
    assert "damping=0.5" in shown
    assert f"{record.result('converged', 1)['skill'].value:.3f}" in shown
    assert f"written: {out}\nfigure: {out / 'figure.svg'}\n" in shown
    assert f"next:\n  tipl-bench verify '{out}'\n  tipl-bench models new my-forecaster\n" in shown
    names = {path.name for path in out.iterdir()}
    assert {"record.json", "forecasts.safetensors", "windows.parquet", "figure.svg", "figure.png"} <= names


@pytest.mark.usefixtures("drawn")
def test_when_a_run_is_repeated_then_only_a_missing_figure_is_drawn(smooth, tmp_path):
    command = ("run", "--model", "persistence", "--dataset", smooth.folder, "--out", tmp_path / "run")
    output_of(*command)
    drawn = (tmp_path / "run" / "figure.svg").read_bytes()
    (tmp_path / "run" / "figure.svg").unlink()
    kept = (tmp_path / "run" / "record.json").stat().st_mtime_ns
    assert f"already finished: {tmp_path / 'run'}" in output_of(*command)
    assert (tmp_path / "run" / "figure.svg").read_bytes() == drawn
    assert (tmp_path / "run" / "record.json").stat().st_mtime_ns == kept


def test_when_json_is_asked_for_then_standard_output_is_the_record_alone(smooth, tmp_path):
    out = tmp_path / "run"
    shown = output_of(
        "run",
        "--model",
        "persistence",
        "--dataset",
        smooth.folder,
        "--json",
        "--out",
        out,
    )
    assert Record.model_validate(json.loads(shown)) == read_record(out / "record.json")


def test_when_no_folder_is_given_then_the_run_goes_under_runs(smooth):
    output_of("run", "--model", "persistence", "--dataset", smooth.folder, "--seed", 3)
    assert Path("runs/toy-pendulum--synthetic-v1/persistence-quick-seed3-p2/record.json").is_file()


def test_when_the_folder_has_square_brackets_then_they_are_printed(smooth, tmp_path):
    out = tmp_path / "[bold]"
    assert f"written: {out}" in output_of("run", "--model", "persistence", "--dataset", smooth.folder, "--out", out)


UNKNOWN = {
    "model": (
        ["--model", "tipi"],
        f"Unknown predictor 'tipi'. Did you mean 'tipl'? Known: {', '.join(sorted(IN_TREE))}",
    ),
    "option": (
        ["--set", "dampin=1"],
        "Unknown option of linear 'dampin'. Did you mean 'damping'? Known: damping, normaliser, points.",
    ),
    "budget": (
        ["--budget", "quik"],
        "Unknown budget 'quik'. Did you mean 'quick'? Known: paper, quick, smoke, standard.",
    ),
    "device": (["--device", "tpu"], "Unknown device 'tpu'. Known: auto, cpu, cuda."),
    "value": (["--set", "points=two"], "option points (int): input should be a valid integer"),
    "range": (["--set", "damping=2"], "option damping (float): input should be less than or equal to 1; got '2'"),
    "form": (["--set", "damping"], "Setting 'damping' is not of the form name=value."),
    "number": (["--set", "damping=nan"], "damping"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_when_an_argument_is_unknown_then_the_valid_choices_are_named(kind, smooth, tmp_path):
    arguments, message = UNKNOWN[kind]
    given = ["run", "--dataset", smooth.folder, "--out", tmp_path / "run", "--model", "linear", *arguments]
    assert message in error_of(*given, status=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["learning_rate=nan", "learning_rate=inf", "weight_decay=-inf"])
def test_when_an_option_is_not_finite_then_it_is_named(setting, smooth, tmp_path):
    message = error_of(
        "run", "--model", "tipl", "--dataset", smooth.folder, "--out", tmp_path / "run", "--set", setting
    )
    assert setting.partition("=")[0] in message


def test_when_a_dataset_is_unknown_then_the_known_ones_are_named(store):
    synthetic.write_dataset(
        store / "datasets/toy-pendulum/synthetic-v1", [synthetic.random_walk(i, 31, 32) for i in range(3)]
    )
    for command in (["run", "--model", "linear", "--dataset"], ["datasets", "show"], ["datasets", "verify"]):
        message = error_of(*command, "toy-pendulum/synthetik-v1", status=2)
        assert (
            "Unknown dataset 'toy-pendulum/synthetik-v1'. Did you mean 'toy-pendulum/synthetic-v1'? Known: " in message
        )


def test_when_a_folder_is_not_a_dataset_then_the_message_says_so(tmp_path):
    assert "no manifest.json; this folder is not a trajectory dataset" in error_of("datasets", "show", tmp_path)


def test_when_an_environment_has_no_dataset_then_the_known_ones_are_named():
    message = error_of("run", "--model", "linear", "--env", "InvertedPendulun-v4")
    assert "Unknown environment 'InvertedPendulun-v4'." in message
    assert "Known: " in message


@pytest.mark.parametrize("environment", [synthetic.CHEETAH, "InvertedPendulum-v4", "Nope-v0"])
def test_when_environment_and_dataset_are_given_then_neither_is_used(environment, smooth):
    message = error_of("run", "--model", "linear", "--dataset", smooth.folder, "--env", environment, status=2)
    assert "Give --env or --dataset, not both." in message


def test_when_neither_environment_nor_dataset_is_given_then_both_are_offered():
    assert "Give --env ENVIRONMENT or --dataset NAME." in error_of("run", "--model", "linear")


def test_when_no_model_is_given_then_the_option_is_named(smooth):
    assert "Missing option '--model'" in error_of("run", "--dataset", smooth.folder)


def test_when_a_command_is_unknown_then_the_nearest_and_all_are_named():
    message = error_of("modles")
    assert "Unknown command 'modles'. Did you mean 'models'? Known: " in message
    assert all(name in message for name in ("datasets", "leaderboard", "models", "run"))
    assert "Unknown command 'lst'. Did you mean 'list'? Known: " in error_of("datasets", "lst")


def test_when_a_command_of_models_is_misspelt_then_it_is_not_taken_for_a_predictor():
    assert "Unknown command 'chek'. Did you mean 'check'? Known: " in error_of("models", "chek", "linear")
    assert "Unknown predictor 'lineal'. Did you mean 'linear'?" in error_of("models", "lineal")


@pytest.mark.parametrize(
    "limit", ["--timeout=0", "--timeout=nan", "--timeout=inf", "--memory=-1", "--memory=0.001", "--memory=inf"]
)
def test_when_a_limit_is_invalid_then_nothing_runs(limit, smooth, tmp_path):
    message = error_of("run", "--model", "linear", "--dataset", smooth.folder, "--out", tmp_path / "run", limit)
    assert limit[2:9].rstrip("=") in message
    assert not (tmp_path / "run").exists()


def test_when_a_seed_is_too_large_then_it_is_named(smooth, tmp_path):
    message = error_of("run", "--model", "linear", "--dataset", smooth.folder, "--out", tmp_path, "--seed", 10**30)
    assert "Invalid seed 1000000000000000000000000000000: use a whole number" in message


def test_when_a_command_cannot_be_resumed_then_the_message_does_not_offer_it(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("tipl_bench.benchmark.conformance.check.check_predictor", interrupted)
    result = invoke("models", "check", "linear")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_when_a_status_looks_like_markup_then_it_is_printed_literally(
    third_party_predictors, smooth, tmp_path, monkeypatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = invoke("run", "--model", "markup-in-progress", "--dataset", smooth.folder, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "loss [/bold] [0.3]" in result.stderr
    assert f"  tipl-bench submit {tmp_path / 'run'}" in result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_when_there_is_no_cuda_device_then_the_ways_out_are_named(smooth, tmp_path):
    message = error_of(
        "run", "--model", "linear", "--dataset", smooth.folder, "--device", "cuda", "--out", tmp_path / "run"
    )
    assert "torch sees no CUDA device here; use --device cpu or --device auto" in message


def test_when_the_folder_holds_another_run_then_the_difference_and_the_way_out_are_named(smooth, tmp_path):
    command = ("run", "--model", "persistence", "--dataset", smooth.folder, "--out", tmp_path / "run")
    output_of(*command)
    message = error_of(*command, "--seed", "1")
    assert "seed: 1 here, 0 there" in message
    assert "--out" in message


def test_when_the_folder_cannot_be_made_then_its_path_is_named(smooth, tmp_path):
    (tmp_path / "file").write_text("")
    command = ("run", "--model", "persistence", "--dataset", smooth.folder, "--out")
    assert str(tmp_path / "file") in error_of(*command, tmp_path / "file" / "run")
    assert str(tmp_path / "file") in error_of(*command, tmp_path / "file")


def test_when_a_predictor_fails_then_it_and_the_window_are_named(third_party_predictors, smooth, tmp_path):
    message = error_of("run", "--model", "raising", "--dataset", smooth.folder, "--out", tmp_path / "run")
    assert re.search(r"raising at trial [67], origin \d", message)
    assert "LookupError('no idea')" in message
