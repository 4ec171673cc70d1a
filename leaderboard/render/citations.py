"""`leaderboard.bib`: how to cite the suite, what it builds on, and the papers that rows name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ...baselines.plugins.sources import MethodCode
from ..document.schema import LeaderboardDocument
from .escaping import bibtex_text

CITATION = Path(__file__).parents[2] / "CITATION.cff"
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})|arXiv:(\d{4}\.\d{4,5})", re.IGNORECASE)


def bibliography(document: LeaderboardDocument) -> str:
    """BibTeX of the suite as its `CITATION.cff` says, and one entry for each paper that a row's package names."""
    suite = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    entries = [_entry("software", "tipl-bench", _of_work(suite) | {"version": document.version})]
    entries += [_entry("article", _key(one), _of_work(one)) for one in suite["references"]]
    entries += [_entry("misc", name, fields) for name, fields in _of_rows(document)]
    return "\n".join(entries)


def _of_work(work: Mapping[str, Any]) -> dict[str, Any]:
    """A work of `CITATION.cff`; an author without a family name is a group."""
    names = [
        f"{one['family-names']}, {one['given-names']}" if "family-names" in one else f"{{{one['name']}}}"
        for one in work["authors"]
    ]
    return {
        "author": " and ".join(names),
        "title": f"{{{bibtex_text(work['title'])}}}",
        "year": work.get("year"),
        **_arxiv(work.get("notes", "")),
    }


def _of_rows(document: LeaderboardDocument) -> Iterator[tuple[str, dict[str, Any]]]:
    """By method and version, the paper that the package of its first row names."""
    seen = set()
    for row in document.rows:
        code = next((origin.code for origin in row.provenance if origin.code and origin.code.paper), None)
        name = f"{row.method}-v{row.version}"
        if code is not None and name not in seen:
            seen.add(name)
            yield name, _of_paper(row.method, code)


def _of_paper(method: str, code: MethodCode) -> dict[str, Any]:
    return {
        "author": code.authors and f"{{{bibtex_text(code.authors)}}}",
        **_arxiv(code.paper or ""),
        "url": code.paper,
        "note": f"{bibtex_text(method)} of the tipl-bench leaderboard",
    }


def _arxiv(text: str) -> dict[str, str]:
    found = ARXIV.search(text)
    return {"eprint": found[1] or found[2], "archiveprefix": "arXiv"} if found else {}


def _key(work: Mapping[str, Any]) -> str:
    return f"{work['authors'][0]['family-names'].lower()}{work['year']}"


def _entry(kind: str, key: str, fields: Mapping[str, Any]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"]) + "\n"
