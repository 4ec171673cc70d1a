"""Canonical JSON for writing, strict JSON for reading."""

from __future__ import annotations

import json
import math
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; NaN and infinities are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def strict_json(text: str) -> Any:
    """Parse JSON, refusing duplicate keys, numbers that are not finite, and text that cannot be encoded as UTF-8.

    Raises
    ------
    ValueError
        If the text is not such JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("an object repeats a key")
        return value

    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(f"{number} is not a finite number")
        return value

    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=finite, parse_float=finite)
        canonical_json(value).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested objects into one with dotted names."""
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= flatten(item, f"{prefix}{name}.") if isinstance(item, dict) else {f"{prefix}{name}": item}
    return flat
