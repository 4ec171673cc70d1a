"""The training track's table: what is chosen by tuning trials, what is compared with what, what is refused."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from helpers import synthetic_documents
from helpers.board_records import record as synthetic_record
from helpers.board_records import write
from helpers.training_records import training_run
from scipy import stats
from tipl_bench.baselines.optimizers.optim4rl.parameters import MetaParameters, shipped_parameters
from tipl_bench.benchmark.intervals import bootstrap
from tipl_bench.benchmark.meta_training.run import shipped_records
from tipl_bench.benchmark.training.record import read_training_record
from tipl_bench.benchmark.training.run import curves_path, read_curves
from tipl_bench.benchmark.training.verify import TrainingCheck
from tipl_bench.leaderboard.build import build_of_runs
from tipl_bench.leaderboard.render.site import render
from tipl_bench.leaderboard.store.evidence import append_piece, evidence_path
from tipl_bench.leaderboard.training import presentation
from tipl_bench.leaderboard.training.evidence import attest, of_check
from tipl_bench.leaderboard.training.export import page_data, to_csv
from tipl_bench.leaderboard.training.store import add, load
from tipl_bench.leaderboard.training.table import family, paired_p, tables
from tipl_bench.utils.errors import ProtocolError

OUTER_FAMILY = "adam + outer-step"
JUMP = ["jump.predictor=linear"]
OUTER = ["outer-step.scale=3"]
RUNS = {
    # tuning prefers a rate of 6e-4, an outer step of 3, and jumps every 2 iterations
    "adam-a": (1.0, "adam", (), (), "tuning"),
    "adam-b": (1.2, "adam", (), ["learning_rate=6e-4"], "tuning"),
    "outer-a": (1.5, "adam", ["outer-step"], (), "tuning"),
    "outer-b": (1.8, "adam", ["outer-step"], OUTER, "tuning"),
    "jump-a": (1.9, "adam", ["outer-step", "jump"], [*OUTER, *JUMP], "tuning"),
    "jump-b": (2.0, "adam", ["outer-step", "jump"], [*OUTER, *JUMP, "jump.period=2"], "tuning"),
    "adam": (1.0, "adam", (), (), "test"),
    "adam-tuned": (1.2, "adam", (), ["learning_rate=6e-4"], "test"),
    "outer-tuned": (1.9, "adam", ["outer-step"], OUTER, "test"),
    "jump-tuned": (2.1, "adam", ["outer-step", "jump"], [*OUTER, *JUMP, "jump.period=2"], "test"),
    "control": (
        1.85, "adam", ["outer-step", "jump"], [*OUTER, *JUMP, "jump.period=2", "jump.direction=last-change"], "test"
    ),
    "sgd": (0.5, "sgd", (), (), "test"),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    for seed, (name, (*method, split)) in enumerate(RUNS.items()):
        training_run(folder / name, *method, split=split, seed=seed)
    return folder


@pytest.fixture(scope="module")
def records(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for name in RUNS:
        add(runs / name, folder)
    return folder


@pytest.fixture(scope="module")
def table(records):
    (found,) = tables(records)
    return found


def test_rows_are_sorted_and_say_what_they_are(table):
    assert [(row.method, row.role, row.configurations) for row in table.rows] == [
        ("adam + outer-step scale=3.0 + jump predictor=linear period=2", "tuned", 2),
        ("adam + outer-step scale=3.0", "tuned", 2),
        ("adam + outer-step scale=3.0 + jump predictor=linear period=2 direction=last-change", "control", 0),
        ("adam learning_rate=0.0006", "tuned", 2),
        ("adam", "default", 2),
        ("sgd", "default", 0),
    ]
    by_method = {row.method: row.id for row in table.rows}
    assert table.references == {
        "tuned adam": by_method["adam learning_rate=0.0006"],
        "best plain": by_method["adam + outer-step scale=3.0"],
    }


def test_comparisons_are_paired_and_corrected_over_the_rows(table, records):
    kept = {path.stem: record for path, record in load(records).items()}
    rows = {row.id: row for row in table.rows}
    for reference, count in (("tuned adam", 5), ("best plain", 5), ("control", 1)):
        compared = {name: row.against[reference] for name, row in rows.items() if reference in row.against}
        assert len(compared) == count
        p = {}
        for name, one in compared.items():
            ours, theirs = kept[name].columns, kept[one.other].columns
            p[name] = stats.ttest_rel(ours["auc"], theirs["auc"]).pvalue
            assert one.estimates["auc"].value == pytest.approx((ours["auc"] - theirs["auc"]).mean())
            ratio = ours["steps_95"].sum() / theirs["steps_95"].sum()
            assert one.estimates["steps_95"].value == pytest.approx(ratio)
        ordered, worst = sorted(p, key=p.get), 0.0
        for place, name in enumerate(ordered):
            worst = max(worst, min(1.0, p[name] * (count - place)))
            assert compared[name].p == pytest.approx(worst, rel=1e-6, abs=1e-12)
    forecast = next(row for row in table.rows if "control" in row.against)
    assert rows[forecast.against["control"].other].role == "control"


def test_the_markdown_has_a_line_a_row_with_its_cells(table):
    text = presentation.markdown([table])
    lines = [line for line in text.splitlines() if line.startswith("| adam") or line.startswith("| sgd")]
    assert len(lines) == 6 + 2, "the rows, and the forecast beside the best plain method and its control"
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert all(line.count("|") == header.count("|") for line in lines[:6])
    assert "learning\\_rate=0.0006" in text
    assert "best plain | +0.0" in text.replace("\\*", "")
    assert presentation.markdown([]) == ""


def test_the_page_shows_the_tables_as_text(table, visit, tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    first = table.rows[0].model_copy(update={"method": hostile})
    changed = table.model_copy(update={"rows": (first, *table.rows[1:])})
    shown = [part.model_dump() for part in presentation.presented(changed)]
    training = page_data([changed])
    render(synthetic_documents.typed(synthetic_documents.document(rows=3, boards=1)), tmp_path, training=training)
    visiting = visit(tmp_path)
    page = visiting.go()
    place = page.locator("#training")
    assert place.is_visible()
    assert place.locator(":scope > .scroll, :scope > .runs").count() == 2
    first = place.locator(".runs table")
    lines = [line.locator("th, td").all_inner_texts() for line in first.locator("tbody tr").all()]
    assert [tuple(line) for line in lines] == [tuple(row) for row in shown[0]["rows"]]
    assert lines[0][0] == hostile
    place.get_by_role("button", name=hostile).click()
    assert hostile in place.locator(".inside figure").inner_text()
    assert page.locator("#training img").count() == 0
    assert not visiting.dialogs
    render(synthetic_documents.typed(synthetic_documents.document(rows=3, boards=1)), tmp_path)
    assert visit(tmp_path).go().locator("#training").is_hidden()


def test_mean_curves_are_the_trials_means_with_the_bootstraps_intervals(table, records):
    kept = {path.stem: (path, record) for path, record in load(records).items()}
    for row in table.rows:
        path, record = kept[row.id]
        curves, protocol, curve = read_curves(path, record.key), record.key.protocol, row.curve
        rise = protocol.reference_return - protocol.initial_return
        assert curve.mean == pytest.approx(list((curves.returns.mean(0) - protocol.initial_return) / rise), abs=6e-5)
        auc = np.trapezoid(curve.mean, curve.steps) / curve.steps[-1]
        assert auc == pytest.approx(row.estimates["auc"].value, abs=1e-4)
        halfway = sum(max(returns) >= protocol.initial_return + rise / 2 for returns in curves.returns.tolist())
        assert row.halfway == halfway / len(curves.returns)
    one = 5
    values = (curves.returns[:, one] - protocol.initial_return) / rise
    interval = bootstrap(lambda index: values[index].mean(-1), len(values), protocol)
    assert (curve.low[one], curve.high[one]) == pytest.approx((interval.low, interval.high), abs=6e-5)


def test_the_csv_holds_the_tables_numbers(table):
    lines = list(csv.DictReader(to_csv(table).splitlines()))
    assert [line["id"] for line in lines] == [row.id for row in table.rows]
    for line, row in zip(lines, table.rows, strict=True):
        assert float(line["auc"]) == row.estimates["auc"].value
        assert float(line["steps_95_high"]) == row.estimates["steps_95"].high
        for name, reference in (("tuned_adam", "tuned adam"), ("best_plain", "best plain"), ("control", "control")):
            found = row.against.get(reference)
            assert line[f"{name}_row"] == (found.other if found else "")
            assert line[f"{name}_p"] == (str(found.p) if found else "")
            assert line[f"{name}_auc_low"] == (str(found.estimates["auc"].low) if found else "")


def test_a_row_says_how_its_run_was_checked(records, tmp_path):
    """Claimed, unless there is evidence of these very curves that says more; nothing else of the row changes."""
    folder = copy_of(records, tmp_path)
    (before,) = tables(folder)
    assert {row.state for row in before.rows} == {"claimed"}, "records without evidence"
    best, second = (folder / "training" / f"{row.id}.json" for row in before.rows[:2])
    for path, kept, trials, iterations in ((best, best, 50, 50), (second, best, 50, 50), (second, second, 16, 10)):
        found = TrainingCheck(read_training_record(kept), (), 7, tuple(range(trials)), iterations)
        append_piece(evidence_path(path), of_check(found), lambda one, known: one in known)
    (after,) = tables(folder)
    assert [row.state for row in after.rows] == ["reproduced", "replayed", *["claimed"] * (len(after.rows) - 2)]
    assert after.rows[0].evidence[0].text.startswith("50 of 50 trials trained again to the end")
    (part,) = after.rows[1].evidence
    assert part.text.startswith("16 of 50 trials trained again for 10 of 50 iterations")
    plain = [row.model_copy(update={"state": "claimed", "evidence": ()}) for row in after.rows]
    assert plain == [*before.rows]
    assert [line["state"] for line in csv.DictReader(to_csv(after).splitlines())] == [row.state for row in after.rows]
    shown = [row[-1] for row in presentation.presented(after)[0].rows]
    assert shown == [row.state for row in after.rows]
    assert page_data([after])["tables"][0]["details"][0]["evidence"][0].startswith(after.rows[0].evidence[0].text)


def test_evidence_of_a_check_on_a_cluster_names_no_machine(runs):
    record = read_training_record(runs / "adam")
    here, there = (of_check(TrainingCheck(record, (), 7, (0,), 10, cluster)) for cluster in (False, True))
    assert None not in (here.cpu, here.platform)
    assert (there.cpu, there.platform) == (None, None)
    assert "for 10 of 50 iterations on a cluster, bit for bit" in there.text


@pytest.mark.parametrize("text", ["{}", '[{"kind": "believed"}]', "[NaN", '[{"kind": "reproduced"}]'])
def test_evidence_that_is_not_valid_is_refused(records, tmp_path, text):
    folder = copy_of(records, tmp_path)
    path = evidence_path(next(path for path, one in load(folder).items() if one.key.split == "test"))
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ProtocolError, match="not valid evidence"):
        tables(folder)


def test_only_a_check_of_this_result_that_agreed_is_kept(runs, records, tmp_path):
    folder = copy_of(records, tmp_path)
    record = read_training_record(runs / "adam")
    with pytest.raises(ProtocolError, match="nothing was kept"):
        attest(TrainingCheck(record, ("J of seed 2001",), 7, (0,), 10), folder)
    training_run(tmp_path / "other", 5.0)
    with pytest.raises(ProtocolError, match="another result"):
        attest(TrainingCheck(read_training_record(tmp_path / "other"), (), 7, (0,), 10), folder)
    with pytest.raises(ProtocolError, match="add the run first"):
        attest(TrainingCheck(record, (), 7, (0,), 10), tmp_path)
    assert not [*folder.rglob("evidence/*")]


def copy_of(records, tmp_path):
    return shutil.copytree(records, tmp_path / "records")


def test_more_than_eight_configurations_are_refused(records, tmp_path):
    folder = copy_of(records, tmp_path)
    for number in range(7):
        training_run(tmp_path / str(number), 1.0, settings=[f"learning_rate={number + 1}e-5"], split="tuning")
        add(tmp_path / str(number), folder)
    with pytest.raises(ProtocolError, match="adam was tuned on 9 runs; at most 8 may"):
        tables(folder)


def test_a_raised_version_is_a_method_of_its_own(records):
    record = next(one for one in load(records).values() if family(one) == OUTER_FAMILY)
    (rule,) = record.key.outer
    raised = record.key.model_copy(update={"outer": (rule.model_copy(update={"version": 2}),)})
    assert family(record.model_copy(update={"key": raised})) == f"{OUTER_FAMILY} v2"


@pytest.mark.parametrize(
    ("differences", "p"),
    [([0.1] * 20, 0.0), ([-0.5] * 20, 0.0), ([0.0] * 20, 1.0), ([1e-17, -1e-17] * 10, 1.0), ([0.3], 1.0)],
)
def test_the_p_value_of_equal_differences_does_not_hang_on_rounding(differences, p):
    assert paired_p(differences) == p


def test_a_forecast_without_its_control_still_stands_beside_the_best_plain_method(records, tmp_path):
    folder = copy_of(records, tmp_path)
    (control,) = [path for path, one in load(folder).items() if "last-change" in one.key.label]
    curves_path(control).unlink()
    control.unlink()
    (table,) = tables(folder)
    assert [row.method for row in table.rows if row.forecast] == [table.rows[0].method]
    _, beside = presentation.presented(table)
    assert [row[:2] for row in beside.rows] == [(table.rows[0].method, "best plain")]
    assert f"Without a control, so that the length of its steps may be all that helps: {table.rows[0].method}." in (
        beside.about
    )


def test_a_page_of_runs_leaves_out_an_environment_of_which_no_table_can_be_made(runs, tmp_path):
    """The rows of the forecast track stand; without any of them there is no page, and all reasons are named."""
    write(tmp_path / "forecasts", synthetic_record("tipl", 0.5))
    (forecast,) = (tmp_path / "forecasts").glob("*.json")
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(forecast, folder / "record.json")
    _, left_out = build_of_runs([folder, runs / "sgd"], tmp_path / "page")
    assert json.loads((tmp_path / "page/docs/board/training.json").read_text()) == []
    (reason,) = left_out
    assert "InvertedPendulum-v4: the table needs a test run of the tuned adam method" in reason
    build_of_runs([folder, *(runs / name for name in RUNS)], tmp_path / "page")
    assert len(json.loads((tmp_path / "page/docs/board/training.json").read_text())[0]["rows"]) == 6
    with pytest.raises(ProtocolError, match=r"needs a finished run of the forecast track.*(\n.*)*tuned adam"):
        build_of_runs([runs / "sgd"], tmp_path / "other")


def test_a_test_run_that_tuning_did_not_choose_is_refused(records, tmp_path):
    folder = copy_of(records, tmp_path)
    training_run(tmp_path / "run", 3.0, settings=["learning_rate=1e-3"])
    add(tmp_path / "run", folder)
    with pytest.raises(ProtocolError, match="nor what was best on its tuning trials"):
        tables(folder)


def test_a_table_without_tuned_adam_is_refused(runs, tmp_path):
    add(runs / "adam", tmp_path)
    with pytest.raises(ProtocolError, match="needs a test run of the tuned adam method"):
        tables(tmp_path)
    assert tables(tmp_path / "none") == ()


def test_the_best_plain_method_cannot_be_left_out(records, tmp_path):
    folder = copy_of(records, tmp_path)
    (best,) = [path for path, one in load(folder).items() if one.key.split == "test" and family(one) == OUTER_FAMILY]
    curves_path(best).unlink()
    best.unlink()
    with pytest.raises(ProtocolError, match=r"needs a test run of the best plain method \(adam \+ outer-step scale=3"):
        tables(folder)


@pytest.mark.parametrize("damage", ["renamed", "curves gone", "curves changed", "record cut", "better than it was"])
def test_what_is_committed_is_checked(records, tmp_path, damage):
    folder = copy_of(records, tmp_path)
    path = next(iter(load(folder)))
    if damage == "renamed":
        curves_path(path).rename(curves_path(path.with_name("other.json")))
        path.rename(path.with_name("other.json"))
    elif damage == "better than it was":
        document = json.loads(path.read_text(encoding="utf-8"))
        document["by_trial"]["auc"][3] = 0.99
        path.write_text(json.dumps(document), encoding="utf-8")
    elif damage == "curves gone":
        curves_path(path).unlink()
    elif damage == "curves changed":
        curves_path(path).write_bytes(curves_path(path).read_bytes() + b" ")
    else:
        path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with pytest.raises(ProtocolError):
        tables(folder)


def test_only_whole_runs_are_added_and_none_is_replaced(runs, records, tmp_path):
    folder = copy_of(records, tmp_path)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*.*"))}
    assert add(runs / "adam", folder).exists()
    training_run(tmp_path / "part", 1.0, trials=3)
    with pytest.raises(ProtocolError, match="3 of 50 trials"):
        add(tmp_path / "part", folder)
    training_run(tmp_path / "other", 5.0)
    with pytest.raises(ProtocolError, match="another result of the same run"):
        add(tmp_path / "other", folder)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*.*"))} == before


def test_what_is_tuned_together_is_a_method_with_its_forecaster(records):
    names = {family(record) for record in load(records).values()}
    assert names == {
        "adam",
        "sgd",
        "adam + outer-step",
        "adam + outer-step + jump(linear, forecast)",
        "adam + outer-step + jump(linear, last-change)",
    }
    assert np.isfinite([record["auc"].value for record in load(records).values()]).all()


def test_a_learned_optimizer_stands_beside_its_untrained_self(runs, records, tmp_path):
    """Each is the default of a method of its own; only the trained one rests on meta-training."""
    folder, weights = copy_of(records, tmp_path), "weights=2023-normalised-0"
    for name, settings in (("trained", [weights]), ("untrained", [weights, "trained=false"])):
        training_run(tmp_path / name, 1.1, "optim4rl", (), settings)
        add(tmp_path / name, folder)
    rows = {row.method: row for row in tables(folder)[0].rows if "optim4rl" in row.method}
    trained, untrained = (rows[name] for name in sorted(rows, key=len))
    assert [trained.role, untrained.role] == ["default", "default"]
    assert trained.rests_on == "gradients, meta-trained on gridworlds"
    assert untrained.rests_on == "gradients"
    assert trained.fitted_steps == shipped_records()["2023-normalised-0"].environment_steps
    assert untrained.fitted_steps == 0
    assert "weights=2023-normalised-0@" in trained.method


def test_a_file_that_does_not_ship_is_no_default_and_says_nothing_of_itself(records, tmp_path):
    """Its initial meta-parameters may be anything; only tuning trials make it a row, in its kind's one family."""
    folder = copy_of(records, tmp_path)
    known = MetaParameters.read(shipped_parameters()["2023-normalised-0"])
    swapped = tmp_path / "2023-normalised-0.safetensors"
    MetaParameters(known.rule, known.initial, known.trained).write(swapped)
    settings = [f"weights={swapped}", "trained=false"]
    training_run(tmp_path / "test", 1.1, "optim4rl", (), settings)
    add(tmp_path / "test", folder)
    with pytest.raises(ProtocolError, match="neither the method's default"):
        tables(folder)
    training_run(tmp_path / "tuning", 1.1, "optim4rl", (), settings, split="tuning")
    add(tmp_path / "tuning", folder)
    (row,) = (row for row in tables(folder)[0].rows if "optim4rl" in row.method)
    assert (row.role, row.rests_on, row.fitted_steps) == ("tuned", "gradients, pretrained elsewhere", None)
    assert "weights=file@" in row.method
