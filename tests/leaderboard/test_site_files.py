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
    written = render(synthetic_documents.document(), tmp_path)
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert written[-1] == tmp_path / "index.html"


def test_rendering_again_changes_no_byte(tmp_path):
    document = synthetic_documents.document()
    one = {path.name: path.read_bytes() for path in render(document, tmp_path / "one")}
    other = {path.name: path.read_bytes() for path in render(json.loads(json.dumps(document)), tmp_path / "other")}
    assert one == other


def test_when_a_smaller_document_follows_then_no_script_of_the_larger_stays_and_foreign_files_do(tmp_path):
    render(synthetic_documents.document(rows=300, boards=2), tmp_path)
    (tmp_path / "board" / "mine.js").write_text("kept")
    (tmp_path / "rows-000.js").write_text("kept")
    written = render(synthetic_documents.document(rows=4, boards=2, phases=("all",)), tmp_path)
    assert {path.name for path in (tmp_path / "board").iterdir()} == {path.name for path in written[:-1]} | {"mine.js"}
    assert (tmp_path / "rows-000.js").exists()


def test_every_row_has_its_details_in_exactly_one_chunk(tmp_path):
    document = synthetic_documents.document(rows=200, boards=3)
    written = render(document, tmp_path)
    held = [row for path in written if path.name.startswith("rows-") for row in read_script(path)]
    assert held == [row["id"] for row in document["rows"]]
    assert len([path for path in written if path.name.startswith("rows-")]) > 1


def read_script(path):
    """The value that a script of `board/` hands over, read as JavaScript reads a string literal."""
    literal = re.fullmatch(r"tiplBoard\(\"[\w-]+\",'(.*)'\);\n", path.read_text("ascii"), re.S)[1]
    return json.loads(re.sub(r"\\(.)", r"\1", literal))


def test_hostile_texts_come_back_whole_and_no_markup_is_in_any_file(tmp_path):
    document = synthetic_documents.hostile()
    written = render(document, tmp_path)
    details = {}
    for path in written[:-1]:
        if path.name.startswith("rows-"):
            details |= read_script(path)
        assert "<" not in path.read_text("ascii")
    for row in document["rows"]:
        assert details[row["id"]]["options"] == row["options"]
        assert details[row["id"]]["commands"] == row["commands"]
    page = written[-1].read_text("utf-8")
    (_, data), (_, script) = script_bodies(page)
    assert not re.search("[<>&\u2028\u2029]", data)
    predictors = json.loads(data)["rows"]["predictor"]
    assert [predictors["values"][index] for index in predictors["index"]] == [r["predictor"] for r in document["rows"]]
    clean = render(synthetic_documents.document(rows=2), tmp_path / "clean")[-1].read_text("utf-8")
    assert script == script_bodies(clean)[1][1]  # the page's script holds nothing of the document


def test_the_policy_allows_the_inline_style_and_script_by_hash_and_no_network(tmp_path):
    page = render(synthetic_documents.document(), tmp_path)[-1].read_text("utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == f"'self' '{digest(script_bodies(page)[1][1])}'"
    assert directives["style-src"] == f"'{digest(style)}'"
    assert directives["require-trusted-types-for"] == "'script'"
    assert page.index("Content-Security-Policy") < page.index("<style>")


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_every_source_file_is_part_of_the_page_and_none_writes_markup(tmp_path):
    page = render(synthetic_documents.document(), tmp_path)[-1].read_text("utf-8")
    assets = files("tipl_bench.leaderboard.render.site") / "assets"
    sources = [path for folder in ("js", "css") for path in (assets / folder).iterdir()]
    assert len(sources) > 10
    for path in sources:
        text = path.read_text("utf-8")
        assert text in page, path.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


@pytest.mark.parametrize("change", [{"format": 2}, {"format": None}])
def test_when_the_format_is_another_then_nothing_is_written(tmp_path, change):
    with pytest.raises(ValueError, match="format"):
        render({**synthetic_documents.document(), **change}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_when_a_number_is_not_finite_then_it_is_refused(tmp_path):
    document = synthetic_documents.document()
    document["rows"][0]["returns"] = [["learning", 1, float("nan"), 0.0]]
    with pytest.raises(ValueError, match="JSON compliant"):
        render(document, tmp_path)


def test_a_document_without_rows_still_makes_a_page(tmp_path):
    assert render({**synthetic_documents.document(rows=0, boards=1)}, tmp_path)[-1].exists()
