"""What a reader chooses: boards, phases, horizons, filters, search, order; all of it in the address."""

from __future__ import annotations

import copy
import json
import re

import pytest
from helpers import synthetic_documents
from helpers.board_records import NAMES, PROTOCOL_2, across, record, write
from helpers.waiting import until
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.render.site import render

DOCUMENT = synthetic_documents.document(rows=36, boards=3)
OVERALL = DOCUMENT["overall"][0]
BOARD = DOCUMENT["boards"][0]["id"]
ROWS = [row for row in DOCUMENT["rows"] if row["board"] == BOARD]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    render(synthetic_documents.typed(DOCUMENT), folder)
    return folder


def address(**said):
    from urllib.parse import urlencode

    return "#" + urlencode({"view": BOARD, **said})


def shown(value, digits=3):
    return f"{value:.{digits}f}".replace("-", "\u2212") if round(value, digits) else f"{0:.{digits}f}"


def first_line(cells):
    return [cell.split("\n")[0] for cell in cells]


def best_first(rows, value):
    return [row["method"] for row in sorted(rows, key=lambda row: -value(row))]


def test_the_first_view_is_the_overall_table(visit, site):
    visiting = visit(site)
    page = visiting.go()
    assert page.locator("#view-title").inner_text() == "Overall, across environments"
    assert visiting.names() == [entry["method"] for entry in OVERALL["rows"]]
    assert first_line(visiting.column("skill")) == [shown(e["skill"]["value"]) for e in OVERALL["rows"]]
    first = OVERALL["rows"][0]
    member = next(row for row in DOCUMENT["rows"] if row["id"] == first["rows"][0])
    skill = member["phases"]["learning"]["skill"]["mean"]["value"]
    assert visiting.column(first["environments"][0])[0] == shown(skill)
    assert not page.locator("#choose-phase").is_visible()


def test_a_number_is_rounded_once_and_reads_as_in_the_other_tables(visit, tmp_path):
    changed = json.loads(json.dumps(DOCUMENT))
    for row in changed["rows"]:
        row["phases"]["learning"]["skill"]["mean"]["value"] = 0.205537  # and 0.2055 would be shown as 0.205
    render(synthetic_documents.typed(changed), tmp_path)
    visiting = visit(tmp_path)
    visiting.go(address())
    assert set(first_line(visiting.column("skill"))) == {"0.206"}


def test_the_overall_table_shows_lowest_states_and_disputes_and_narrows_by_both(visit, site):
    visiting = visit(site)
    page = visiting.go()
    entries = OVERALL["rows"]
    assert visiting.column("state") == [entry["state"] for entry in entries]
    disputed = [entry["method"] for entry in entries if entry["disputed"]]
    assert disputed
    assert page.locator("#body .reason.disputed").count() == len(disputed)
    page.select_option("#choose-flag", "disputed")
    assert visiting.names() == disputed
    page.select_option("#choose-flag", "")
    page.select_option("#choose-state", "claimed")
    wanted = [entry["method"] for entry in entries if entry["state"] == "claimed"]
    assert 0 < len(wanted) < len(entries)
    assert visiting.names() == wanted
    assert "state=claimed" in page.evaluate("location.hash")


