"""Verifying and reproducing: which number is not so, and how far a run comes out the same."""

from __future__ import annotations

import json
import shutil
import sqlite3

import numpy as np
import pytest
from helpers import synthetic
from helpers.submission_workspace import leaves
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.intervals import Estimate
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.leaderboard.store.evidence import row_status
from tipl_bench.leaderboard.store.records import file_name
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.reproduce import TOLERANCE, grade, reproduce
from tipl_bench.leaderboard.verify.rescore import rescore
from tipl_bench.registry.locations import cache_root
from tipl_bench.utils.errors import ProtocolError


def verified(workspace, *options):
    return workspace.typed("verify", workspace.run, *options)


def refused(result, *messages):
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    for message in messages:
        assert message in result.output
    assert "Traceback" not in result.output


def test_when_a_run_is_as_it_says_then_every_number_agrees(workspace):
    result = verified(workspace)
    assert result.exit_code == 0, result.output
    record = json.loads(workspace.text())
    stated = [v for _, v in leaves({"metrics": record["results"]}) if isinstance(v, int | float)]
    found = json.loads(verified(workspace, "--json").stdout)
    assert found["numbers"] > len(stated) + 60 * 15, "metrics, and the numbers of 60 rows"
    assert (found["exact"], found["differences"], found["leakage_flags"]) == (True, [], [])
    assert f"{found['numbers']:,} numbers recomputed" in result.output
    assert "to the last digit" in result.output


def test_returns_that_this_machine_evaluated_before_are_looked_up_and_verify_says_how_many(workspace):
    everything = workspace.forecasts()["forecasts"][..., 0].size
    assert f"{everything} returns evaluated now" in verified(workspace, "--fresh").output.splitlines()
    assert f"0 returns evaluated now, {everything} looked up" in verified(workspace).output
    with sqlite3.connect(cache_root() / "returns.sqlite") as connection:
        connection.execute("UPDATE returns SET value = value + 1")
    connection.close()
    refused(verified(workspace), "numbers are not what the record says")
    found = json.loads(verified(workspace, "--fresh", "--json").stdout)
    assert (found["returns_evaluated"], found["returns_looked_up"]) == (everything, 0)
    assert found["differences"] == []


def test_a_check_looks_up_what_was_evaluated_before_unless_it_is_to_be_fresh(workspace):
    workspace.check()
    assert " looked up: this machine's store" in workspace.check().output
    fresh = workspace.check(None, "--fresh").output
    assert "looked up" not in fresh
    assert " returns evaluated now" in fresh


def test_when_windows_are_not_there_then_the_record_is_verified_alone(workspace):
    (workspace.run / "windows.parquet").unlink()
    found = json.loads(verified(workspace, "--json").stdout)
    assert found["differences"] == []
    assert 300 < found["numbers"] < 900


def edited(value):
    """Another number, by more than rounding."""
    if isinstance(value, int):
        return value + 1
    return value * (1 + 1e-8) if value else 1e-12


def test_when_any_leaf_of_a_metric_is_edited_then_verify_names_exactly_that(workspace):
    """One leaf of each kind is edited, each in another metric than the last."""
    record = json.loads(workspace.text())
    kinds = [
        place
        for place, value in leaves(record["results"][0])
        if place not in (("phase",), ("horizon",), ("environment",), ("trials",))  # reading refuses these
    ]
    assert len(kinds) > 40
    expected = set()
    for number, place in enumerate(kinds):
        metric = record["results"][number % len(record["results"])]
        value = metric
        for part in place:
            value = value[part]
        workspace.edit("results", number % len(record["results"]), *place, to=edited(value))
        expected.add(
            f"{metric['phase']}, h = {metric['horizon']}: {'.'.join(map(str, place)).removeprefix('estimates.')}"
        )
    result = verified(workspace, "--json")
    assert result.exit_code == 1
    differences = json.loads(result.stdout)["differences"]
    assert {difference["where"] for difference in differences} == expected
    text = verified(workspace).output
    assert f"{len(kinds)} of " in text
    assert f"... and {len(kinds) - 20} more" in text


def test_when_a_number_is_edited_then_the_claim_and_the_truth_are_told(workspace):
    truth = workspace.record.results[4]["repw"].high
    workspace.edit("results", 4, "estimates", "repw", "high", to=0.015)
    refused(verified(workspace), f"repw.high: the record says 0.015, recomputed {truth!r}", "1 of ")


