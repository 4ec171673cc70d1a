"""Text of a stranger's record: refused, or harmless on the board's pages."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from helpers.submission_workspace import leaves, put
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.leaderboard.build import build
from tipl_bench.utils.errors import ProtocolError

MARKUP = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)></script>"
    " [text](javascript:alert(1)) ![pixel](http://example.org/p.png) `code` | | **bold** {{ 7 * 191 }} {% raw %}"
)
UNSEEN = {
    "right to left override": "\u202e",
    "left to right isolate": "\u2066",
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "escape": "\x1b[31m",
    "nul": "\x00",
    "line break": "\n| 1 | mlp |",
    "carriage return": "\r",
    "next line": "\x85",
    "private use": "\ue000",
    "tag": "\U000e0041",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
}


@pytest.fixture
def plain(workspace):
    """The JSON of a good record that holds a text wherever there may be one."""
    record = json.loads(workspace.text())
    record["key"]["method"]["options"]["note"] = "plain"
    record["provenance"] |= {"gpu": "a card", "git_commit": "12" * 20}
    return record


def texts(record):
    """Places of all texts, and of all keys of mappings that the schema leaves open."""
    values = [place for place, value in leaves(record) if isinstance(value, str)]
    assert len(values) > 50
    seen = {}
    for place in values:  # one of each list is enough
        seen.setdefault(tuple("*" if isinstance(part, int) else part for part in place), place)
    return list(seen.values())


MAPPINGS = [
    ("key", "method", "options"),
    ("provenance", "packages"),
    ("results", 0, "estimates"),
    ("results", 0, "layers"),
    ("results", 0, "by_trial"),
]


def renamed(record, place, key):
    """A copy of the record with the first key of a mapping renamed."""
    changed = json.loads(json.dumps(record))
    mapping = changed
    for part in place:
        mapping = mapping[part]
    mapping[key] = mapping.pop(next(iter(mapping)))
    return changed


def changed(record, place, text):
    copied = json.loads(json.dumps(record))
    put(copied, place, text)
    return copied


def accepted(record, tmp_path) -> Record | None:
    """The record, if it may be read at all."""
    path = tmp_path / "candidate.json"
    path.write_text(json.dumps(record))
    try:
        return read_record(path)
    except ProtocolError as error:
        message = str(error)
    assert message.isascii()
    assert message.isprintable()
    return None


@pytest.mark.parametrize("kind", UNSEEN)
def test_what_cannot_be_seen_is_refused_in_every_text(kind, plain, tmp_path):
    assert accepted(plain, tmp_path)
    for place in texts(plain):
        value = "a" + UNSEEN[kind] + "b"
        assert accepted(changed(plain, place, value), tmp_path) is None, place
    for place in MAPPINGS:
        assert accepted(renamed(plain, place, "a" + UNSEEN[kind] + "b"), tmp_path) is None, place


class Page(HTMLParser):
    """Tags with their attributes' names, and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags = Counter()
        self.addresses = Counter()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.addresses.update(value for name, value in attrs if name in ("src", "href", "action"))

    handle_startendtag = handle_starttag


def test_markup_is_refused_or_shown_as_text(plain, tmp_path):
    hostile = json.loads(json.dumps(plain))
    kept = []
    for place in texts(plain):
        if accepted(changed(plain, place, MARKUP), tmp_path):
            put(hostile, place, MARKUP)
            kept.append(place)
    for place in MAPPINGS:
        if accepted(renamed(hostile, place, MARKUP), tmp_path):
            hostile = renamed(hostile, place, MARKUP)
    assert ("key", "method", "options", "note") in kept
    assert ("provenance", "cpu") in kept
    pages = {}
    for name, record in (("plain", plain), ("hostile", hostile)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "record.json").write_text(json.dumps(record))
        written = build(folder, tmp_path / f"{name}-board")
        pages[name] = {path.name: path.read_text() for path in written if path.suffix in (".md", ".html", ".js")}
    good, bad = (Page(pages[name]["index.html"]) for name in ("plain", "hostile"))
    assert bad.tags == good.tags
    assert bad.addresses == good.addresses
    for name, page in pages["hostile"].items():
        assert page.count("1337") == pages["plain"][name].count("1337"), "7 * 191 was computed"
        assert not re.search(r"<script>alert|<img src=x", page)
    harmless(pages["plain"]["README.md"], pages["hostile"]["README.md"])


def harmless(good, bad):
    """The Markdown page has no row, cell, link, image or tag more than without the markup."""
    rows = [[len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines()] for page in (good, bad)]
    assert rows[0] == rows[1]
    for mark in (r"(?<!\\)\]\(", r"!\[", r"<[a-z/]"):
        assert len(re.findall(mark, good)) == len(re.findall(mark, bad)), mark
