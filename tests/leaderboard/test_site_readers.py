"""Who reads the page: on a phone, in the dark, by keyboard, with a screen reader; and texts that mean harm."""

from __future__ import annotations

import re
import resource
import time
from itertools import product
from urllib.parse import quote

import pytest
from helpers import synthetic_documents, synthetic_training
from helpers.waiting import until
from tipl_bench.leaderboard.render.site import render
from tipl_bench.leaderboard.training.export import page_data

DOCUMENT = synthetic_documents.document(rows=36, boards=3)
BOARD = DOCUMENT["boards"][0]["id"]
ROW = DOCUMENT["rows"][2]
PHONE = {"width": 375, "height": 812}
RUNS = [synthetic_training.identifier(name) for name in (synthetic_training.FORECAST, synthetic_training.CONTROL)]
BESIDE = (
    f"#compare={ROW['id']}&compare={DOCUMENT['rows'][0]['id']}&run={quote(RUNS[0])}",
    f"#compare={quote(RUNS[0])}&compare={quote(RUNS[1])}",
)
"""Addresses of two rows side by side, one beside an opened row of the training track."""
FITS = "document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    training = page_data([synthetic_training.table()])
    render(synthetic_documents.typed(DOCUMENT), folder, training=training, files={BOARD: "tables/board-one.csv"})
    return folder


@pytest.mark.parametrize("address", ["", f"#view={BOARD}", "#view=rows", f"#open={ROW['id']}", *BESIDE])
def test_on_a_phone_the_page_never_scrolls_sideways(visit, site, address):
    page = visit(site, viewport=PHONE, has_touch=True, is_mobile=True).go(address)
    if "open" in address:
        page.wait_for_selector(".inside .sections")
        inside = page.locator(".inside").bounding_box()
        assert inside["x"] >= 0
        assert inside["x"] + inside["width"] <= PHONE["width"]
    unfold(page)
    assert page.evaluate(FITS)
    assert page.evaluate("window.innerWidth") == PHONE["width"]
    assert page.locator("#choose-q").is_visible()


def unfold(page):
    """Show all that folds away, once two rows are side by side where they are to be."""
    if "compare" in page.url:
        page.wait_for_selector(".answer table")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")


