"""The site's files: `index.html`, and beside it `board/` with what the page reads on demand."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from ....utils.files import write_text
from .details import LISTENER, chunks
from .escaping import json_text, script_call
from .summary import HEADLINE, horizon_columns, phase_columns, summary

FOLDER = "board"
FORMAT = 1
STYLES = ("base", "controls", "table", "charts", "details")
SCRIPTS = (
    "text", "dom", "data", "loading", "state", "selection", "scales", "charts", "cost_chart", "horizon_chart",
    "columns", "figure", "sections", "details", "table", "controls", "theme", "page",
)  # fmt: skip
"""In this order: each may use those before it."""
OWN_FILE = re.compile(r"(rows-\d{3,}|phase-[a-z]+(-h\d+)?)\.js")


def render(document: dict[str, Any], out: Path) -> list[Path]:
    """Write the site of a data document; it works from `file://` and from any static host.

    Parameters
    ----------
    document
        The board's data, `leaderboard.json`. Its texts may be anyone's: they reach the page as JSON, and its scripts
        write them as text.
    out
        Folder to write `index.html` and `board/` into. Scripts of an older site in `board/` are removed.

    Returns
    -------
    list of Path
        The files written, `index.html` last: it names the others.

    Raises
    ------
    ValueError
        If the document has another format, or holds a number that is not finite.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"the data document has format {document.get('format')!r}; this page reads format {FORMAT}")
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written, versions, lengths = [], {}, []
    about = summary(document)
    for name, script, rows in _scripts(document, about):
        path = folder / f"{name}.js"
        write_text(path, script)
        written.append(path)
        versions[name] = hashlib.sha256(script.encode()).hexdigest()[:8]
        if rows:
            lengths.append(rows)
    for stale in folder.iterdir():
        if OWN_FILE.fullmatch(stale.name) and stale not in written:
            stale.unlink()
    index = out / "index.html"
    write_text(index, _page({**about, "scripts": versions, "chunks": lengths}))
    return [*written, index]


def _scripts(document: dict[str, Any], about: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    """Name, script and number of detailed rows of everything read on demand."""
    for name, script, rows in chunks(document):
        yield name, script, rows
    for phase in about["phases"]:
        if phase != HEADLINE:
            name = f"phase-{phase}"
            yield name, script_call(LISTENER, name, phase_columns(document["rows"], phase, about["horizons"])), 0
        for horizon in range(1, about["horizons"] + 1):
            name = f"phase-{phase}-h{horizon}"
            yield name, script_call(LISTENER, name, horizon_columns(document["rows"], phase, horizon)), 0


def _page(data: dict[str, Any]) -> str:
    assets = files(__package__) / "assets"
    style = "\n".join(_read(assets / "css" / f"{name}.css") for name in STYLES)
    modules = "\n".join(_read(assets / "js" / f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{modules}}})();\n'
    parts = {
        "POLICY": _policy(style, script),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": json_text(data),
    }
    # One pass over the template: what is put in is never searched for places again.
    return re.sub(r"@@([A-Z]+)@@", lambda match: parts[match[1]], _read(assets / "page.html"))


def _policy(style: str, script: str) -> str:
    """The page's Content-Security-Policy: its own inline style and script by hash, scripts beside it, no network.

    `'self'` covers the files beside the page, from `file://` too. Trusted types make every assignment of a text to
    `innerHTML` and its like an error, and `src` of a script pass through the one policy `board`.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types board",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(path: Traversable) -> str:
    return path.read_text(encoding="utf-8")
