"""Sanitise untrusted text for display."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

SLUG_PATTERN, SLUG_LENGTH = r"^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$", 50
"""A predictor's name, a budget's or an option's: short enough that several fit into one file name."""
_WORDS = {"extra_forbidden": "no such field", "missing": "is missing"}
"""What pydantic says in words of its own."""
MAX_LENGTH = 500
"""Characters of an untrusted text that a message shows."""


def visible(character: str) -> str:
    """The character, or its escape if it is invisible (control, format, line end, unusual space)."""
    if character != " " and unicodedata.category(character)[0] in "CZ":
        return f"\\u{ord(character):04x}"
    return character


def one_line(text: object, max_length: int = MAX_LENGTH) -> str:
    """A text on one line, with invisible characters escaped, truncated to `max_length`."""
    characters = str(text)
    if len(characters) > max_length:
        characters = characters[: max_length - 1] + "\u2026"
    return "".join(map(visible, characters))


def join_first(items: Sequence[str], shown: int = 4) -> str:
    """A few of many, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more


def first_error(error: ValidationError, root: str = "") -> str:
    """The first problem that pydantic found, as `field: message`, sanitised.

    Parameters
    ----------
    error
        The failed validation.
    root
        Stands for the field where the problem is the value as a whole.
    """
    errors = error.errors()
    first = errors[0]
    if first["type"] == "missing":  # a name like it beside it is what it was meant to be
        *parent, name = first["loc"]
        beside = [one for one in errors if one["type"] == "extra_forbidden" and [*one["loc"][:-1]] == parent]
        first = next((one for one in beside if get_close_matches(str(one["loc"][-1]), [str(name)])), first)
    field = ".".join(str(part).encode("unicode_escape").decode()[:80] for part in first["loc"]) or root
    message = _WORDS.get(first["type"]) or one_line(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message
