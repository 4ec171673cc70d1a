"""What leads away from a row: its own address, another row beside it, tables to download, and how to cite it."""

from __future__ import annotations

import pytest
from helpers import synthetic_documents, synthetic_training
from helpers.synthetic_training import ADAM, AUC, CONTROL, ENVIRONMENT, FORECAST, PLAIN, SGD, identifier
from helpers.waiting import until
from tipl_bench.leaderboard.render.site import render
from tipl_bench.leaderboard.training.export import page_data

DOCUMENT = synthetic_documents.document(rows=36, boards=3)
BOARD = DOCUMENT["boards"][0]
ROWS = [row for row in DOCUMENT["rows"] if row["board"] == BOARD["id"]]
ROW = ROWS[2]
ENTRY = DOCUMENT["overall"][0]["rows"][1]
FILES = {BOARD["id"]: "tables/board-one.csv", f"training/{ENVIRONMENT}": "tables/training-one.csv"}
CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    training = page_data([synthetic_training.table()])
    render(synthetic_documents.typed(DOCUMENT), folder, training=training, files=FILES)
    return folder


def anchor(row):
    """The address that is promised: dataset, then the row's name on its board."""
    return f"#{BOARD['dataset']}/{row['id'].removeprefix(BOARD['dataset'].replace('/', '-') + '-')}"


def in_view(page, selector):
    return page.evaluate(
        "selector => { const { top, bottom } = document.querySelector(selector).getBoundingClientRect();"
        " return bottom > 0 && top < innerHeight; }",
        selector,
    )


def test_a_rows_own_address_opens_scrolls_to_and_marks_it_and_no_other(visit, site):
    page = visit(site).go(anchor(ROW))
    page.wait_for_selector(".inside .sections")
    assert page.locator("#choose-view").input_value() == BOARD["id"]
    assert page.locator("tr.linked").get_attribute("data-row") == ROW["id"]
    assert page.locator('[aria-current="true"]').count() == 1
    assert page.evaluate("document.activeElement.dataset.opener") == ROW["id"]
    until(page, "scrollY > 0")
    assert in_view(page, "tr.linked")
    line, plain = (page.locator(f"{row} > td").first for row in ("tr.linked", "#body > tr:not(.linked):not(.details)"))
    color = "element => getComputedStyle(element).backgroundColor"
    assert line.evaluate(color) != plain.evaluate(color)


