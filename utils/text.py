"""Text of strangers, on its way to a person's eyes."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 500
"""Characters of one text that a message shows."""


def visible(character: str) -> str:
    """The character, or its number where it has no shape of its own (control, format, line ends, odd spaces)."""
    if character != " " and unicodedata.category(character)[0] in "CZ":
        return f"\\u{ord(character):04x}"
    return character


def one_line(text: object, longest: int = LONGEST) -> str:
    """A text as one line in which everything is seen, cut if it is long."""
    words = str(text)
    if len(words) > longest:
        words = words[: longest - 1] + "\u2026"
    return "".join(map(visible, words))


def first_error(error: ValidationError) -> str:
    """The first thing that validation refused, `where: why`, whatever a stranger wrote there."""
    first = error.errors()[0]
    where = ".".join(str(part).encode("unicode_escape").decode()[:80] for part in first["loc"])
    message = one_line(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
