"""JSON inside HTML and inside JavaScript, so that no text in it can end its place."""

from __future__ import annotations

import json
from typing import Any

_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def json_text(value: Any) -> str:
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
    literal = json_text(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"{function}({json.dumps(name)},'{literal}');\n"
