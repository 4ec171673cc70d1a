"""The leaderboard's files: page, data and tables; the same records give the same bytes."""

from __future__ import annotations

import csv
import json
import re
import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.board_records import PROTOCOL_2, RESULTS, record, write
from markdown_it import MarkdownIt
from tipl_bench.leaderboard.build import MARKDOWN, SUITE, build
from tipl_bench.leaderboard.document import entries as entries_module
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.document.schema import LeaderboardDocument, read_document
from tipl_bench.leaderboard.excerpt import FIRST, LAST
from tipl_bench.leaderboard.render import markdown, site, table
from tipl_bench.leaderboard.render.escaping import csv_text
from tipl_bench.leaderboard.store.evidence import RowStatus
from tipl_bench.utils.errors import ProtocolError

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script> | `x` [a](https://evil.example) # b"


def made(folder, *records):
    """The files by name."""
    return {path.name: path for path in build(write(folder / "records", *records), folder / "out")}


def tables(markdown):
    """Each table of a page as a list of rows of shown cells."""
    found, row = [], []
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for number, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            row = []
            found[-1].append(row)
        elif token.type in ("td_open", "th_open"):
            kinds = ("text", "text_special")
            row.append("".join(part.content for part in tokens[number + 1].children if part.type in kinds))
    return found


def test_the_markdown_page_holds_every_row_with_rank_seeds_state_and_ties(tmp_path):
    records = [record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1), record("tipl", 0.5, copy=1)]
    text = made(tmp_path, *records)["README.md"].read_text()
    ((head, *rows),) = tables(text)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert {row["predictor"] for row in found[:2]} == {"tipl", "tipl copy=1"}
    assert found[2]["predictor"] == "mlp"
    assert [row["rank"] for row in found] == ["1", "1", "3"]
    (two,) = [row for row in found if row["seeds (spread)"].startswith("2 (0.")]
    assert two["state"] == "claimed"
    assert two["tied with"] == "tipl copy=1"


def test_boards_of_two_protocols_stand_below_one_another_with_ranks_by_returns_and_results_by_position(tmp_path):
    newer = [record("mlp", 0.8, protocol=PROTOCOL_2), record("tipl", 0.5, protocol=PROTOCOL_2)]
    build(write(tmp_path / "records", record("tipl", 0.5), *newer), tmp_path)
    text = (tmp_path / MARKDOWN).read_text()
    headings = re.findall("^## (?!Overall)(.*)", text, re.MULTILINE)
    assert headings == [f"InvertedPendulum-v4: toy/ppo-v1, protocol {version}" for version in ("2", "1 (superseded)")]
    first, second = re.split("^## Inv.*", text, flags=re.MULTILINE)[1:]
    head, best, *_ = tables(first)[0]
    assert head[:4] == ["rank", "predictor", "budget", "skill"]
    shown = dict(zip(head, best, strict=True))
    places = [shown[f"rank by {metric}"] for metric in ("REPW", "REPW where returns move")]
    assert ([shown["rank"], shown["predictor"], *places], shown["seeds (spread)"]) == (["1", "tipl", "1", "1"], "1 (-)")
    assert "Skill by the origin's position within the PPO iteration" in first
    assert "| REPW of a perfect forecast | 0.5 | 0.5 |" in first
    assert "by REPW" not in second
    assert "Superseded" in second


def test_when_texts_hold_markup_then_the_markdown_page_shows_them_as_text(tmp_path):
    records = [
        record("tipl", 0.3),
        record("mlp", 0.5, note=EVIL),
        record("mlp", 0.5, dataset="a/b-v1", environment=EVIL),
    ]
    files = made(tmp_path / "evil", *records)
    plain = made(
        tmp_path / "plain", record("tipl", 0.3), record("mlp", 0.5, note=1), record("mlp", 0.5, dataset="a/b-v1")
    )
    text = files["README.md"].read_text()
    parsed = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {child.type for token in parsed for child in token.children or []}
    assert not kinds & {"image", "html_inline"}
    links = [c.attrs["href"] for token in parsed for c in token.children or [] if c.type == "link_open"]
    downloads = [f"../docs/board/leaderboard.{suffix}" for suffix in ("json", "csv", "parquet", "bib")]
    assert links == ["../docs/intervals.md", "../docs/confirmation.md", *downloads, "../docs/reference.md"]
    assert [token for token in parsed if token.type == "html_block"] == []
    assert [len(table) for table in tables(text)] == [len(table) for table in tables(plain["README.md"].read_text())]
    assert text.count("\n") == plain["README.md"].read_text().count("\n")
    assert "://" not in text


