"""Suites: what a file names is run, goes on where it was, and a task that fails stops no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from fsspec.core import url_to_fs
from helpers.small_collections import contents
from helpers.suites import BOARD, NAMES, SUITE, artifacts, collect_board, suite_file
from tipl_bench.baselines import predictor_type
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.saving import options_dict
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.suites.engine import LocalEngine, Waiting
from tipl_bench.benchmark.suites.run import report_rows, run_suite, suite_status
from tipl_bench.benchmark.suites.suite import read_suite, shipped_suites
from tipl_bench.benchmark.suites.tasks import tasks_of
from tipl_bench.benchmark.training.record import read_training_record
from tipl_bench.benchmark.training.request import TrainingRequest
from tipl_bench.cli import main
from tipl_bench.leaderboard.training.store import load
from tipl_bench.utils.canonical import canonical_json
from tipl_bench.utils.errors import OptionError, TiplBenchError, UnknownNameError

RECORDS = Path(__file__).parents[2] / "leaderboard" / "results"


@pytest.fixture
def board(store, tmp_path):
    """The suite's dataset."""
    return collect_board(tmp_path)


def test_a_suite_is_run_once_and_reported(board, tmp_path):
    path, words = suite_file(tmp_path), []
    assert suite_status(path).counts() == {"finished": 1, "waiting": len(NAMES)}, "the dataset is there"
    status = run_suite(path, tmp_path / "runs", progress=lambda stage, done, total, word: words.append((done, total)))
    assert [task.name for task in status.tasks] == [BOARD, *NAMES]
    assert {*status.counts()} == {"finished"}
    assert words[-1][0] == words[-1][1] > 0, "the seconds that are done are all that were expected"
    rows = {(row.board, row.method): row for row in report_rows(status)}
    ridge = rows[f"{BOARD}, converged", "autoregression quick"]
    assert ridge.seeds == 2
    first = read_record(tmp_path / "runs" / NAMES[0] / "record.json")
    skills = [one.estimates["skill"].value for one in first.results if one.phase == "converged"]
    assert ridge.values[0] == pytest.approx(sum(skills) / len(skills))
    stepped = read_training_record(tmp_path / "runs" / NAMES[4])
    label = f"{stepped.key.label} {stepped.key.scope}"
    assert rows["InvertedPendulum-v4 (tuning)", label].mean == stepped["auc"].value
    before = {name: (tmp_path / "runs" / name / "record.json").read_bytes() for name in NAMES}
    again = run_suite(path, tmp_path / "runs")
    assert {*again.counts()} == {"finished"}
    assert {name: (tmp_path / "runs" / name / "record.json").read_bytes() for name in NAMES} == before
    for _ in range(2):
        words = ["suite", "report", path, "--out", tmp_path / "runs", "--page", tmp_path / "page"]
        result = CliRunner().invoke(main, [*map(str, words)])
        assert result.exit_code == 0, result.output
    assert result.output.count("left out: ") == 2, "training runs of two trials are no rows"
    rows = json.loads((tmp_path / "page/docs/board/leaderboard.json").read_text())["rows"]
    assert {row["method"]: row["state"] for row in rows} == {"autoregression": "claimed", "linear": "claimed"}
    assert (tmp_path / "page/docs/board/index.html").is_file()


