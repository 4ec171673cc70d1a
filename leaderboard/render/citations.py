"""`leaderboard.bib`: how to cite the suite, what it builds on, its datasets, and the papers that rows name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ...baselines.plugins.sources import MethodCode
from ...registry.catalog import is_shipped
from ...registry.reference import COMMIT_PATTERN, is_repo
from ..document.schema import EnvironmentBoard, LeaderboardDocument
from .escaping import bibtex_text

CITATION = Path(__file__).parents[2] / "CITATION.cff"
ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})|arXiv:(\d{4}\.\d{4,5})", re.IGNORECASE)


def bibliography(document: LeaderboardDocument) -> str:
    """BibTeX of the suite and of all datasets, and one entry for each paper that a row's package names."""
    datasets = dict.fromkeys(dataset_entry(board) for board in document.boards)
    papers = [_entry("misc", name, fields) for name, fields in _of_rows(document)]
    return "\n".join([suite_entries(document.version), *datasets, *papers])


def suite_entries(version: str) -> str:
    """BibTeX of the suite and of what it builds on, as its `CITATION.cff` says."""
    suite = _citation()
    works = [_entry("article", _key(one), _of_work(one)) for one in suite["references"]]
    return "\n".join([_entry("software", "tipl-bench", _of_work(suite) | {"version": version}), *works])


def dataset_entry(board: EnvironmentBoard) -> str:
    """BibTeX of a board's dataset, named by its digest; by the suite's authors if it is one of the suite's.

    Its key is the name and the start of the digest: other bytes under the same name are another dataset.
    """
    ours = is_shipped(board.dataset, board.digest)
    known = is_repo(board.repo or "") and re.fullmatch(COMMIT_PATTERN, board.commit or "")
    address = f"https://huggingface.co/datasets/{board.repo}/tree/{board.commit}" if known else None
    key = f"{re.sub('[^a-z0-9]+', '-', board.dataset.lower()).strip('-')}-{board.digest[:8]}"
    about = f"{bibtex_text(board.dataset)}: policy weight trajectories of {bibtex_text(board.environment)}"
    fields = {
        "author": _authors(_citation()) if ours else None,
        "title": f"{{{about}}}",
        "url": address,
        "note": f"{'A dataset of tipl-bench' if ours else 'A dataset'}, digest {bibtex_text(board.digest)}",
    }
    return _entry("misc", key, fields)


@cache
def _citation() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    return found


def _authors(work: Mapping[str, Any]) -> str:
    """The authors of a work; one without a family name is a group."""
    names = [
        f"{one['family-names']}, {one['given-names']}" if "family-names" in one else f"{{{one['name']}}}"
        for one in work["authors"]
    ]
    return " and ".join(names)


def _of_work(work: Mapping[str, Any]) -> dict[str, Any]:
    """A work of `CITATION.cff`."""
    return {
        "author": _authors(work),
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