def test_the_same_records_give_the_same_bytes(tmp_path):
    folder = write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5))
    first = [path.read_bytes() for path in build(folder, tmp_path / "a")]
    assert [path.read_bytes() for path in build(folder, tmp_path / "b")] == first
    assert len(first) >= 5


def test_the_json_file_is_the_document(tmp_path):
    files = made(tmp_path, record("mlp", 0.8), record("tipl", 0.5, note=EVIL))
    made_from = document(tmp_path / "records")
    assert json.loads(files["leaderboard.json"].read_text()) == made_from.model_dump(mode="json")
    assert read_document(files["leaderboard.json"]) == made_from


def test_the_table_has_a_line_for_each_row_phase_and_horizon_with_the_documents_numbers(tmp_path):
    files = made(tmp_path, record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1))
    board, frame = document(tmp_path / "records"), pd.read_parquet(files["leaderboard.parquet"])
    assert len(frame) == 2 * 2 * 4  # rows, phases, horizons and their mean
    assert set(frame["horizon"]) == {"1", "2", "3", "mean"}
    names = [metric.name for metric in board.scores]
    for row in board.rows:
        for phase, metrics in row.phases.items():
            own = frame[(frame["row"] == row.id) & (frame["phase"] == phase)].set_index("horizon")
            for name in names:
                series = dict(zip("123", metrics[name].by_horizon, strict=True))
                series |= {"mean": metrics[name].mean} if metrics[name].mean else {}
                for horizon, estimate in series.items():
                    found = list(own.loc[horizon, [name, f"{name}_low", f"{name}_high"]].astype(float).fillna(-1.0))
                    assert found == [-1.0 if x is None else x for x in (estimate.value, estimate.low, estimate.high)]
            assert own["wpe"].isna().to_dict() == {"1": False, "2": False, "3": False, "mean": True}
            assert set(own["state"]) == {"claimed"}
            assert set(own["digest"]) == {"a" * 64}
            assert [list(seeds) for seeds in own["seeds"]] == [[*row.seeds]] * 4
            assert [list(hashes) for hashes in own["forecasts_sha256"]] == [["b" * 64] * len(row.seeds)] * 4


def test_the_columns_have_declared_types_also_where_nothing_is_known(tmp_path):
    files = made(tmp_path, record("mlp", 0.8))  # its commit, GPU and evidence are unknown
    types = {field.name: field.type for field in pq.read_schema(files["leaderboard.parquet"])}
    assert not [name for name, kind in types.items() if pa.types.is_null(getattr(kind, "value_type", kind))]
    assert types["commit"] == pa.list_(pa.string())
    assert types["disputed"] == pa.string()
    assert types["rank"] == pa.int64()


def test_the_csv_has_the_columns_and_values_of_the_parquet_table_but_for_the_provenance(tmp_path):
    files = made(tmp_path, record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1))
    frame = pd.read_parquet(files["leaderboard.parquet"])
    lines = list(csv.DictReader(files["leaderboard.csv"].read_text().splitlines()))
    provenance = ["record", "commit", "dirty", "forecasts_sha256", "cpu", "gpu", "isolation", "validation_runs"]
    provenance += [f"code_{name}" for name in ("distribution", "version", "url", "repository", "commit", "paper")]
    assert list(lines[0]) == [name for name in frame if name not in provenance]
    for line, (_, row) in zip(lines, frame.iterrows(), strict=True):
        assert (line["row"], line["horizon"]) == (row["row"], row["horizon"])
        assert json.loads(line["seeds"]) == list(row["seeds"])
        for name in ("skill", "skill_low", "wpe", "gain_high", "reset_noise"):
            assert (line[name] == "") == pd.isna(row[name])
            assert line[name] == "" or float(line[name]) == row[name]


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@x", "a\nb", "\t=1", "\r=1", " =1", '"=1', "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x",
        "\ufe661", "A;=HYPERLINK(x)", 'A;"=1+1', "A; -1", "A;\uff1d1", ";;=1", 'a"b;+1', "A,=1",
    ],
)  # fmt: skip
def test_no_spreadsheet_takes_a_strangers_text_for_a_formula(text, delimiter):
    line = f"{csv_text('first')},{csv_text(text)},1"
    (cells,) = csv.reader([line], delimiter=delimiter)  # a second line would be another row
    folded = [unicodedata.normalize("NFKC", cell).strip() for cell in cells]
    assert not [cell for cell in folded if cell.startswith(tuple("=+-@"))]