def background(page):
    red, green, blue = map(
        float, re.findall(r"[\d.]+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[:3]
    )
    return red + green + blue


def test_the_page_is_dark_where_the_system_is_and_the_button_overrides_it(visit, site):
    page = visit(site, color_scheme="dark").go()
    assert background(page) < 120
    theme = page.locator("#theme")
    theme.click()
    assert theme.inner_text() == "Theme: light"
    assert background(page) > 700
    page.reload()
    assert background(page) > 700
    theme.click()
    assert theme.inner_text() == "Theme: dark"
    assert background(page) < 120
    light = visit(site, color_scheme="light").go()
    assert background(light) > 700


def focused(page):
    return page.evaluate(
        "(document.activeElement.id || document.activeElement.dataset.opener || document.activeElement.textContent)"
    )


def test_everything_is_reached_and_used_by_keyboard_alone(visit, site):
    visiting = visit(site)
    page = visiting.go(f"#view={BOARD}")
    page.keyboard.press("Tab")
    assert focused(page) == "skip"
    assert page.locator("#skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert focused(page) == "table"
    assert page.locator("#choose-view").input_value() == BOARD  # the view is still the one it was
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the first heading
    assert page.locator("#head th").first.get_attribute("aria-sort") == "descending"
    for _ in page.locator("#head th").all():
        page.keyboard.press("Tab")
    first = page.locator(".opener").first
    assert focused(page) == first.get_attribute("data-opener")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Space")
    page.wait_for_selector(".inside .sections")
    assert first.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('.inside'))")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator(".inside").count() == 0


def test_the_focus_order_before_the_table_is_the_order_on_the_page(visit, site):
    page = visit(site).go(f"#view={BOARD}")
    seen = []
    for _ in range(13):
        page.keyboard.press("Tab")
        seen.append(focused(page))
    choosers = ["view", "phase", "horizon", "consumes", "budget", "device", "state", "flag", "q"]
    assert seen == ["skip", "theme", "How to read this page", *(f"choose-{name}" for name in choosers), "clear"]


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        *product(["", f"#view={BOARD}", f"#open={ROW['id']}"], ["light", "dark"]),
        *zip(BESIDE, ["light", "dark"], strict=True),
    ],
)
def test_axe_finds_nothing_serious(visit, site, address, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(site, color_scheme=scheme, bypass_csp=True).go(address)
    if "open" in address:
        page.wait_for_selector(".inside .sections")
    if address in BESIDE:
        unfold(page)
    found = Axe().run(page).response["violations"]
    grave = [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in found
        for node in rule["nodes"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert grave == []


def test_hostile_texts_are_only_ever_text(visit, tmp_path):
    document = synthetic_documents.hostile()
    render(synthetic_documents.typed(document), tmp_path)
    visiting = visit(tmp_path, viewport=PHONE)
    for address in ("", "#view=rows"):
        page = visiting.go(address)
        assert page.evaluate(FITS)
        for button in page.locator(".opener").all():
            button.click()
        until(page, "[...document.querySelectorAll('.inside')].every(place => place.querySelector('.sections, table'))")
        assert page.locator("img, iframe, object, embed, form, svg svg").count() == 0
        assert page.locator("script").count() == 2
        links = page.locator("a").evaluate_all("all => all.map(link => link.getAttribute('href'))")
        own = [link for link in links if not link.startswith(("#", "https://huggingface.co/"))]
        assert own == [
            "../intervals.md",
            *(f"leaderboard.{suffix}" for suffix in ("json", "csv", "parquet")),
            "training.json",
            "../reference.md",
            "leaderboard.bib",
        ]  # the page's own words
        names = page.evaluate("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())")
        assert [name for name in names if name.startswith("on")] == []
        assert page.evaluate(FITS)
    words = page.locator("#body").text_content()
    assert "<script>alert(1)</script>" in words
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u2028-\u202e\u2066-\u2069\ufeff]", words)
    assert "\u27e6U+202E\u27e7gnp.lpit" in words
    assert "__proto__=__proto__" in words


@pytest.mark.slow
def test_ten_thousand_rows_load_page_and_are_searched(visit, tmp_path, capsys):
    document = synthetic_documents.document(rows=10_000, boards=50, comparisons=5, phases=("learning",))
    whole = synthetic_documents.typed(document)
    start = time.perf_counter()
    written = render(whole, tmp_path)
    built = time.perf_counter() - start
    visiting = visit(tmp_path)
    start = time.perf_counter()
    page = visiting.go("#view=rows")
    loaded = time.perf_counter() - start
    assert page.locator("#count").inner_text() == "10,000 rows"
    assert len(visiting.names()) == 100
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Page 2 of 100").wait_for()
    assert "page=2" in page.evaluate("location.hash")
    row = document["rows"][7_777]
    start = time.perf_counter()
    page.fill("#choose-q", f"{row['method']} {row['variant']} {row['budget']}")
    until(page, "document.querySelector('#count').textContent.includes(' of ')")
    searched = time.perf_counter() - start
    words = [row["method"], row["variant"], row["budget"]]
    assert page.locator(f'[data-opener="{row["id"]}"]').count() == 1
    matching = [r for r in document["rows"] if all(w in [r["method"], r["variant"], r["budget"]] for w in words)]
    assert page.locator("#body .opener").count() >= len(matching) > 0
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    visiting.go(f"#open={row['id']}")
    page.wait_for_selector(".inside .sections")
    assert page.locator(f'[data-opener="{row["id"]}"]').get_attribute("aria-expanded") == "true"
    index, whole = (written[-1].stat().st_size, sum(path.stat().st_size for path in written))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with capsys.disabled():
        print(
            f"\n10,000 rows: built in {built:.1f} s, {len(written)} files, "
            f"page {index / 1e6:.1f} MB, all {whole / 1e6:.0f} MB; "
            f"loaded in {loaded:.1f} s, searched in {searched:.1f} s; "
            f"JavaScript heap {heap / 1e6:.0f} MB, building process {peak / 1e3:.0f} MB"
        )
