"""Tuning: runs on the validation trials, on fewer windows and without returns, and what a test run says of them."""

from __future__ import annotations

import json
import os

import pandas as pd
import pytest
import tipl_bench
from helpers import synthetic
from helpers.users import public_store, unprivileged
from rich.console import Console
from tipl_bench.benchmark import table
from tipl_bench.benchmark.compare import compare
from tipl_bench.benchmark.forecast.validation_log import count_validation_runs
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.benchmark.request import RunRequest, default_folder
from tipl_bench.benchmark.run import execute
from tipl_bench.leaderboard.verify.reproduce import reproduce
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.store import cache_root
from tipl_bench.utils.errors import OptionError, ProtocolError, UnknownNameError

__all__ = ["public_store"]

OF_RETURNS = {"repw", "repw_persistence", "reset_noise", "gain"}
QUICK = {"split": "validation", "returns": False}


def small(dataset, model="linear", **settings) -> RunRequest:
    """A request under the small protocol, on the CPU."""
    return RunRequest(model, dataset, protocol=synthetic.SMALL, device="cpu", **settings)


def printed(record: Record) -> str:
    """A record's table."""
    console = Console(width=80)
    with console.capture() as text:
        console.print(table.render(record))
    return " ".join(text.get().split())


@pytest.fixture(autouse=True)
def _known_protocol(monkeypatch):
    """The small protocol is one that this package knows, so that its runs are verified and compared."""
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


def test_when_a_run_is_on_validation_then_it_forecasts_the_validation_trials(smooth, tmp_path):
    finished = execute(small(smooth, split="validation"), tmp_path / "run")
    windows = evaluation_windows(smooth, synthetic.SMALL, "validation")
    assert [*finished.windows[["trial", "origin"]].drop_duplicates().itertuples(index=False, name=None)] == [
        (window.trial, window.origin) for window in windows
    ]
    assert set(finished.windows["trial"]) == set(smooth.manifest.split.validation)
    assert finished.record.key.split == read_record(tmp_path / "run" / "record.json").key.split == "validation"
    assert finished.record.has_returns
    assert verify(finished, smooth).agrees
    assert reproduce(finished, smooth).grade == "bitwise"


def test_when_a_test_run_is_made_then_nothing_of_it_depends_on_this(smooth, tmp_path):
    record = execute(small(smooth), tmp_path / "run").record
    assert (record.key.split, record.key.limit, record.scope, record.why_not_submittable) == ("test", None, "", None)
    windows = pd.read_parquet(tmp_path / "run" / "windows.parquet")
    assert set(windows["trial"]) == {window.trial for window in evaluation_windows(smooth, synthetic.SMALL)}


@pytest.mark.usefixtures("drawn")
def test_when_returns_are_left_out_then_nothing_of_them_is_claimed_anywhere(smooth, tmp_path):
    stages = []
    finished = execute(small(smooth, **QUICK), tmp_path / "run", lambda stage, *_: stages.append(stage))
    record = finished.record
    assert "returns" not in stages
    assert "reference" not in stages
    assert not record.has_returns
    assert record.returns == ()
    for result in record.results:
        assert not OF_RETURNS & result.estimates.keys()
        assert not OF_RETURNS & result.by_trial.keys()
        assert result["repw"].value is None
    assert not [name for name in finished.windows if name.startswith(("return", "repw", "gain", "noise"))]
    assert record == read_record(tmp_path / "run" / "record.json")
    shown = printed(record)
    assert "REPW" not in shown
    assert "validation trials, without returns: not for a leaderboard" in shown
    assert "without returns" in finished.figure.read_text()
    assert "REPW" not in finished.figure.read_text()
    assert verify(finished, smooth).agrees
    assert reproduce(finished, smooth).grade == "bitwise"


def test_when_returns_are_wanted_later_then_only_they_are_added(smooth, tmp_path):
    before = execute(small(smooth, **QUICK), tmp_path / "run").record
    stages = []
    after = execute(small(smooth, split="validation"), tmp_path / "run", lambda stage, *_: stages.append(stage))
    assert not after.repeated
    assert set(stages) == {"contract check", "reference", "returns"}
    whole = execute(small(smooth, split="validation"), tmp_path / "whole").record
    assert after.record.without_cost() == whole.without_cost()
    assert after.record.cost.fit_seconds == before.cost.fit_seconds
    assert execute(small(smooth, **QUICK), tmp_path / "run").record == after.record