@pytest.mark.parametrize("text", ["", "plain", 'a "quoted", b', "1; 2", "a=b", "[-1,-2]"])
def test_a_harmless_text_is_read_from_csv_as_it_is(text):
    assert list(csv.reader([f"{csv_text(text)},1"])) == [[text, "1"]]


def test_a_metric_that_is_added_to_the_table_gets_its_columns_everywhere(tmp_path):
    """What the table of metrics says of one more is all that tables and page need."""
    before = document(write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5))).model_dump(mode="json")
    another = {**before["metrics"][0], "name": "another", "label": "another label", "digits": 1}
    before["metrics"].append(another)
    for row in before["rows"]:
        for phase in row["phases"].values():
            phase["another"] = phase["skill"]
    board = LeaderboardDocument.model_validate(before)
    assert "| another label | 95% interval |" in markdown.render(board)
    assert {"another", "another_low", "another_high"} <= {*table.flat(board).column_names}
    (page,) = site.render(board, tmp_path / "site")
    assert "another label" in page.read_text()


def test_when_the_dataset_is_yanked_then_its_rows_are_greyed_and_the_reason_is_told(tmp_path, store):
    assert "yanked" not in made(tmp_path / "before", record("tipl", 0.5))["README.md"].read_text()
    store.mkdir()
    entry = {"environment": "InvertedPendulum-v4", "summary": "A toy", "yanked": "wrong <seeds>"}
    lines = [f"{name} = {value!r}" for name, value in (entry | {"digest": "a" * 64}).items()]
    (store / "catalog.toml").write_text("\n".join(['["toy/ppo-v1"]', *lines]))
    files = made(tmp_path, record("tipl", 0.5))
    text, page = (files[name].read_text() for name in ("README.md", "index.html"))
    assert text.count("wrong &lt;seeds&gt;") == 2
    assert "wrong \\u003cseeds\\u003e" in page
    assert tables(text)[0][1][0] == "-"


def test_greyed_rows_stand_last_with_their_reason_and_disputed_ones_are_marked(tmp_path, monkeypatch):
    standing = RowStatus("rescored", "skill is *0.1* lower", ())
    monkeypatch.setattr(entries_module, "row_status", lambda path, one: standing)
    text = made(tmp_path, record("tipl", 0.3), record("tipl", 0.5, version=2))["README.md"].read_text()
    ((_, first, last),) = tables(text)
    assert first[1] == "tipl (disputed: seed 0: skill is *0.1* lower)"
    assert last[0] == "-"
    assert last[1].startswith("tipl (greyed: superseded by version 2)")