def test_the_link_of_an_opened_row_is_copied_whole(visit, site):
    page = visit(site, **CLIPBOARD).go(f"#open={ROW['id']}")
    page.wait_for_selector(".inside .sections")
    page.get_by_role("button", name="Copy: Link to this row").click()
    page.get_by_text("copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == (site / "index.html").as_uri() + anchor(ROW)


def test_overall_entries_and_rows_of_the_training_track_have_addresses_too(visit, site):
    page = visit(site).go()
    page.locator("#body .opener").nth(1).click()
    link = page.locator(".inside").get_by_role("link", name="Link to this row").get_attribute("href")
    assert link.startswith("#overall/")
    again = visit(site).go(link)
    assert again.locator("tr.linked .opener").inner_text() == ENTRY["method"]
    page = visit(site).go(f"#training/{ENVIRONMENT}/{PLAIN}")
    until(page, "document.activeElement.dataset.run !== undefined")
    assert page.evaluate("document.activeElement.dataset.run") == identifier(PLAIN)
    assert page.locator("#training tr.linked [aria-expanded=true]").count() == 1
    assert in_view(page, "#training tr.linked")
    assert page.locator("#training .inside").get_by_role("link", name="Link to this row").get_attribute("href") == (
        f"#training/{ENVIRONMENT}/{PLAIN}"
    )


def test_rows_of_the_training_track_open_and_close_with_the_address(visit, site):
    page = visit(site).go(f"#view={BOARD['id']}")
    button = page.locator(f'[data-run="{identifier(FORECAST)}"]')
    button.click()
    place = page.locator("#training .inside")
    assert place.locator("figure svg.chart path.line").count() == 4  # its curve, two references', and the line at 1
    differences = place.locator("section", has_text="Differences").locator("tbody th")
    assert differences.all_inner_texts() == ["tuned adam", "best plain", "control"]
    assert f"run={identifier(FORECAST).replace('+', '%2B')}" in page.evaluate("location.hash")
    assert page.locator("#choose-view").input_value() == BOARD["id"]
    page.go_back()
    until(page, "!document.querySelector('#training .inside')")
    assert button.get_attribute("aria-expanded") == "false"


def test_the_curves_of_the_training_track_are_drawn_with_bands_and_as_numbers(visit, site):
    page = visit(site).go()
    figure = page.locator("#training figure").first
    picture = figure.get_by_role("img", name=f"Mean curves of {ENVIRONMENT}")
    assert picture.locator("path.band").count() == len(AUC)
    assert picture.locator("path.line").count() == len(AUC) + 1
    assert figure.locator(".legend li").count() == len(AUC)
    lines = figure.locator("tbody tr")
    assert lines.count() == len(synthetic_training.STEPS)
    assert lines.nth(4).locator("th, td").all_text_contents()[:2] == ["8,192", "0.450 [0.400, 0.500]"]


def cells(page, place):
    lines = page.locator(f"{place} .answer table").first.locator("tbody tr")
    return [line.locator("th, td").all_text_contents() for line in lines.all()]


def shown(estimate, digits=3):
    value, low, high = (f"{estimate[name]:.{digits}f}".replace("-", "\u2212") for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def test_two_rows_are_chosen_by_keyboard_and_shown_with_the_documents_difference_and_verdict(visit, site):
    page = visit(site).go(f"#view={BOARD['id']}")
    page.get_by_text("Compare two rows").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type(ROW["method"])
    until(page, f"location.hash.includes('compare={ROW['id']}')")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#compare .answer table")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Second row"
    pair = next(one for one in ROW["comparisons"] if one["row"] == ROWS[0]["id"])
    (skill, repw, wins) = cells(page, "#compare")
    assert skill[3:] == [
        shown(pair["difference"]),
        "<0.001" if pair["p"] < 0.001 else f"{pair['p']:.3f}",
        pair["verdict"],
    ]
    assert repw[5] == pair["others"]["repw"]["verdict"]
    assert wins[3].startswith(f"{pair['win_rate']['value']:.2f}")
    words = {"better": "is better than", "worse": "is worse than", "tied": "is not told apart from"}[pair["verdict"]]
    assert words in page.locator("#compare [role=status]").first.inner_text()
    assert page.locator("#compare figure path.line.s2").count() > 0
    page.goto("about:blank")


def test_a_comparison_has_an_address_and_a_row_offers_it(visit, site):
    link = f"#compare={ROWS[0]['id']}&compare={ROWS[5]['id']}"
    page = visit(site).go(link)
    page.wait_for_selector("#compare .answer table")
    assert page.locator("#choose-view").input_value() == BOARD["id"]
    assert in_view(page, "#compare")
    own = page.locator("#compare").get_by_role("link", name="Link to this comparison").get_attribute("href")
    before = cells(page, "#compare")
    again = visit(site).go(own)
    again.wait_for_selector("#compare .answer table")
    assert cells(again, "#compare") == before
    again.locator(f'[data-opener="{ROW["id"]}"]').click()
    again.get_by_role("button", name="Compare with another row").click()
    until(again, f"document.querySelector('#compare select').value === '{ROW['id']}'")
    assert again.locator("#compare .answer table").count() == 0
    assert again.evaluate("document.activeElement.getAttribute('aria-label')") == "First row"


@pytest.mark.parametrize(
    "address", [f"#compare={ROWS[0]['id']}&compare={DOCUMENT['rows'][-1]['id']}", "#compare=x&compare=y"]
)
def test_rows_of_two_boards_are_not_compared(visit, site, address):
    page = visit(site).go(address)
    assert page.locator("#compare .answer table").count() == 0
    assert page.locator("#compare details[open]").count() == 0


def test_rows_across_environments_are_compared_where_the_document_has_their_difference(visit, site):
    page = visit(site).go()
    entries = DOCUMENT["overall"][0]["rows"]
    one = next(entry for entry in entries if entry["comparisons"])
    other = next(entry for entry in entries if entry["label"] == one["comparisons"][0]["label"])
    page.get_by_text("Compare two rows").first.click()
    page.get_by_label("First row").first.select_option(index=1 + entries.index(one))
    seconds = [entry for entry in entries if entry is not one]
    page.get_by_label("Second row").first.select_option(index=1 + seconds.index(other))
    page.wait_for_selector("#compare .answer table")
    lines = cells(page, "#compare")
    assert lines[0][3] == shown(one["comparisons"][0]["difference"])
    assert lines[-1][3] == shown(one["comparisons"][0]["error_ratio"])


def test_rows_of_the_training_track_are_compared_as_their_table_compares_them(visit, site):
    page = visit(site).go()
    place = page.locator("#training .compare")
    place.locator("summary").first.click()
    place.get_by_label("First row").select_option(identifier(SGD))
    choices = place.get_by_label("Second row").locator("option").evaluate_all("all => all.map(one => one.value)")
    assert choices == ["", *map(identifier, (FORECAST, PLAIN, CONTROL, ADAM))]
    place.get_by_label("First row").select_option(identifier(CONTROL))
    place.get_by_label("Second row").select_option(identifier(FORECAST))
    page.wait_for_selector("#training .compare .answer table")
    words = place.locator("[role=status]").first.inner_text()
    assert words.startswith("adam + jump is better than adam + jump: difference in AUC 0.100")  # the forecast's, stored
    assert cells(page, "#training .compare")[0][1:] == [
        shown({"value": value, "low": value - 0.03, "high": value + 0.03}) for value in (0.9, 0.8, 0.1)
    ]
    until(page, "location.hash.includes('compare=')")
    again = visit(site).go(page.evaluate("location.hash"))
    again.wait_for_selector("#training .compare .answer table")
    assert in_view(again, "#training .compare")


def test_a_pair_of_the_training_track_without_a_stored_difference_shows_the_means_and_names_the_command(visit, site):
    page = visit(site).go()
    place = page.locator("#training .compare")
    place.locator("summary").first.click()
    place.get_by_label("First row").select_option(identifier(SGD))
    place.get_by_label("Second row").select_option(identifier(CONTROL))
    page.wait_for_selector("#training .compare .answer table")
    words = place.locator("[role=status]").first.inner_text()
    assert words == "sgd beside adam + jump: difference in AUC \u22120.400, of which the page has no interval."
    lines = {line[0]: line[-1] for line in cells(page, "#training .compare")}
    assert (lines["AUC"], lines["steps to 95% (ratio)"]) == ("\u22120.400", "0.50")
    assert "and of a forecast to its control" in place.inner_text()
    first, second = (f"leaderboard/results/training/{identifier(short)}.json" for short in (SGD, CONTROL))
    assert place.locator(".command code").inner_text() == f"tipl-bench compare {second} {first}"


def test_each_table_offers_its_file_and_how_to_cite_its_dataset(visit, site):
    page = visit(site, **CLIPBOARD).go(f"#view={BOARD['id']}")
    links = page.get_by_role("link", name="CSV", exact=True)
    files = links.evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert files == ["tables/board-one.csv", "tables/training-one.csv", "leaderboard.csv"]
    page.get_by_text("Cite the benchmark and this dataset").click()
    page.get_by_role("button", name="Copy: BibTeX of the dataset").click()
    page.get_by_text("copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@misc{")
    assert copied.endswith("}")
    for said in (BOARD["digest"], f"{BOARD['dataset']}: policy weight trajectories of {BOARD['environment']}"):
        assert said in copied
    assert "@software{tipl-bench," in page.locator("#files").inner_text()
    page.select_option("#choose-view", "overall")
    until(page, "document.querySelector('#files').textContent.includes('Cite the benchmark@')")