def test_when_a_run_without_returns_has_lost_its_rows_then_they_are_made_again_without_them(smooth, tmp_path):
    first = execute(small(smooth, **QUICK), tmp_path / "run")
    (tmp_path / "run" / "windows.parquet").unlink()
    again = execute(small(smooth, **QUICK), tmp_path / "run")
    assert again.repeated
    assert again.windows.equals(first.windows)


@pytest.mark.usefixtures("drawn")
def test_when_windows_are_limited_then_so_many_are_forecast_and_the_run_says_so(smooth, tmp_path):
    finished = execute(small(smooth, limit=6), tmp_path / "run")
    assert len(finished.forecasts) == 6
    assert finished.record.key.limit == 6
    assert "limited to 6 windows: not for a leaderboard" in printed(finished.record)
    assert "limited to 6 windows" in finished.figure.read_text()
    assert {(r.phase, r.trials, r.windows) for r in finished.record.results} == {
        ("learning", 2, 3), ("converged", 2, 3), ("all", 2, 6)
    }  # fmt: skip
    assert verify(finished, smooth).agrees


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "train"}, r"Unknown trials to run on 'train'\. Known: test, validation\."),
        ({"returns": False}, r"A whole test run needs its returns; they can be left out only on the validation trials"),
        ({"limit": 0}, r"Invalid limit of windows 0: use a whole number from 1 to"),
        ({"limit": 2.0}, r"Invalid limit of windows 2\.0: use a whole number"),
        ({"limit": True}, r"Invalid limit of windows True: use a whole number"),
        ({"seed": -1}, r"Invalid seed -1: use a whole number from 0 to 9223372036854775807\."),
        ({"seed": 1.0}, r"Invalid seed 1\.0: use a whole number from 0 to"),
        ({"seed": True}, r"Invalid seed True: use a whole number from 0 to"),
        ({"seed": "1"}, r"Invalid seed '1': use a whole number from 0 to"),
        ({"seed": 2**63}, r"Invalid seed 9223372036854775808: use"),
    ],
)
def test_when_a_run_cannot_be_asked_for_then_one_sentence_says_what_can(settings, message, smooth):
    with pytest.raises((OptionError, UnknownNameError), match=message) as caught:
        small(smooth, **settings)
    assert "\n" not in str(caught.value)


def test_when_a_run_is_of_other_windows_then_its_folder_is_named_after_them(smooth):
    names = [
        default_folder(small(smooth, **settings)).name
        for settings in ({}, {"split": "validation"}, {"limit": 20}, {"split": "validation", "limit": 20, "seed": 3})
    ]
    assert names == [
        "linear-quick-seed0-p901", "linear-quick-seed0-p901-validation", "linear-quick-seed0-p901-limit20",
        "linear-quick-seed3-p901-validation-limit20",
    ]  # fmt: skip


def test_when_an_options_text_is_no_file_name_then_the_folder_is_still_one_and_its_own(smooth):
    texts = ("../../x", "../../y", "x" * 300)
    folders = [default_folder(small(smooth, settings=(f"path={text}",))) for text in texts]
    assert len(set(folders)) == len(texts)
    assert {len(folder.parts) for folder in folders} == {3}
    assert all(len(folder.name) < 120 for folder in folders)


def test_when_a_test_run_is_made_then_it_counts_the_validation_runs_before_it(smooth, walking, store, tmp_path):
    for number, settings in enumerate(((), ("points=3",), ())):  # the last one is the first again
        execute(small(smooth, settings=settings, **QUICK), tmp_path / f"validation-{number}")
    execute(small(smooth, model="persistence", **QUICK), tmp_path / "another-predictor")
    execute(small(walking, **QUICK), tmp_path / "another-dataset")
    record = execute(small(smooth, limit=4, returns=False), tmp_path / "test").record
    assert record.provenance.validation_runs == 2
    assert "validation runs of this predictor before this run: 2" in printed(record)
    execute(small(smooth, settings=("points=5",), **QUICK), tmp_path / "later")
    assert execute(small(smooth, limit=4, returns=False), tmp_path / "test").record == record
    again = execute(small(smooth, limit=4, returns=False), tmp_path / "again").record
    assert again.provenance.validation_runs == 3
    assert again.without_cost() == record.without_cost()
    assert len((store / "validation-runs.jsonl").read_text().splitlines()) == 6


def test_when_a_run_is_resumed_then_it_counts_the_validation_runs_before_its_beginning(smooth, tmp_path):
    folder = tmp_path / "test"
    execute(small(smooth, limit=4, returns=False), folder)
    (folder / "record.json").unlink()
    (folder / "timings.json").write_text('{"fit_seconds": 1.0, "validation_runs": 2}')
    assert execute(small(smooth, limit=4, returns=False), folder).record.provenance.validation_runs == 2
    (folder / "record.json").unlink()
    (folder / "timings.json").write_text('{"fit_seconds": 1.0, "validation_runs": -2}')
    assert execute(small(smooth, limit=4, returns=False), folder).record.provenance.validation_runs == 0