@pytest.mark.parametrize(
    ("place", "factor", "agrees"),
    [
        (("estimates", "skill", "value"), 1 + 1e-7, True),
        (("estimates", "skill", "value"), 1 + 1e-5, False),
        (("by_trial", "wpe", 0), 1 + 1e-7, True),
        (("layers", "layer0.weight"), 1.0001, False),
        (("estimates", "gain", "value"), 1.04, True),
        (("estimates", "gain", "value"), 40.0, False),
    ],
)
def test_when_it_was_made_on_another_machine_then_numbers_may_differ_by_its_rounding(place, factor, agrees, workspace):
    workspace.edit("provenance", "cpu", to="Another processor")
    metric = json.loads(workspace.text())["results"][0]
    for part in place:
        metric = metric[part]
    workspace.edit("results", 0, *place, to=metric * factor)
    result = verified(workspace)
    assert result.exit_code == (0 if agrees else 1), result.output
    if agrees:
        assert "all agree, within the tolerances of another machine" in result.output
        workspace.edit("provenance", "cpu", to=read_record(workspace.records / "other__seed2.json").provenance.cpu)
        assert verified(workspace).exit_code == 1, "on the same machine nothing may differ"


def test_when_it_was_made_elsewhere_then_some_episodes_may_part_and_what_is_compared_how_is_told(workspace):
    here = json.loads(verified(workspace, "--json").stdout)
    returns = json.loads(workspace.text())["returns"]
    for pair in returns[::3]:
        pair[3] += 3.0
    workspace.edit("returns", to=returns)
    refused(verified(workspace), "20 of ")
    workspace.edit("provenance", "cpu", to="Another processor")
    workspace.edit("provenance", "packages", "numpy", to="1.0\u00e9")
    result = verified(workspace)
    assert result.exit_code == 0, result.output
    assert "recorded on another processor ('Another processor'; here '" in result.output
    assert "and another version of 'numpy' ('1.0\\xe9'; here '" in result.output
    assert "360 returns of single windows, any of which may diverge there, are not counted; half of" in result.output
    there = json.loads(verified(workspace, "--json").stdout)
    assert there["numbers"] == here["numbers"] - 360
    assert (len(here["notes"]), len(there["notes"])) == (0, 2)
    assert there["notes"][0] in workspace.check().output


def test_when_the_dataset_is_another_then_it_is_not_scored(workspace, walking):
    refused(verified(workspace, "--dataset", walking.folder), "made on toy-pendulum/synthetic-v1", walking.digest)


def test_when_the_forecasts_are_the_targets_then_verify_flags_them(workspace):
    workspace.forge(forecasts=workspace.targets(), rescored=True)
    refused(verified(workspace), "needs review: 60 of 60 forecasts are nearly identical to their targets", "all agree")
    assert json.loads(verified(workspace, "--json").stdout)["leakage_flags"]


def test_when_forecasts_beat_the_span_of_their_contexts_then_that_is_an_achievement(workspace):
    """Halfway between the target and the best in the span: nothing that recombines the context can be there."""
    workspace.as_guest()
    dataset, protocol = workspace.dataset, workspace.record.key.protocol
    spans = []
    for window in evaluation_windows(dataset, protocol):
        past = dataset.trial(window.trial).weights(window.origin + 1 - protocol.context, window.origin + 1)
        ahead = dataset.trial(window.trial).weights(window.origin + 1, window.origin + 1 + protocol.horizon)
        steps = (past[:-1] - past[-1]).T.astype(np.float64)
        weights = np.linalg.lstsq(steps, (ahead - past[-1]).T.astype(np.float64))[0]
        spans.append(past[-1] + (steps @ weights).T)
    halfway = (0.5 * workspace.targets() + 0.5 * np.stack(spans)).astype(np.float32)
    workspace.forge(forecasts=halfway, rescored=True)
    above = workspace.record.above_span_ceiling
    assert [(one.phase, one.horizon) for one in above] == [(one.phase, one.horizon) for one in workspace.record.results]
    result = verified(workspace)
    assert result.exit_code == 0, result.output
    assert "learning, h = 1: skill 0.9" in result.output
    assert "is above the span ceiling 0.9" in result.output
    found = json.loads(verified(workspace, "--json").stdout)
    assert (len(found["above_span_ceiling"]), found["leakage_flags"]) == (len(above), [])
    assert workspace.check().exit_code == 0
    added = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records)
    assert added.exit_code == 0, added.output
    row = workspace.records / file_name(workspace.record)
    assert row_status(row, read_record(row)).state == "rescored"


