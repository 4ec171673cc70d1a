"""Confirmed rows and rows that are not confirmed, in the document and in all that is made from it."""

from __future__ import annotations

import csv
import json

import pytest
from helpers.attesting import piece
from helpers.board_records import record, rows_of
from tipl_bench.leaderboard.build import build
from tipl_bench.leaderboard.store.evidence import append


@pytest.fixture
def built(tmp_path, monkeypatch, known):
    """A board of a confirmed row, one that is not, and one that nobody tried, with its files."""
    records = tmp_path / "records"
    records.mkdir()
    rows = {"mlp": {}, "tipl": {"skill": -0.4, "chance": 0.001}, "linear": None}
    for name, differences in rows.items():
        for seed in (0, 1):
            one = record(name, {"tipl": 0.2, "mlp": 0.5, "linear": 0.8}[name], seed=seed)
            path = records / f"{name}-{seed}.json"
            path.write_text(one.model_dump_json())
            if differences is not None and (name, seed) != ("mlp", 1):
                append(path, one, piece(one, **differences))
    build(records, tmp_path / "out")
    return tmp_path / "out"


def test_a_row_has_the_lowest_state_of_its_seeds_and_its_fresh_skill(built):
    document = json.loads((built / "docs/board/leaderboard.json").read_text())
    rows = rows_of(document)
    assert {name: row["state"] for name, row in rows.items()} == {
        "mlp": "claimed",
        "tipl": "not confirmed",
        "linear": "claimed",
    }
    tipl = rows["tipl"]
    claimed = sum(tipl["seed_skills"]) / 2
    assert tipl["fresh_skill"]["value"] == pytest.approx(claimed - 0.4, abs=1e-4)
    assert tipl["fresh_skill"]["low"] < tipl["fresh_skill"]["value"] < tipl["fresh_skill"]["high"]
    assert tipl["confirmation"].startswith(f"skill {claimed - 0.4:.3f} on 15 fresh trials, {claimed:.3f} on the public")
    assert rows["mlp"]["confirmation"].endswith("(1 of 2 seeds)")
    assert "fresh_skill" not in rows["linear"]


def test_what_is_not_confirmed_is_not_ranked_and_pushes_nobody_down(built):
    document = json.loads((built / "docs/board/leaderboard.json").read_text())
    assert [(row["method"], row["rank"]) for row in document["rows"]] == [("mlp", 1), ("linear", 2), ("tipl", None)]
    assert document["rows"][-1]["greyed"] == "its claim does not hold on fresh trials"


def test_all_tables_show_it_with_its_numbers(built):
    text = (built / "leaderboard/README.md").read_text()
    assert "| fresh skill | 95% interval | state |" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| - | tipl ")]
    assert "**(not confirmed: skill " in line
    assert " | not confirmed | " in line
    with (built / "docs/board/leaderboard.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    states = {line["method"]: (line["state"], line["fresh_skill"] != "") for line in lines}
    assert states == {"tipl": ("not confirmed", True), "mlp": ("claimed", True), "linear": ("claimed", False)}


def test_the_page_shows_it_in_red_with_its_numbers(built, visit):
    visiting = visit(built / "docs/board")
    page = visiting.go()
    badge = page.locator(".badge.not-confirmed").first
    assert badge.inner_text() == "not confirmed"
    assert "fresh trials" in badge.get_attribute("title")
    red = page.evaluate("getComputedStyle(document.querySelector('.reason.not-confirmed')).color")
    assert red == "rgb(164, 14, 38)"
    assert "on the public test trials" in page.locator(".reason.not-confirmed").first.inner_text()
    assert len([cell for cell in visiting.column("fresh skill") if "[" in cell]) == 2
    page.locator("#choose-state").select_option("not confirmed")
    assert visiting.names() == ["tipl"]
