"""The site's files: `index.html`, which holds everything; of very many rows the parts stand beside it in `parts/`."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ....utils.files import write_text
from ...document.schema import LeaderboardDocument
from ..citations import dataset_entry, suite_entries
from ..escaping import html_json, script_call
from .page_data import parts, summary

FOLDER = "parts"
LISTENER = "leaderboardPart"
"""The page's global function that every script of `parts/` calls."""
MAX_EMBEDDED_ROWS = 500
NO_TRAINING: Mapping[str, Any] = {"introduction": "", "metrics": {}, "across": (), "tables": ()}
STYLES = ("base", "controls", "table", "charts", "details")
SCRIPTS = (
    "text", "dom", "copying", "data", "loading", "state", "selection", "scales", "charts", "cost_chart",
    "horizon_chart", "columns", "trial_chart", "curve_chart", "figure", "sections", "details", "compare",
    "board_compare", "table", "files", "training_row", "training", "controls", "theme", "page",
)  # fmt: skip
"""In this order: each may use those before it."""
OWN_FILE = re.compile(r"(rows-\d{3,}|values-[a-z]+)\.js")


def render(
    document: LeaderboardDocument,
    out: Path,
    max_embedded_rows: int = MAX_EMBEDDED_ROWS,
    training: Mapping[str, Any] = NO_TRAINING,
    files: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the site of a document; it works from `file://` and from any static host.

    Parameters
    ----------
    document
        The leaderboard. Its texts are untrusted: they reach the page as JSON, and its scripts write them as text.
    out
        Folder to write `index.html` into. Scripts of an older site in `parts/` are removed.
    max_embedded_rows
        With more rows than this, parts are scripts in `parts/` that the page reads on demand.
    training
        The training track, see `page_data` of `leaderboard.training.export`.
    files
        Files beside the page that hold a table as CSV: by board id, `overall-pN` and `training/ENVIRONMENT`.

    Returns
    -------
    list of Path
        The files written, `index.html` last: it names the others.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = out / FOLDER
    written, embedded, versions, lengths = [], {}, {}, []
    beside = len(document.rows) > max_embedded_rows
    for name, value, rows in parts(document):
        if rows:
            lengths.append(rows)
        if not beside:
            embedded[name] = value
            continue
        script, path = script_call(LISTENER, name, value), folder / f"{name}.js"
        folder.mkdir(exist_ok=True)
        write_text(path, script)
        written.append(path)
        versions[name] = hashlib.sha256(script.encode()).hexdigest()[:8]
    for stale in folder.iterdir() if folder.is_dir() else ():
        if OWN_FILE.fullmatch(stale.name) and stale not in written:
            stale.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    index = out / "index.html"
    citations = {
        "suite": suite_entries(document.version),
        "datasets": {board.id: dataset_entry(board) for board in document.boards},
    }
    data = {
        **summary(document), "training": training, "files": files or {}, "citations": citations, "lengths": lengths,
        "parts": embedded, "versions": versions,
    }  # fmt: skip
    write_text(index, _page(data, beside=beside))
    return [*written, index]


def _page(data: dict[str, Any], *, beside: bool) -> str:
    assets = resources.files(__package__) / "assets"
    style = "\n".join(_read(assets / "css" / f"{name}.css") for name in STYLES)
    modules = "\n".join(_read(assets / "js" / f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{modules}}})();\n'
    parts = {
        "POLICY": _policy(style, script, beside=beside),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": html_json(data),
    }
    # One pass over the template: what is put in is never searched for places again.
    return re.sub(r"@@([A-Z]+)@@", lambda match: parts[match[1]], _read(assets / "page.html"))


def _policy(style: str, script: str, *, beside: bool) -> str:
    """The page's Content-Security-Policy: its own inline style and script by hash, no network.

    Trusted types make every assignment of a text to `innerHTML` and its like an error. Only where there are scripts
    beside the page, `'self'` covers them, from `file://` too, and the policy `parts` their addresses.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src " + ("'self' " if beside else "") + f"'{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types " + ("parts" if beside else "'none'"),
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(path: Traversable) -> str:
    return path.read_text(encoding="utf-8")