def test_a_board_shows_every_row_with_rank_ties_skill_interval_and_reasons(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    ranked = sorted(ROWS, key=lambda row: (row["rank"] is None, row["rank"]))
    assert visiting.names() == [row["method"] for row in ranked]
    skills = [row["phases"]["learning"]["skill"]["mean"] for row in ranked]
    assert visiting.column("skill") == [f"{shown(s['value'])}\n[{shown(s['low'])}, {shown(s['high'])}]" for s in skills]
    for h in (1, 2, 5, 10):
        values = [row["phases"]["learning"]["skill"]["by_horizon"][h - 1]["value"] for row in ranked]
        assert visiting.column(f"h = {h}") == [shown(value) for value in values]
    assert visiting.column("state") == [row["state"] for row in ranked]
    assert (
        page.locator(".badge.reproduced").first.get_attribute("title")
        == f"run again from its record: {synthetic_documents.ALIKE}"
    )
    assert visiting.column("parameters") == [f"{row['cost']['parameters']:,}" for row in ranked]
    for row in ranked:
        line = page.locator(f'tr[data-row="{row["id"]}"]')
        words = line.inner_text()
        assert (f"greyed: {row['greyed']}" in words) == bool(row["greyed"])
        assert (f"disputed: {row['disputed']}" in words) == bool(row["disputed"])
        assert ("above the span ceiling" in words) == row["above_ceiling"]
        assert ("tied with" in line.text_content()) == (bool(row["tied"]) and row["rank"] is not None)
    assert page.locator("#count").inner_text() == f"{len(ROWS)} rows"


def test_sorting_by_a_heading_turns_around_on_the_second_press_and_says_so(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    values = {row["id"]: row["phases"]["learning"]["repw"]["mean"]["value"] for row in ROWS}
    heading = page.locator("#head th", has_text=re.compile("^REPW$"))
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert visiting.names() == best_first(ROWS, lambda row: -values[row["id"]])
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert visiting.names() == best_first(ROWS, lambda row: values[row["id"]])
    assert page.locator("#head th[aria-sort]").count() == 1
    assert page.evaluate("document.activeElement.textContent") == "REPW"


@pytest.mark.parametrize("descending", ["", "-"])
def test_rows_without_a_rank_come_last_whichever_way(visit, site, descending):
    visiting = visit(site)
    visiting.go(address(sort=f"{descending}rank"))
    unranked = sum(row["rank"] is None for row in ROWS)
    assert unranked
    assert [rank.split("\n")[0][0] for rank in visiting.column("rank")[-unranked:]] == ["-"] * unranked


def test_phase_and_horizon_choose_the_numbers(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    page.select_option("#choose-phase", "converged")
    page.select_option("#choose-horizon", "5")
    until(page, "document.querySelector('#caption').textContent.includes('h = 5')")
    ranked = sorted(ROWS, key=lambda row: (row["rank"] is None, row["rank"]))
    tables = [row["phases"]["converged"] for row in ranked]
    assert first_line(visiting.column("skill")) == [shown(t["skill"]["by_horizon"][4]["value"]) for t in tables]
    repw = [table["repw"]["by_horizon"][4]["value"] for table in tables]
    assert first_line(visiting.column("REPW")) == [shown(v, 2 if abs(v) < 10 else 1) for v in repw]
    assert "Ranks and ties are those of the headline" in page.locator("#view-about").inner_text()


def test_a_board_without_a_learning_phase_opens_on_the_phase_that_ranks_it(visit, toys, tmp_path):
    rows = [record("tipl", 0.5, phase="converged"), record("mlp", 0.8, phase="converged")]
    found = document(write(toys / "records", *rows))
    render(found, tmp_path / "page")
    visiting = visit(tmp_path / "page")
    page = visiting.go()
    assert page.locator("#choose-phase").input_value() == "all"
    assert "all phase, mean over horizons" in page.locator("#view-about").inner_text()
    assert first_line(visiting.column("skill")) == [
        shown(row.phases["all"]["skill"].mean.value) for row in sorted(found.rows, key=lambda row: row.rank)
    ]
    page.select_option("#choose-phase", "converged")
    until(page, "document.querySelector('#view-about').textContent.includes('headline: all phase, mean over horizons')")


def test_filters_and_search_narrow_the_rows_and_the_count_says_so(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    page.select_option("#choose-consumes", "gradients")
    wanted = [row for row in ROWS if row["consumes"] == "gradients"]
    assert sorted(visiting.names()) == sorted(row["method"] for row in wanted)
    assert page.locator("#count").inner_text() == f"{len(wanted)} of {len(ROWS)} rows"
    page.select_option("#choose-consumes", "")
    page.select_option("#choose-flag", "disputed")
    assert sorted(visiting.names()) == sorted(row["method"] for row in ROWS if row["disputed"])
    page.select_option("#choose-flag", "")
    page.fill("#choose-q", "QUICK width=67")
    until(page, "document.querySelector('#count').textContent.includes(' of ')")
    found = [row for row in ROWS if row["budget"] == "quick" and "width=67" in row["variant"]]
    assert visiting.names() == [row["method"] for row in found]
    page.fill("#choose-q", "no such row")
    page.get_by_text("No row matches").wait_for()
    assert page.locator("#count").inner_text() == f"0 of {len(ROWS)} rows"
    page.click("#clear")
    until(page, f"document.querySelector('#count').textContent === '{len(ROWS)} rows'")
    assert page.locator("#choose-q").input_value() == ""


def test_the_address_holds_the_view_and_gives_it_back(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    page.select_option("#choose-phase", "all")
    page.select_option("#choose-state", "rescored")
    page.get_by_role("button", name="fit, s").click()
    page.fill("#choose-q", "o")
    until(page, "location.hash.includes('q=o')")
    seen = (visiting.names(), visiting.column("skill"), page.evaluate("location.hash"))
    again = visit(site)
    again.go(seen[2])
    until(again.page, "document.querySelector('#caption').textContent.includes('all phase')")
    assert (again.names(), again.column("skill"), again.page.evaluate("location.hash")) == seen
    assert again.page.locator("#choose-q").input_value() == "o"


def test_back_and_forward_walk_through_the_views(visit, site):
    visiting = visit(site)
    page = visiting.go()
    page.select_option("#choose-view", BOARD)
    page.get_by_role("button", name="h = 10").click()
    by_horizon = visiting.names()
    page.select_option("#choose-consumes", "gradients")
    page.go_back()
    until(page, "document.querySelector('#choose-consumes').value === ''")
    assert visiting.names() == by_horizon
    page.go_back()
    page.go_back()
    until(page, "document.querySelector('#choose-view').value === 'overall'")
    assert visiting.names() == [entry["method"] for entry in OVERALL["rows"]]
    page.go_forward()
    until(page, "document.querySelector('#choose-view').value !== 'overall'")
    assert page.locator("#head th[aria-sort]").inner_text() == "rank"


@pytest.mark.parametrize(
    "nonsense",
    [
        "#%",
        "#view=nowhere&phase=never&horizon=99&sort=--x&page=-4&open=none",
        "#view=__proto__",
        "#" + "x" * 5000,
        "#&=&=",
    ],
)
def test_an_address_of_nonsense_shows_the_first_view(visit, site, nonsense):
    visiting = visit(site)
    visiting.go(nonsense)
    assert visiting.names() == [entry["method"] for entry in OVERALL["rows"]]


def test_the_plots_follow_the_view_and_say_in_words_what_they_show(visit, site):
    visiting = visit(site)
    page = visiting.go(address())
    plots = page.locator("#plots figure")
    assert plots.count() == 2
    horizon, cost = plots.nth(0), plots.nth(1)
    best = max(
        (row for row in ROWS if not row["greyed"]), key=lambda row: row["phases"]["learning"]["skill"]["mean"]["value"]
    )
    assert f"{best['method']}" in horizon.get_by_role("img").text_content()
    assert horizon.locator("path.line.ceiling").first.get_attribute("d")
    front = pareto(ROWS)
    assert cost.locator("table tbody th").all_text_contents() == front
    page.select_option("#choose-consumes", "gradients")
    until(page, "document.querySelector('#count').textContent.includes(' of ')")
    assert cost.locator("table tbody th").all_text_contents() == pareto(
        [r for r in ROWS if r["consumes"] == "gradients"]
    )


def pareto(rows):
    """Labels of the rows that no other row beats in both, by trying all pairs."""
    rows = [row for row in rows if not row["greyed"]]

    def point(row):
        return row["cost"]["fit_seconds"], row["phases"]["learning"]["skill"]["mean"]["value"]

    def beaten(row):
        seconds, skill = point(row)
        return any(s <= seconds and v >= skill and (s, v) != (seconds, skill) for s, v in map(point, rows))

    kept = sorted((row for row in rows if not beaten(row)), key=point)
    return [f"{row['method']} {row['variant']}".strip() for row in kept]


def test_every_row_view_names_the_dataset_and_links_to_its_board(visit, site):
    visiting = visit(site)
    page = visiting.go("#view=rows")
    assert len(visiting.names()) == len(DOCUMENT["rows"])
    page.locator("#body a").first.click()
    until(page, "document.querySelector('#choose-view').value !== 'rows'")
    assert page.locator("#choose-view").input_value() in {board["id"] for board in DOCUMENT["boards"]}


def test_ranks_by_returns_stand_beside_those_by_skill_and_the_best_by_them_says_so(visit, site):
    board = DOCUMENT["boards"][0]
    page = visit(site)
    page.go(f"#view={board['id']}&sort=rank_repw")
    rows = [row for row in DOCUMENT["rows"] if row["board"] == board["id"] and row["ranks"]]
    ranks = sorted(row["ranks"]["repw"]["rank"] for row in rows)
    shown = page.column("rank by REPW")
    assert shown[: len(ranks)] == [str(rank) for rank in ranks]
    leading = [row["ranks"]["repw"] for row in rows if row["ranks"]["repw"]["rank"] == 1 and row["rank"] != 1]
    badges = page.page.locator("#body .badge", has_text="best by REPW").all_inner_texts()
    assert sorted(badges) == sorted("tied for best by REPW" if rank["tied"] else "best by REPW" for rank in leading)


def test_a_dataset_with_boards_of_two_protocols_leads_from_one_to_the_other(visit, tmp_path):
    both = copy.deepcopy(synthetic_documents.document(6, 2))
    newer, older = both["boards"]
    moved = {"dataset": newer["dataset"], "digest": newer["digest"], "environment": newer["environment"]}
    older.update(moved, superseded="a newer protocol")
    newer.update(protocol=2)
    render(synthetic_documents.typed(both), tmp_path)
    page = visit(tmp_path).go(f"#view={older['id']}")
    assert "Superseded by a newer protocol" in page.locator("#view-about").inner_text()
    page.get_by_role("link", name="The board of this dataset under protocol 2").click()
    until(page, f"document.getElementById('choose-view').value === {newer['id']!r}")
    options = page.locator("#choose-view option").all_inner_texts()
    assert [one for one in options if newer["dataset"] in one] == [
        f"{newer['dataset']}, protocol 2",
        f"{newer['dataset']}, protocol 1 (superseded)",
    ]


def test_of_two_protocols_the_newer_comparison_comes_first_and_boards_of_one_dataset_are_told_apart(visit, toys):
    records = [*across(NAMES[:2]), *across(NAMES[:2], protocol=PROTOCOL_2)]
    render(document(write(toys / "records", *records)), toys / "site")
    visiting = visit(toys / "site")
    page = visiting.go()
    choices = page.locator("#choose-view option").all_inner_texts()
    overall = "Overall, across environments, protocol"
    assert choices[:3] == [f"{overall} 2", f"{overall} 1 (superseded)", "Every row of every board"]
    assert choices[3:5] == ["env0/ppo-v1, protocol 2", "env0/ppo-v1, protocol 1 (superseded)"]
    for protocol, other, title in ((2, 1, f"{overall} 2"), (1, 2, f"{overall} 1 (superseded)")):
        assert page.locator("#view-title").inner_text() == title
        assert f"under protocol {protocol}:" in page.locator("#view-about").inner_text()
        assert len(visiting.names()) == 2
        page.locator("#body .opener").first.click()
        line = page.locator(".inside td").nth(0).inner_text()
        assert line == "env0/ppo-v1"
        page.get_by_role("link", name=f"The comparison under protocol {other}").click()
        until(page, f"document.querySelector('#view-title').innerText.includes('protocol {other}')")
    page.select_option("#choose-view", "rows")
    assert visiting.column("dataset").count("env0/ppo-v1, protocol 1 (superseded)") == 2