def test_when_the_log_is_damaged_then_what_is_whole_counts(smooth, store, tmp_path):
    execute(small(smooth, **QUICK), tmp_path / "validation")
    with (store / "validation-runs.jsonl").open("a") as log:
        log.write('{"cut\n[1]\n{"key": 1}\n\x00\n')
    record = execute(small(smooth, limit=2, returns=False), tmp_path / "test").record
    assert record.provenance.validation_runs == 1


def test_when_the_log_cannot_be_used_then_the_number_is_unknown(smooth, store, tmp_path):
    (store / "validation-runs.jsonl").mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be written"):
        execute(small(smooth, **QUICK), tmp_path / "validation")
    record = execute(small(smooth, limit=2, returns=False), tmp_path / "test").record
    assert record.provenance.validation_runs is None
    assert "validation runs" not in printed(record)


@pytest.fixture(params=["below a file", "below a folder that may not be searched", "without a home"])
def unusable_store(request, monkeypatch, public_store):
    """A store that can neither be read nor written."""
    below = public_store.parent / "below"
    if request.param == "without a home":
        monkeypatch.delenv("TIPL_BENCH_HOME")
        monkeypatch.setattr("platformdirs.user_cache_dir", lambda _: "~/.cache/tipl-bench")
        return
    monkeypatch.setenv("TIPL_BENCH_HOME", str(below / "store"))
    if request.param == "below a file":
        below.touch()
    else:
        below.mkdir()
        below.chmod(0)


@pytest.mark.filterwarnings("ignore::tipl_bench.registry.store.CacheWarning")
def test_when_the_store_is_unusable_then_a_run_is_made_and_the_validation_runs_before_it_are_unknown(
    unusable_store, smooth, tmp_path
):
    finished = execute(small(smooth, limit=2, model="persistence"), tmp_path / "run")
    assert finished.record.has_returns
    with unprivileged():
        assert count_validation_runs(finished.record.key) is None
    if os.geteuid() != 0 or not (cache_root().parent.is_dir() and cache_root().parent.stat().st_mode & 0o777 == 0):
        assert finished.record.provenance.validation_runs is None


def test_when_runs_of_other_windows_are_compared_then_one_sentence_says_what_differs(smooth, tmp_path):
    test = execute(small(smooth), tmp_path / "test")
    validation = execute(small(smooth, split="validation"), tmp_path / "validation")
    with pytest.raises(ProtocolError, match=r"the choice of windows differs \(split: test here, validation there\)"):
        compare([test, validation])


def test_when_runs_of_the_same_validation_windows_are_compared_then_they_are_labelled(smooth, tmp_path):
    runs = [
        execute(small(smooth, **QUICK), tmp_path / "one"),
        execute(small(smooth, split="validation", settings=("points=3",)), tmp_path / "other"),
    ]
    found = compare(runs)
    assert set(found["metric"]) == {"skill", "span_share", "wpe"}
    assert found["run"].iloc[0] == "linear v1 quick seed 0 (validation trials, without returns)"
    assert found["other"].iloc[0] == "linear v1 quick seed 0 (validation trials)"


def test_when_a_record_without_returns_says_it_is_a_whole_test_run_then_it_is_not_valid(smooth, tmp_path):
    execute(small(smooth, **QUICK), tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    record = json.loads(path.read_text())
    record["key"]["split"] = "test"
    path.write_text(json.dumps(record))
    with pytest.raises(ProtocolError, match=r"results\.0\.estimates\.repw is missing"):
        read_record(path)


def test_when_a_record_has_returns_at_one_place_only_then_it_is_not_valid(smooth, tmp_path):
    execute(small(smooth, split="validation"), tmp_path / "run")
    path = tmp_path / "run" / "record.json"
    record = json.loads(path.read_text())
    del record["results"][0]["estimates"]["repw"]
    path.write_text(json.dumps(record))
    with pytest.raises(ProtocolError, match=r"results\.0\.estimates\.repw is missing"):
        read_record(path)


def test_when_a_run_is_asked_for_from_python_then_it_takes_the_same_choices(smooth, tmp_path):
    finished = tipl_bench.run(
        "persistence", smooth, on="validation", returns=False, limit=4, protocol=synthetic.SMALL, out=tmp_path / "run"
    )
    assert finished.record.scope == "validation trials, limited to 4 windows, without returns"