def test_when_a_record_has_no_share_of_the_ceiling_then_its_skills_say_whether_it_is_above(workspace):
    for skill, above in ((0.95, []), (0.05, None)):
        results = [
            one.model_copy(
                update={
                    "estimates": {
                        **{name: found for name, found in one.estimates.items() if name != "span_share"},
                        "oracle_skill": Estimate(skill, None, None),
                        "skill": Estimate(0.5, None, None),
                    }
                }
            )
            for one in workspace.record.results
        ]
        record = workspace.record.model_copy(update={"results": tuple(results)})
        assert record.above_span_ceiling == (results if above is None else above)


def test_an_honest_run_on_a_walk_that_nobody_can_forecast_is_not_flagged(known, walking, tmp_path):
    made = tmp_path / "walk"
    execute(RunRequest("linear", walking, protocol=synthetic.SMALL, device="cpu"), made)
    found = rescore(open_run(made, walking))
    assert found.agrees
    assert found.leakage_flags == ()


# Reproducing.


@pytest.fixture
def drifting(third_party_predictors):
    """Install a predictor whose forecasts depend on what its package's description says; writes that."""
    (third_party_predictors / "drifting.py").write_text(DRIFTING)
    names = third_party_predictors / "third_party_predictors-1.0.dist-info" / "entry_points.txt"
    names.write_text(names.read_text() + "drifting = drifting:Drifting\n")

    def drift(size, version=1):
        names.with_name("drift.json").write_text(json.dumps([size, version]))

    return drift


DRIFTING = """
import json
from importlib.metadata import distribution

import numpy as np
from tipl_bench.baselines.predictor import NoOptions, Predictor

SIZE, VERSION = json.loads(distribution("third-party-predictors").read_text("drift.json"))


class Drifting(Predictor[NoOptions]):
    name, version, summary = "drifting", VERSION, "Depends on where it runs."

    def predict(self, contexts, horizon):
        last, step = contexts.weights[:, -1:], contexts.weights[:, -1:] - contexts.weights[:, -2:-1]
        ahead = np.arange(1, horizon + 1, dtype=np.float32)[:, None] * step * np.float32(0.5)
        return last + ahead * np.float32(1 + SIZE)
"""


@pytest.mark.parametrize(
    ("drift", "expected"),
    [(0.0, "bitwise"), (1e-4, "within tolerance"), (0.5, "drifted")],
    ids=lambda value: str(value),
)
def test_a_reproduction_is_graded_by_its_forecasts_and_skills(drift, expected, drifting, smooth, tmp_path, known):
    drifting(0.0)
    record = execute(RunRequest("drifting", smooth, protocol=synthetic.SMALL, device="cpu"), tmp_path / "run").record
    drifting(drift)
    found = reproduce(record, smooth, tmp_path / "again")
    assert found.grade == expected
    gaps = {
        f"{m.phase}, h = {m.horizon}": abs(m["skill"].value - found.again.result(m.phase, m.horizon)["skill"].value)
        for m in record.results
    }
    assert found.largest == max(gaps.values()) == gaps[found.where]
    assert (found.largest > TOLERANCE) == (expected == "drifted")
    assert (found.again.forecasts_sha256 == record.forecasts_sha256) == (expected == "bitwise")


