"""Text of strangers in Markdown: shown as it is, never read as markup."""

from __future__ import annotations

import re

from ...utils.text import visible

LONGEST = 200
"""Characters of one text that a page shows."""
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
_PUNCTUATION = re.compile(r"([*_\[\]~#$!{}])")
_ADDRESSES = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)


def escape(text: str) -> str:
    """Markdown that GitHub and CommonMark show as the text, on one line, also inside a table.

    Control and formatting characters (line breaks, bidirectional marks) are spelled out, addresses do not become links,
    and a text beyond `LONGEST` characters is cut.
    """
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "\u2026"
    shown = "".join(map(visible, text))
    shown = "".join(_ENTITIES.get(character, character) for character in shown)
    shown = _ADDRESSES.sub(lambda found: f"&#{ord(found[0])};", shown)
    shown = _PUNCTUATION.sub(r"\\\1", shown.replace("&#", "&\0")).replace("&\0", "&#")
    return shown.replace("@", "<span>@</span>")  # an address of mail would be linked even when spelled as an entity
