"""The site's files: what is written, and that no text of the document can end its place in them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

import pytest
from helpers import synthetic_documents
from tipl_bench.leaderboard.render.site import render


def script_bodies(page):
    return re.findall(r"<script([^>]*)>(.*?)</script>", page, re.S)


def test_when_rendered_then_the_files_returned_are_the_files_there(tmp_path):
    written = render(synthetic_documents.typed(synthetic_documents.document()), tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert written[-1] == tmp_path / "index.html"


def test_rendering_again_changes_no_byte(tmp_path):
    document = synthetic_documents.document()
    one = {path.name: path.read_bytes() for path in render(synthetic_documents.typed(document), tmp_path / "one")}
    other = {
        path.name: path.read_bytes()
        for path in render(synthetic_documents.typed(json.loads(json.dumps(document))), tmp_path / "other")
    }
    assert one == other


def test_today_s_page_is_one_file_that_holds_every_row(tmp_path):
    document = synthetic_documents.document(rows=35, boards=3)
    (page,) = render(synthetic_documents.typed(document), tmp_path)
    assert list(held_rows(page_data(page)["parts"])) == [row["id"] for row in document["rows"]]


def test_when_a_smaller_document_follows_then_no_script_of_the_larger_stays_and_foreign_files_do(tmp_path):
    larger = synthetic_documents.document(rows=300, boards=2, comparisons=5)
    render(synthetic_documents.typed(larger), tmp_path, 10)
    (tmp_path / "parts" / "mine.js").write_text("kept")
    (tmp_path / "rows-000.js").write_text("kept")
    smaller = synthetic_documents.document(rows=14, boards=2, phases=("all",))
    written = render(synthetic_documents.typed(smaller), tmp_path, 10)
    assert {path.name for path in (tmp_path / "parts").iterdir()} == {path.name for path in written[:-1]} | {"mine.js"}
    assert (tmp_path / "rows-000.js").exists()
    (tmp_path / "parts" / "mine.js").unlink()
    render(synthetic_documents.typed(smaller), tmp_path)
    assert not (tmp_path / "parts").exists()


def test_many_rows_have_their_details_in_exactly_one_script_each(tmp_path):
    document = synthetic_documents.document(rows=501, boards=3, comparisons=5, phases=("learning",))
    typed = synthetic_documents.typed(document)
    written = render(typed, tmp_path)
    scripts = {path.stem: read_script(path) for path in written[:-1]}
    assert list(held_rows(scripts)) == [row["id"] for row in document["rows"]]
    assert len([name for name in scripts if name.startswith("rows-")]) > 1
    assert page_data(written[-1])["parts"] == {}
    embedded = page_data(render(typed, tmp_path / "one", 501)[-1])["parts"]
    assert embedded == scripts  # the same parts, wherever they are


def held_rows(parts):
    return (row for name in sorted(parts) if name.startswith("rows-") for row in parts[name])


def page_data(page):
    return json.loads(script_bodies(page.read_text("utf-8"))[0][1])


def read_script(path):
    """The value that a script of `parts/` hands over, read as JavaScript reads a string literal."""
    literal = re.fullmatch(r"leaderboardPart\(\"[\w-]+\",'(.*)'\);\n", path.read_text("ascii"), re.S)[1]
    return json.loads(re.sub(r"\\(.)", r"\1", literal))


@pytest.mark.parametrize("limit", [0, 500])
def test_hostile_texts_come_back_whole_and_no_markup_is_in_any_file(tmp_path, limit):
    document = synthetic_documents.hostile()
    written = render(synthetic_documents.typed(document), tmp_path, limit)
    assert not [path for path in written[:-1] if "<" in path.read_text("ascii")]
    page = written[-1].read_text("utf-8")
    (_, data), (_, script) = script_bodies(page)
    assert not re.search("[<>&\u2028\u2029]", data)
    parts = {path.stem: read_script(path) for path in written[:-1]} or json.loads(data)["parts"]
    details = {name: row for key, part in parts.items() if key.startswith("rows-") for name, row in part.items()}
    for row in document["rows"]:
        assert details[row["id"]]["options"] == row["options"]
        assert details[row["id"]]["commands"] == row["commands"]
    methods = json.loads(data)["rows"]["method"]
    assert [methods["values"][index] for index in methods["index"]] == [row["method"] for row in document["rows"]]
    plain = synthetic_documents.typed(synthetic_documents.document(rows=2))
    clean = render(plain, tmp_path / "clean")[-1].read_text("utf-8")
    assert script == script_bodies(clean)[1][1]  # the page's script holds nothing of the document


@pytest.mark.parametrize(("limit", "own", "types"), [(0, "'self' ", "parts"), (500, "", "'none'")])
def test_the_policy_allows_the_inline_style_and_script_by_hash_and_no_network(tmp_path, limit, own, types):
    page = render(synthetic_documents.typed(synthetic_documents.document()), tmp_path, limit)[-1].read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == f"{own}'{digest(script_bodies(page)[1][1])}'"
    assert directives["style-src"] == f"'{digest(style)}'"
    assert (directives["require-trusted-types-for"], directives["trusted-types"]) == ("'script'", types)
    assert page.index("Content-Security-Policy") < page.index("<style>")


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_every_source_file_is_part_of_the_page_and_none_writes_markup(tmp_path):
    page = render(synthetic_documents.typed(synthetic_documents.document()), tmp_path)[-1].read_text("utf-8")
    assets = files("tipl_bench.leaderboard.render.site") / "assets"
    sources = [path for folder in ("js", "css") for path in (assets / folder).iterdir()]
    assert len(sources) > 10
    for path in sources:
        text = path.read_text("utf-8")
        assert text in page, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_a_document_without_rows_still_makes_a_page(tmp_path):
    assert render(synthetic_documents.typed({**synthetic_documents.document(rows=0, boards=1)}), tmp_path)[-1].exists()
