"""An opened row: its pictures, tables and commands to copy, embedded or read on demand."""

from __future__ import annotations

import copy
import shutil

import pytest
from helpers import synthetic_documents
from helpers.waiting import until
from pydantic import ValidationError
from tipl_bench.leaderboard.render.site import render

DOCUMENT = synthetic_documents.document(rows=36, boards=3)
OVERALL = DOCUMENT["overall"][0]
ROW = DOCUMENT["rows"][2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    render(synthetic_documents.typed(DOCUMENT), folder)
    return folder


@pytest.fixture(scope="module")
def parted(tmp_path_factory):
    """A site with its parts beside the page."""
    folder = tmp_path_factory.mktemp("parted")
    render(synthetic_documents.typed(DOCUMENT), folder, 0)
    return folder


def opener(page, row):
    return page.locator(f'[data-opener="{row["id"]}"]')


def opened(page):
    page.wait_for_selector(".inside .sections")
    return page.locator(".inside").first


@pytest.mark.parametrize("kind", ["site", "parted"])
def test_a_row_opens_and_closes_and_reads_scripts_only_where_they_are_beside_the_page(visit, kind, request):
    visiting = visit(request.getfixturevalue(kind))
    page = visiting.go(f"#view={ROW['board']}")
    assert not [url for url in visiting.requests if "/parts/" in url]
    button = opener(page, ROW)
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    place = opened(page)
    assert button.get_attribute("aria-expanded") == "true"
    assert button.get_attribute("aria-controls") == place.get_attribute("id")
    read = [url.split("/")[-1].split("?")[0] for url in visiting.requests if "/parts/" in url]
    assert read == (["rows-000.js", "values-learning.js"] if kind == "parted" else [])
    assert f"open={ROW['id']}" in page.evaluate("location.hash")
    button.click()
    assert button.get_attribute("aria-expanded") == "false"
    assert page.locator(".inside").count() == 0
    page.go_back()
    opened(page)


def test_a_link_to_a_row_opens_it_on_its_board_with_the_focus_on_it(visit, site):
    page = visit(site).go(f"#open={ROW['id']}")
    opened(page)
    assert page.locator("#choose-view").input_value() == ROW["board"]
    assert page.evaluate("document.activeElement.dataset.opener") == ROW["id"]
    link = page.get_by_role("link", name="Link to this row").get_attribute("href")
    again = visit(site).go(link)
    opened(again)
    assert opener(again, ROW).get_attribute("aria-expanded") == "true"


def table(place, caption):
    """A table's cells by its caption."""
    found = place.locator("table", has=place.page.locator("caption", has_text=caption)).first
    return [line.locator("th, td").all_text_contents() for line in found.locator("tbody tr").all()]


def number(text):
    return float(text.replace("\u2212", "-").replace(",", ""))


def test_the_figure_shows_every_metric_with_its_band_and_the_returns_with_the_diagonal(visit, site):
    page = visit(site).go(f"#open={ROW['id']}")
    place = opened(page)
    *panels, trials, returns = place.locator(".panels figure").all()
    measured = ROW["phases"]["learning"]
    assert len(panels) == len(measured)
    for panel, series in zip(panels, measured.values(), strict=True):
        assert panel.get_by_role("img").count() == 1
        assert panel.locator("svg.chart path.band").count() == 1
        assert panel.locator("svg.chart circle").count() == len(series["by_horizon"])
        cells = table(panel, "by horizon")
        for line, estimate in zip(cells, series["by_horizon"], strict=True):
            assert number(line[1]) == pytest.approx(estimate["value"], rel=0.006, abs=0.006)
    better = [error < limit for error, limit in zip(ROW["trial_errors"], synthetic_documents.PERSISTENCE, strict=True)]
    assert trials.locator("svg.chart circle.s1").count() == sum(better)
    assert f"On {sum(better)} of 15 test trials" in trials.text_content()
    cells = table(trials, "each test trial")
    assert [number(line[2].replace("e\u2212", "e-")) for line in cells] == pytest.approx(ROW["trial_errors"], rel=0.006)
    assert panels[0].locator("path.ceiling").count() == 2  # in the picture and in its legend
    learning = [point for point in ROW["returns"] if point[0] == "learning"]
    assert returns.locator("svg.chart circle.s1").count() == len(learning)
    assert returns.locator("svg.chart path.hollow").count() == len(ROW["returns"]) - len(learning)
    assert returns.locator("svg.chart path.zero").count() == 1
    # higher on paper is a higher prediction: the marks are where the numbers say
    x, y = (
        [
            float(c)
            for c in returns.locator("svg.chart circle.s1").evaluate_all(
                f"all => all.map(c => c.getAttribute('{axis}'))"
            )
        ]
        for axis in ("cx", "cy")
    )
    order = sorted(range(len(learning)), key=lambda i: learning[i][3])
    assert [y[i] for i in order] == sorted(y, reverse=True)
    assert [x[i] for i in sorted(range(len(learning)), key=lambda i: learning[i][2])] == sorted(x)


def test_comparisons_name_every_other_row_with_difference_and_win_rate(visit, site):
    page = visit(site).go(f"#open={ROW['id']}")
    place = opened(page)
    cells = table(place, "Against every other row")
    assert len(cells) == len(ROW["comparisons"])
    wanted = sorted(ROW["comparisons"], key=lambda c: c["difference"]["value"])
    for line, comparison in zip(cells, wanted, strict=True):
        assert number(line[1].split(" ")[0]) == pytest.approx(comparison["difference"]["value"], abs=6e-4)
        assert number(line[2].split(" ")[0]) == pytest.approx(comparison["win_rate"]["value"], abs=0.011)
        other = comparison["others"]["repw"]
        assert number(line[4].split(" ")[0]) == pytest.approx(other["difference"]["value"], abs=0.06)
        assert (line[3], line[5]) == (comparison["verdict"], other["verdict"])
    place.locator("section", has_text="Comparisons").locator("a").first.click()
    until(page, f"!location.hash.includes('{ROW['id']}')")


def test_results_by_position_stand_in_an_opened_row_and_on_its_board(visit, site):
    page = visit(site).go(f"#open={ROW['id']}")
    series = ROW["positions"]["learning"]["skill"]
    cells = table(opened(page), "Skill by the origin's position, learning")
    assert [line[0] for line in cells[:2]] == ["mean over horizons", "h = 1"]
    assert [number(cell) for cell in cells[0][1:]] == pytest.approx(series["mean"], abs=6e-4)
    assert cells[-1][0] == "span ceiling, mean over horizons"
    whole = table(page.locator("#view-about"), "Skill by the origin's position within the PPO iteration")
    assert len(whole) == sum(row["board"] == ROW["board"] for row in DOCUMENT["rows"]) + 1
    assert [number(cell) for cell in whole[2][1:]] == pytest.approx(series["mean"], abs=6e-4)


def test_an_overall_row_is_compared_with_the_others(visit, site):
    page = visit(site).go("#view=overall")
    entry = OVERALL["rows"][0]
    page.locator("#body .opener").first.click()
    page.wait_for_selector(".inside table")
    cells = table(page.locator(".inside"), "Against every other one")
    for line, pair in zip(cells, entry["comparisons"], strict=True):
        assert line[2] == pair["verdict"]
        assert number(line[4].split(" ")[0]) == pytest.approx(pair["error_ratio"]["value"], abs=6e-4)


def test_cost_provenance_layers_and_evidence_are_shown(visit, site):
    place = opened(visit(site).go(f"#open={ROW['id']}"))
    words = place.text_content()
    board = next(board for board in DOCUMENT["boards"] if board["id"] == ROW["board"])
    for said in (
        board["digest"],
        board["commit"],
        *(p["record"] for p in ROW["provenance"]),
        "scored again from its forecasts",
    ):
        assert said in words
    assert ROW["provenance"][0]["commit"] in words
    assert "isolation of its runsnone: nothing denied the predictor access" in words
    assert "As stated by the run." in words
    assert f"layers={ROW['options']['layers']}" in words
    assert [line[0] for line in table(place, "WPE of each layer")] == list(ROW["layers"]["learning"])
    link = place.get_by_role("link", name="tipl/trajectories").get_attribute("href")
    assert link == f"https://huggingface.co/datasets/tipl/trajectories/tree/{board['commit']}"


def test_the_package_of_a_method_is_shown_with_links_to_its_code_and_paper(visit, tmp_path):
    document = copy.deepcopy(DOCUMENT)
    row = next(row for row in document["rows"] if row["id"] == ROW["id"])
    origin = row["provenance"][0]
    origin.update(validation_runs=7, isolation="landlock+namespaces")
    origin["code"] = {
        "distribution": "forecaster", "version": "1.2", "url": "https://example.org/code?a=1&b=2",
        "paper": "https://arxiv.org/abs/2503.04074", "repository": None, "commit": "c" * 40, "dirty": True,
        "authors": "A. Uthor", "files": {"forecaster.py": "0" * 64, "model.py": "1" * 64}, "omitted_files": 1,
    }  # fmt: skip
    render(synthetic_documents.typed(document), tmp_path)
    place = opened(visit(tmp_path).go(f"#open={ROW['id']}"))
    words = place.text_content()
    commit = "c" * 40
    for said in (
        "packageforecaster 1.2",
        f"{commit} with changes",
        "files3 source files",
        "it7",
        "Landlock, namespaces: the",
    ):
        assert said in words
    for url in (origin["code"]["url"], origin["code"]["paper"]):
        link = place.locator(f'a[href="{url}"]')
        assert link.text_content() == url
        assert link.get_attribute("rel") == "noopener noreferrer nofollow"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//example.org", "https://a b", 'https://a"b']
)
def test_an_address_that_is_none_of_the_web_is_no_documents(url):
    document = copy.deepcopy(DOCUMENT)
    document["rows"][0]["provenance"][0]["code"] = {"distribution": "f", "version": "1", "url": url, "files": {}}
    with pytest.raises(ValidationError):
        synthetic_documents.typed(document)