def test_overall_stands_first_with_each_environments_skill_and_the_lowest_state(tmp_path, store, monkeypatch):
    store.mkdir()
    entry = 'summary = "A toy"\ndefault = true\ndigest = "' + "a" * 64 + '"\n'
    names = ("env0", "env1")
    (store / "catalog.toml").write_text("".join(f'["{n}/ppo-v1"]\nenvironment = "{n}"\n{entry}' for n in names))
    runs = [record(p, r, dataset=f"{n}/ppo-v1", environment=n) for n in names for p, r in (("mlp", 0.8), ("tipl", 0.5))]
    fine, disputed = RowStatus("rescored", None, ()), RowStatus("claimed", "no", ())
    monkeypatch.setattr(
        entries_module,
        "row_status",
        lambda path, one: disputed if (one.key.method.name, one.key.dataset.environment) == ("mlp", "env1") else fine,
    )
    text = made(tmp_path, *runs)["README.md"].read_text()
    assert text.index("## Overall") < text.index("## env0")
    head, first, second = tables(text)[0]
    assert head[:2] == ["rank", "predictor"]
    assert head[5:9] == ["share of the span ceiling", "95% interval", "error ratio", "95% interval"]
    assert head[9:11] == ["env0", "env1"]
    assert (first[:2], second[:2]) == (["1", "tipl"], ["2", "mlp (disputed: env1: seed 0: no)"])
    assert [row[11] for row in (head, first, second)] == ["lowest state", "rescored", "claimed"]


def test_when_there_are_too_few_trials_then_nothing_is_ranked(tmp_path):
    text = made(tmp_path, record("tipl", 0.2, trials=5), record("mlp", 0.8, trials=5))["README.md"].read_text()
    assert "Not ranked" in text
    assert [row[0] for row in tables(text)[0][1:]] == ["-", "-"]


def test_when_a_record_is_wrong_then_no_file_is_written(tmp_path):
    folder = write(tmp_path / "records", record())
    (folder / "0.json").write_text("{}")
    with pytest.raises(ProtocolError):
        build(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_readme_shows_the_best_rows_of_both_tracks_as_the_whole_leaderboard_has_them():
    readme, board = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "leaderboard/README.md"))
    first = re.split(r"(?m)^## (?!Overall)", board)[1]
    assert first.startswith("InvertedPendulum-v4: inverted-pendulum/ppo-head-v1")
    (head, *whole), training = tables(first)[0], board.partition("# Training track")[2]
    forecasts, trained = (table for table in tables(readme) if "track" in table[0][0])
    columns = [head.index(name) for name in ("predictor", *forecasts[0][1:])]
    rows = [[row[column] for column in columns] for row in whole]
    assert forecasts[1:] == [row for row in rows if row in forecasts]
    assert (forecasts[1], forecasts[-1][0]) == (rows[0], "persistence")
    for environment in {row[0] for row in trained[1:]}:
        (all_rows,) = [
            table
            for part in re.split(r"(?m)^## ", training)
            if part.startswith(f"{environment}, ")
            for table in tables(part)
        ]
        best = next(row[1:] for row in trained if row[0] == environment)
        places = [all_rows[0].index(name) for name in ("method", "AUC", "solved", "of tuned Adam's")]
        assert best == [all_rows[1][place] for place in (*places, places[-1] + 1)]


def test_a_folder_without_the_marked_readme_gets_none_and_text_around_the_marks_stays(tmp_path):
    records = write(tmp_path / "records", record("tipl", 0.5), record("mlp", 0.8, text=EVIL))
    build(records, tmp_path / "out")
    readme = tmp_path / "out" / "README.md"
    assert not readme.exists()
    readme.write_text("# Mine\n")
    build(records, tmp_path / "out")
    assert readme.read_text() == "# Mine\n"
    readme.write_text(f"# Mine\n\n{FIRST}\nold\n{LAST}\n\nAfter\n")
    assert readme in build(records, tmp_path / "out")
    text = readme.read_text()
    assert text.startswith(f"# Mine\n\n{FIRST}\n\n|")
    assert text.endswith(f"|\n\n{LAST}\n\nAfter\n")
    assert "old" not in text
    assert "<script>" not in text
    build(records, tmp_path / "out")
    assert readme.read_text() == text


def test_the_committed_files_are_what_the_committed_records_give(tmp_path):
    shutil.copy(ROOT / "README.md", tmp_path)
    written = build(RESULTS, tmp_path)
    assert tmp_path / SUITE in written, "nobody edits the suite `board` by hand"
    stale = [
        path.name
        for path in written
        if path.suffix != ".parquet" and path.read_bytes() != (ROOT / path.relative_to(tmp_path)).read_bytes()
    ]
    assert stale == [], "run `tipl-bench leaderboard build` and commit what it writes"