@pytest.mark.slow
def test_what_fails_stops_no_other_and_is_tried_again(board, tmp_path):
    predictor = tmp_path / "mine.py"
    predictor.write_text(
        "from tipl_bench.baselines.linear import Linear\n"
        "class Failing(Linear):\n"
        "    name = 'failing'\n"
        "    def predict(self, contexts, horizon):\n"
        f"        if 'fails' in open({str(tmp_path / 'mine.py')!r}).read().split('#')[-1]:\n"
        "            raise ValueError('cannot forecast')\n"
        "        return super().predict(contexts, horizon)\n"
        "# fails\n"
    )
    path = suite_file(tmp_path, f"{predictor}:Failing")
    only = ["*Failing*", NAMES[0], NAMES[3]]
    status = run_suite(path, tmp_path / "runs", only=only, engine=LocalEngine(jobs=2))
    assert status.counts() == {"finished": 3, "failed": 1}
    (failed,) = status.pending()
    assert "cannot forecast" in status.states[failed.name].reason
    shown = CliRunner().invoke(main, ["suite", "status", str(path), "--out", str(tmp_path / "runs")])
    assert "1 failed, 3 finished, 2 waiting" in shown.output
    assert "cannot forecast" in " ".join(shown.output.split())
    command = ["suite", "run", str(path), "--out", str(tmp_path / "runs"), "--only", "*Failing*", "-q"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1
    predictor.write_text(predictor.read_text().replace("# fails", "# works"))
    assert {*run_suite(path, tmp_path / "runs", only=only).counts()} == {"finished"}


def test_only_what_is_wanted_is_run(board, tmp_path):
    path = suite_file(tmp_path)
    status = run_suite(path, tmp_path / "runs", only=["*linear*"])
    assert [task.name for task in status.tasks] == [BOARD, NAMES[2]], "with what it needs"
    assert suite_status(path, tmp_path / "runs").counts() == {"waiting": 4, "finished": 2}
    said = CliRunner().invoke(main, ["suite", "status", str(path), "--out", str(tmp_path / "runs")]).output
    for task in (BOARD, *NAMES):
        assert f"{'finished' if task in (BOARD, NAMES[2]) else 'waiting':8}  {task}" in said
    assert "2 finished, 4 waiting" in said
    with pytest.raises(OptionError, match="no task's name fits"):
        suite_status(path, only=["*tipl*"])
    shown = json.loads(
        CliRunner().invoke(main, ["suite", "report", str(path), "--out", str(tmp_path / "runs"), "--json"]).output
    )
    assert [(row["method"], row["seeds"]) for row in shown] == [("linear quick", 1)]


@pytest.mark.slow
def test_a_killed_suite_goes_on_to_the_same_bytes(board, tmp_path):
    path = suite_file(tmp_path)
    run_suite(path, tmp_path / "whole")
    script = (
        "import pathlib\nfrom tipl_bench.benchmark.suites.run import run_suite\n"
        f"run_suite({str(path)!r}, pathlib.Path({str(tmp_path / 'killed')!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    while not (tmp_path / "killed" / NAMES[1] / "key.json").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert suite_status(path, tmp_path / "killed").counts()["finished"] < len(NAMES)
    run_suite(path, tmp_path / "killed")
    assert artifacts(tmp_path / "killed") == artifacts(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_finished_runs_are_kept_at_an_address_and_fetched_on_another_machine(board, tmp_path, scheme):
    path, chosen, address = suite_file(tmp_path), {"only": ["*linear*"]}, f"{scheme}://{tmp_path}/kept"
    (name,) = (one for one in NAMES if "linear" in one)
    run_suite(path, tmp_path / "here", results=address, **chosen)
    there = [run_suite(path, tmp_path / "there", results=address, **chosen) for _ in range(2)]
    assert {*there[1].counts()} == {"finished"}
    assert contents(tmp_path / "there" / name) == contents(tmp_path / "here" / name), "its times are those of the other"
    system, root = url_to_fs(address)
    listing = json.loads(system.cat_file(f"{root}/{name}/files.json"))
    assert listing == contents(tmp_path / "here" / name)

    system.pipe_file(f"{root}/{name}/forecasts.safetensors", b"other bytes")
    with pytest.raises(TiplBenchError, match=r"forecasts\.safetensors: not the file that was sent there"):
        run_suite(path, tmp_path / "third", results=address, **chosen)
    for names in ({"../record.json": "0" * 64}, {".hidden": "0" * 64}, ["record.json"]):
        system.pipe_file(f"{root}/{name}/files.json", json.dumps(names).encode())
        with pytest.raises(TiplBenchError, match=r"files\.json: not a run's files"):
            run_suite(path, tmp_path / "third", results=address, **chosen)
    assert not (tmp_path / "third" / name).exists()

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / name.partition("/")[0]).write_text("in the way of a folder")
    with pytest.raises(TiplBenchError, match=r"cannot be read .* alone: 1\. Repeat the command"):
        run_suite(path, tmp_path / "here", results=f"{tmp_path}/full", **chosen)


@pytest.mark.parametrize("command", ["run", "status", "report"])
def test_a_folder_of_runs_is_no_address(command):
    result = CliRunner().invoke(main, ["suite", command, "smoke", "--out", "memory://runs"])
    assert result.exit_code == 2
    assert "--results" in result.stderr
    assert not Path("memory:").exists()


@pytest.mark.parametrize(("address", "message"), [("s4://bucket/board", "s4"), ("s3://bucket/board", "s3fs")])
def test_an_address_that_fsspec_cannot_reach_is_refused_before_anything_is_run(board, tmp_path, address, message):
    result = CliRunner().invoke(main, ["suite", "run", str(suite_file(tmp_path)), "--results", address])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_at_once_give_what_one_after_the_other_gives(board, tmp_path):
    path = suite_file(tmp_path)
    run_suite(path, tmp_path / "one")
    run_suite(path, tmp_path / "two", engine=LocalEngine(jobs=2))
    assert artifacts(tmp_path / "two") == artifacts(tmp_path / "one")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MODEL", "liner", r"forecast entry 2: Unknown predictor 'liner'"),
        (
            "[[forecast]]\nmodel",
            "[[forecast]]\nmodell",
            r"forecast entry 1: modell: no such field \(known: model, datasets",
        ),
        ("summary", "sumary", "sumary: no such field"),
        ("tiny-v1", "none-v1", r"forecast entry 1: Unknown dataset 'my-pendulum/none-v1'"),
        ("outer-step.scale=3", "outer-step.size=3", "training entry 2: "),
        ('on = "tuning"', 'on = "train"', "training"),
        ("InvertedPendulum-v4", "CartPole-v1", "training entry 1: Unknown environment"),
        ("summary", "[summary", "not a suite"),
        ("seeds = [0, 1]", "seed = 0", "forecast entry 1: seed: no such field"),
        ("seeds = [0, 1]", "seeds = [-1]", "forecast entry 1: seeds.0"),
        ("trials = 2", "trials = 99", "training entry 1: Invalid number of trials 99"),
        ("outer-step.scale=3", "outer-step.scale=-3", "training entry 2: "),
    ],
)
def test_a_suite_that_names_what_does_not_exist_begins_nothing(board, tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(SUITE.replace(old, new).replace("MODEL", "linear"))
    with pytest.raises(OptionError, match=message):
        run_suite(path, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_what_a_task_needs_is_done_before(store, tmp_path):
    """Datasets, those that they extend, and runs whose fitted states others use, whatever is asked for."""
    path = tmp_path / "mine.toml"
    run = "inverted-pendulum--ppo-outer-v1/autoregression-quick-on-inverted-pendulum--ppo-outer-400-v1-seed0-p2"
    path.write_text(
        'summary = "A jump"\n[[forecast]]\nmodel = "autoregression"\ndatasets = ["inverted-pendulum/ppo-outer-v1"]\n'
        'fit_on = "inverted-pendulum/ppo-outer-400-v1"\n[[training]]\nenvironments = ["InvertedPendulum-v4"]\n'
        f'outer = ["jump"]\nsettings = ["jump.predictor={{runs}}/{run}"]\n'
    )
    tasks = suite_status(path, only=["training*"]).tasks
    assert [task.name for task in tasks][:3] == [
        "inverted-pendulum/ppo-outer-v1",
        "inverted-pendulum/ppo-outer-400-v1",
        run,
    ]
    assert [len(task.needs) for task in tasks] == [0, 1, 2, 1]
    path.write_text(path.read_text().replace(run, "typo"))
    with pytest.raises(OptionError, match="needs the run typo, which is no task of the suite"):
        suite_status(path)


def test_a_task_waits_for_what_it_needs_and_is_not_begun_if_that_fails():
    waiting = Waiting([(name, {"needs": needs}) for name, needs in (("c", ["b"]), ("b", ["a"]), ("a", []), ("d", []))])
    assert [waiting.next()[0], waiting.next()[0], waiting.next()] == ["a", "d", None]
    assert [outcome.name for outcome in waiting.end("a", failed=False)] == []
    assert waiting.next()[0] == "b"
    assert [outcome.name for outcome in waiting.end("b", failed=True)] == ["c"]
    assert not waiting


def test_runs_that_differ_are_rows_of_their_own():
    tasks = tasks_of(read_suite("board")[1])
    groups = {task.group for task in tasks if task.kind == "run"}
    double = [
        group for group in groups if group.startswith("autoregression quick inverted-double-pendulum/ppo-mini-v2")
    ]
    assert len(double) == 2, "fitted on its own trials, and on Hopper's"


def test_two_classes_of_one_name_are_not_taken_for_each_other(board, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            "from tipl_bench.baselines.linear import Linear\nclass Mine(Linear):\n    name = 'mine'\n"
        )
    entry = '[[forecast]]\nmodel = "FOLDER/mine.py:Mine"\ndatasets = ["my-pendulum/tiny-v1"]\n'
    entries = "".join(entry.replace("FOLDER", str(tmp_path / folder)) for folder in ("one", "two"))
    (tmp_path / "mine.toml").write_text(f'summary = "Two"\n{entries}')
    with pytest.raises(OptionError, match="of the name my-pendulum--tiny-v1/Mine-quick-seed0-p2; rename one's class"):
        suite_status(tmp_path / "mine.toml")


def test_a_run_of_something_else_is_not_reported_as_the_tasks(tmp_path):
    entry = '[[forecast]]\nmodel = "NAME"\ndatasets = ["inverted-pendulum/ppo-head-v1"]\n'
    (tmp_path / "mine.toml").write_text('summary = "One"\n' + entry.replace("NAME", "persistence"))
    name = "inverted-pendulum--ppo-head-v1/persistence-quick-seed0-p2"
    place = tmp_path / "runs" / name / "record.json"
    place.parent.mkdir(parents=True)
    kept = {
        model: next(
            path
            for path in RECORDS.glob(f"inverted-pendulum--ppo-head-v1__{model}-quick-*__seed0.json")
            if read_record(path).key.protocol == CURRENT
        )
        for model in ("persistence", "linear")
    }
    for model, state in (("persistence", "finished"), ("linear", "failed")):
        place.write_bytes(kept[model].read_bytes())
        found = suite_status(tmp_path / "mine.toml", tmp_path / "runs").states[name]
        assert found.state == state
    assert "holds a run of other predictor, options. Remove it" in found.reason


def test_entries_whose_settings_are_in_another_order_are_to_be_one(tmp_path):
    entry = '[[forecast]]\nmodel = "linear"\ndatasets = ["inverted-pendulum/ppo-head-v1"]\nsettings = [SETTINGS]\n'
    orders = ('"points=3", "damping=0.5"', '"damping=0.5", "points=3"')
    entries = "".join(entry.replace("SETTINGS", order) for order in orders)
    (tmp_path / "mine.toml").write_text(f'summary = "Two"\n{entries}')
    with pytest.raises(OptionError, match=r"different runs of the name .*; make them one entry\."):
        suite_status(tmp_path / "mine.toml")


def test_a_suite_that_is_not_there_is_named():
    with pytest.raises(
        UnknownNameError, match=r"Unknown suite 'mine\.toml'\. It is neither a suite's name nor a file. Known: .*smoke"
    ):
        read_suite("mine.toml")
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'smok'\. Did you mean 'smoke'\? Known: .*smoke"):
        read_suite("smok")


@pytest.mark.parametrize("name", shipped_suites())
def test_a_shipped_suite_names_what_exists(name):
    assert tasks_of(read_suite(name)[1])
    listed = CliRunner().invoke(main, ["suite", "list"])
    assert name in listed.output
    assert Path(shipped_suites()[name]).is_file()


def test_the_board_is_what_its_suite_gives():
    """Every committed record under the current protocols is of one of its tasks, and every task has its record."""
    tasks = [task.arguments for task in tasks_of(read_suite("board")[1]) if task.kind == "run"]
    named = {
        canonical_json([one["model"], options_of(one), one["budget"], one["seed"], one["dataset"], one["fit_on"]])
        for one in tasks
    }
    records = [read_record(path) for path in sorted(RECORDS.glob("*.json"))]
    keys = [record.key for record in records if record.key.protocol.version == CURRENT.version]
    stated = set()
    for key in keys:
        method = key.method
        if not isinstance(method.options.get("weights"), str):  # released ones, a file that is not here
            fitted_on = method.fitted_on.name if method.fitted_on else None
            options = {name: method.options[name] for name in sorted(method.options)}
            stated.add(canonical_json([method.name, options, method.budget, key.seed, key.dataset.name, fitted_on]))
    assert named == stated
    trained = [task.arguments for task in tasks_of(read_suite("board")[1]) if task.kind == "train"]
    requests = [
        TrainingRequest.of(one["optimizer"], one["environment"], one["outer"], one["settings"], one["on"])
        for one in trained
    ]
    assert {canonical_json(request.key().model_dump(mode="json")) for request in requests} == {
        canonical_json(record.key.model_dump(mode="json"))
        for record in load(RECORDS).values()
        if record.key.optimizer.name != "open"  # released weights too
    }


def options_of(arguments):
    """All options of a run's predictor, as a record has them."""
    kind = predictor_type(arguments["model"])
    options = options_dict(build_options(kind, arguments["budget"], arguments["settings"], CURRENT.context))
    return {name: options[name] for name in sorted(options)}