def test_a_command_is_copied_as_it_is_shown(visit, site):
    page = visit(site, permissions=["clipboard-read", "clipboard-write"]).go(f"#open={ROW['id']}")
    place = opened(page)
    place.get_by_role("button", name="Copy: Verify").click()
    place.get_by_text("copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == ROW["commands"]["verify"][0]
    place.get_by_text("The same for seeds 1, 2").nth(1).click()
    place.get_by_role(
        "button", name="Copy: Reproduce this row: run it again from its record, and compare, seed 2"
    ).click()
    until(page, f"document.body.innerText.includes({ROW['commands']['reproduce'][2]!r})")


def test_an_overall_entry_opens_to_its_rows_in_each_environment(visit, site):
    page = visit(site).go()
    entry = OVERALL["rows"][0]
    page.locator(".opener").first.click()
    cells = table(page.locator(".inside"), "one per environment")
    assert [line[0] for line in cells] == entry["environments"]
    page.locator(".inside table a").first.click()
    opened(page)
    assert opener(page, {"id": entry["rows"][0]}).get_attribute("aria-expanded") == "true"


def test_when_the_folder_beside_the_page_is_missing_then_the_row_says_so_and_can_be_tried_again(
    browser, parted, tmp_path
):
    folder = tmp_path / "moved"
    shutil.copytree(parted, folder)
    (folder / "parts").rename(folder / "elsewhere")
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri() + f"#open={ROW['id']}")
    page.get_by_role("alert").get_by_text("could not be read").wait_for()
    (folder / "elsewhere").rename(folder / "parts")
    page.get_by_role("button", name="Try again").click()
    opened(page)
    page.close()


