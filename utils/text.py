"""Text of strangers, on its way to a person's eyes."""

from __future__ import annotations

import unicodedata

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
