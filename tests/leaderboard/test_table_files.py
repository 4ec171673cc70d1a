"""A CSV file a table, beside the page."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from helpers import synthetic_documents, synthetic_training
from helpers.board_records import record, write
from tipl_bench.cli import main
from tipl_bench.leaderboard.build import build, export_tables, write_tables

DOCUMENT = synthetic_documents.document(rows=20, boards=2, phases=("learning", "converged"))


def lines(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    document = synthetic_documents.typed(DOCUMENT)
    return write_tables(document, [synthetic_training.table()], tmp_path_factory.mktemp("tables"))


def test_each_table_has_a_file(files):
    boards = [board["id"] for board in DOCUMENT["boards"]]
    assert set(files) == {"overall-p1", *boards, f"training/{synthetic_training.ENVIRONMENT}"}
    names = {path.name for path in files.values()}
    assert names >= {"overall-p1.csv", "training-invertedpendulum-v4.csv"}
    assert len(names) == len(files)


def test_a_board_has_a_line_a_row_with_the_numbers_that_its_page_shows_first(files):
    for board in DOCUMENT["boards"]:
        rows = [row for row in DOCUMENT["rows"] if row["board"] == board["id"]]
        found = lines(files[board["id"]])
        assert [line["row"] for line in found] == [row["id"] for row in rows]
        for line, row in zip(found, rows, strict=True):
            measured = row["phases"]["learning"]
            assert line["phase"] == "learning"
            assert line["rank"] == ("" if row["rank"] is None else str(row["rank"]))
            assert json.loads(line["tied"]) == row["tied"]
            for name in ("skill", "repw"):
                assert float(line[f"{name}_low"]) == measured[name]["mean"]["low"]
            for h, estimate in enumerate(measured["skill"]["by_horizon"], 1):
                assert (float(line[f"skill_h{h}"]), float(line[f"skill_h{h}_high"])) == (
                    estimate["value"],
                    estimate["high"],
                )
            assert "wpe" not in line  # it has no mean over horizons


def test_a_comparison_across_environments_has_a_line_a_method(files):
    (comparison,) = DOCUMENT["overall"]
    found = lines(files["overall-p1"])
    assert [line["label"] for line in found] == [entry["label"] for entry in comparison["rows"]]
    rows = {row["id"]: row for row in DOCUMENT["rows"]}
    for line, entry in zip(found, comparison["rows"], strict=True):
        assert float(line["error_ratio_high"]) == entry["error_ratio"]["high"]
        for environment, member in zip(entry["environments"], entry["rows"], strict=True):
            skill = rows[member]["phases"]["learning"]["skill"]["mean"]["value"]
            assert float(line[f"skill in {environment}"]) == skill


def test_a_text_of_a_stranger_stays_a_cell(tmp_path):
    document = synthetic_documents.hostile()
    files = write_tables(synthetic_documents.typed(document), [], tmp_path)
    for board in document["boards"]:
        rows = [row for row in document["rows"] if row["board"] == board["id"]]
        text = files[board["id"]].read_text(encoding="utf-8")
        assert text.count("\n") == len(rows) + 1
        assert len({len(line) for line in csv.reader(text.splitlines())}) == 1
    assert all(path.parent == tmp_path for path in files.values())


def test_a_build_removes_the_tables_of_boards_that_are_gone_and_nothing_else(tmp_path):
    folder = tmp_path / "docs/board/tables"
    build(write(tmp_path / "both", record("tipl", 0.5), record("tipl", 0.5, dataset="other/ppo-v1")), tmp_path)
    assert len([*folder.iterdir()]) > 1
    (folder / "notes.csv").write_text("mine")
    build(write(tmp_path / "one", record("tipl", 0.5)), tmp_path)
    (kept,) = {path.name for path in folder.iterdir()} - {"notes.csv"}
    assert kept.startswith("board-toy")


def test_an_export_leaves_files_that_have_such_names(tmp_path):
    mine = [tmp_path / name for name in ("training-loss.csv", "board-minutes.csv", "overall-costs.csv")]
    for path in mine:
        path.write_text("mine")
    export_tables(write(tmp_path / "records", record("tipl", 0.5)), tmp_path)
    assert all(path.read_text() == "mine" for path in mine)
    assert len([*tmp_path.glob("*.csv")]) == len(mine) + 1


def test_the_command_line_writes_the_tables_and_the_citations(tmp_path):
    records, out = write(tmp_path / "records", record("tipl", 0.5), record("mlp", 0.8)), tmp_path / "out"
    command = ["leaderboard", "export", "--csv", "--records", str(records), "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    (table,) = out.glob("*.csv")
    assert [line["method"] for line in lines(table)] == ["tipl", "mlp"]
    assert "@misc{toy-ppo-v1-aaaaaaaa," in (out / "leaderboard.bib").read_text(encoding="utf-8")
    assert {line.removeprefix("wrote ") for line in result.output.splitlines()} == {*map(str, out.iterdir())}
