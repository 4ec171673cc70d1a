"""Untrusted text in each format that is written: shown as it is, never read as markup, code or a formula."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from ...utils.text import visible

MAX_LENGTH = 200
"""Characters of one text that Markdown shows."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
_PUNCTUATION = re.compile(r"([*_\[\]~#$!{}])")
_ADDRESSES = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_FORMULA = re.compile(r"(^|;)(?=[\s\"]*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b])")
"""Where a cell begins as a formula does, in ASCII, fullwidth or small characters."""
_LATEX = {character: f"\\{character}" for character in "{}%$#&_"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "@": r"\char64{}",
}  # fmt: skip
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def markdown_text(text: str, longest: int = MAX_LENGTH) -> str:
    """Markdown that GitHub and CommonMark show as the text, on one line, also inside a table.

    Control and formatting characters (line breaks, bidirectional marks) are spelled out, addresses do not become links,
    and a text beyond `longest` characters is cut.
    """
    if len(text) > longest:
        text = text[: longest - 1] + "\u2026"
    shown = "".join(map(visible, text))
    shown = "".join(_ENTITIES.get(character, character) for character in shown)
    shown = _ADDRESSES.sub(lambda found: f"&#{ord(found[0])};", shown)
    shown = _PUNCTUATION.sub(r"\\\1", shown.replace("&#", "&\0")).replace("&\0", "&#")
    return shown.replace("@", "<span>@</span>")  # an address of mail would be linked even when spelled as an entity


def html_json(value: Any) -> str:
    """Compact JSON in ASCII without `<`, `>` and `&`, which can stand inside a `<script>` element.

    ASCII, so U+2028, U+2029, lone surrogates and control characters are escapes; `<` only occurs inside strings, where
    an escape means the same.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).translate(_MARKUP)


def script_call(function: str, name: str, value: Any) -> str:
    """A script that hands `value` to a global function as `function(name, JSON)`.

    The JSON is a string, not an object literal: in a literal the key `__proto__` would be code.
    """
    literal = html_json(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{function}({json.dumps(name)},'{literal}');\n"


def csv_text(text: str) -> str:
    """A CSV cell of a text, quoted and on one line, that no spreadsheet takes for a formula.

    An apostrophe stands before what would begin one: at the start, and after a semicolon, where some spreadsheets
    begin a cell, whether it is quoted or not.
    """
    shown = _FORMULA.sub(r"\1'", "".join(map(visible, text)))
    return '"' + shown.replace('"', '""') + '"'


def csv_line(values: Iterable[Any]) -> str:
    """A line of CSV: texts quoted, lists as JSON, undefined values as empty cells."""
    return ",".join(map(_csv_cell, values)) + "\n"


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        value = json.dumps(value, separators=(",", ":"))
    return csv_text(value) if isinstance(value, str) else str(value)


def bibtex_text(text: str) -> str:
    """The text in a BibTeX field, on one line: LaTeX shows it and runs nothing of it."""
    return "".join(_LATEX.get(character, character) for character in "".join(map(visible, text)))