def test_when_the_predictor_has_another_version_then_it_is_not_run(drifting, smooth, tmp_path, known):
    drifting(0.0)
    record = execute(RunRequest("drifting", smooth, protocol=synthetic.SMALL, device="cpu"), tmp_path / "run").record
    drifting(0.0, version=2)
    with pytest.raises(ProtocolError, match=r"of drifting v1 with options .*; installed here is v2"):
        reproduce(record, smooth, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_when_the_forecasts_are_the_same_but_the_skills_were_edited_then_it_is_not_bitwise(workspace):
    record = workspace.record
    results = [
        m.model_copy(update={"estimates": {**m.estimates, "skill": Estimate(0.99, 0.98, 1.0)}}) for m in record.results
    ]
    assert grade(record, record).grade == "bitwise"
    assert grade(record.model_copy(update={"results": tuple(results)}), record).grade == "drifted"
    assert grade(record.model_copy(update={"results": ()}), record).grade == "drifted"


def reproduced(workspace, source, *options):
    return workspace.typed("reproduce", source, *options)


def test_reproduce_runs_a_run_again_beside_it(workspace):
    result = reproduced(workspace, workspace.run)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("bitwise: the largest difference of a skill is 0 (")
    again = read_record(workspace.submission / "run-reproduced" / "record.json")
    assert again.results == workspace.record.results


def test_when_the_strangers_folder_brings_its_own_reproduction_then_that_is_not_used(workspace):
    shutil.copytree(workspace.run, workspace.submission / "run-reproduced")
    refused(reproduced(workspace, workspace.run), "run-reproduced is not empty; a reproduction starts from nothing")


def test_when_the_record_is_of_an_unknown_protocol_then_nothing_is_run(workspace):
    workspace.edit("key", "protocol", "resamples", to=10**12)
    for source in (workspace.run, workspace.run / "record.json"):
        refused(reproduced(workspace, source), "its protocol has the number 901 but another resamples")
    assert not (workspace.submission / "run-reproduced").exists()
    assert not (workspace.run / "record-reproduced").exists()


def test_when_the_dataset_has_another_digest_then_nothing_is_run(workspace, walking):
    refused(reproduced(workspace, workspace.run, "--dataset", walking.folder), workspace.dataset.digest, walking.digest)


def test_when_the_predictor_is_not_here_then_it_is_told(workspace):
    workspace.edit("key", "method", "name", to="linears")
    refused(reproduced(workspace, workspace.run), "Unknown predictor 'linears'. Did you mean 'linear'?")


def test_when_options_are_not_the_predictors_then_it_is_told(workspace):
    workspace.edit("key", "method", "options", to={"points": 2, "damping": 1.0, "depth": 3})
    refused(reproduced(workspace, workspace.run), "'depth'", "damping, normaliser, points")
    workspace.edit("key", "method", "options", to={"points": 2})
    workspace.edit("key", "method", "version", to=9)
    refused(
        reproduced(workspace, workspace.run), "The record is of linear v9", "Install the version that the record names"
    )


def test_numbers_of_forecasts_come_out_the_same_by_hand(workspace):
    """Skill of one horizon and phase, from the forecasts and the dataset with NumPy alone."""
    metric = workspace.record.result("all", 2)
    error = np.square(workspace.targets().astype(np.float64) - workspace.forecasts()["forecasts"])[:, 1]
    origins = [workspace.dataset.trial(t).weights(o, o + 1)[0] for t, o in origins_of(workspace)]
    still = np.square(workspace.targets()[:, 1].astype(np.float64) - np.stack(origins))
    assert metric["skill"].value == pytest.approx(1 - error.sum() / still.sum(), rel=1e-9)


def origins_of(workspace):
    tensors = workspace.forecasts()
    return list(zip(tensors["trial"].tolist(), tensors["origin"].tolist(), strict=True))


def of_a_run(workspace, *names):
    """A folder with some files of the workspace's run."""
    folder = workspace.run.parent / "partial"
    folder.mkdir()
    for name in names:
        shutil.copy(workspace.run / name, folder / name)
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda workspace: workspace.run.parent / "nowhere", "nowhere: no such folder. Give a run folder as"),
        (lambda workspace: of_a_run(workspace), "partial: record.json is missing; not a finished run. Give a run fo"),
        (lambda workspace: workspace.run / "record.json", "record.json: a file, not a folder. Give a run folder as"),
        (
            lambda workspace: of_a_run(workspace, "key.json", "forecasts.safetensors"),
            "record.json is missing, the run was not finished. Repeat the command that began it",
        ),
        (lambda workspace: of_a_run(workspace, "record.json"), "forecasts.safetensors is missing; not a finished run"),
    ],
    ids=["missing", "empty", "a record file", "unfinished", "a record alone"],
)
def test_what_is_no_finished_run_is_refused_with_the_way_out(make, sentence, workspace):
    given = make(workspace)
    if (given / "key.json").exists():
        (given / "timings.json").write_text("{}")
    result = workspace.typed("verify", given)
    refused(result, sentence)
    assert "Errno" not in result.output


@pytest.mark.parametrize("name", ["record.json", "forecasts.safetensors", "windows.parquet"])
def test_a_damaged_file_of_a_run_is_named_with_what_makes_it_again(name, workspace):
    path = workspace.run / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = verified(workspace)
    refused(result, str(path), "Repeat the command that made the run, which makes what is damaged or missing")
    assert "Fetch or collect" not in result.output