def test_when_a_script_is_of_another_build_then_the_row_says_so(visit, parted, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(parted, folder)
    (folder / "parts" / "rows-000.js").write_text("leaderboardPart('rows-000', '{}');")
    page = visit(folder).go(f"#open={ROW['id']}")
    page.get_by_text("of another build").wait_for()


def test_when_a_phase_cannot_be_read_then_the_page_says_so_and_another_choice_works(browser, parted, tmp_path):
    folder = tmp_path / "partial"
    shutil.copytree(parted, folder)
    (folder / "parts" / "values-converged.js").unlink()
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri() + "#view=rows")
    page.select_option("#choose-phase", "converged")
    page.get_by_role("alert").get_by_text("values-converged.js could not be read").wait_for()
    page.select_option("#choose-phase", "all")
    until(page, "document.querySelector('#caption').textContent.includes('all phase')")
    assert not page.get_by_role("alert").is_visible()
    page.close()


def test_a_row_of_which_little_is_known_says_so_everywhere(visit, tmp_path):
    document = synthetic_documents.sparse()
    render(synthetic_documents.typed(document), tmp_path)
    visiting = visit(tmp_path)
    visiting.go()
    assert {cell.split("\n")[0] for cell in visiting.column("rank")} == {"-"}
    page = visiting.go(f"#open={document['rows'][0]['id']}")
    place = opened(page)
    assert page.locator("#choose-phase option").all_inner_texts() == ["All"]
    assert {cell.strip() for cell in visiting.column("skill")} == {"\u2013"}
    for said in (
        "no other row to compare",
        "None beyond the record",
        "one seed only",
        "not on the Hub",
        "commit not recorded",
    ):
        assert said in place.text_content()
    assert "NaN" not in page.locator("main").inner_html()
    assert "undefined" not in page.locator("main").inner_html()
