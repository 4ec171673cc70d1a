"""What a search chooses from: ranges and lists of values of a predictor's options."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ...utils.errors import OptionError

FORMS = "name=low..high, name=low..high:log or name=a,b,c"
WHOLE = re.compile(r"[+-]?\d{1,15}", re.ASCII)
DIGITS = 4
"""Digits of a value within a range of decimal numbers."""


@dataclass(frozen=True)
class Dimension:
    """One option that is searched.

    Parameters
    ----------
    name
        The option.
    values
        Its values as text, if they are listed.
    low, high
        The bounds of its range, if they are not: whole numbers where both were written so, and then its values are.
    log
        Whether the range is searched on a logarithmic scale.
    """

    name: str
    values: tuple[str, ...] = ()
    low: int | float = 0
    high: int | float = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the values of a range are whole numbers."""
        return isinstance(self.low, int)

    def decimal(self) -> Dimension:
        """The same with decimal numbers in its range."""
        return self if self.values else replace(self, low=float(self.low), high=float(self.high))

    def setting(self, value: int | float | str) -> str:
        """`name=value`, of a decimal number so many digits that a person can type it again."""
        if isinstance(value, float):
            value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        return f"{self.name}={value}"


def parse_space(searches: Iterable[str]) -> tuple[Dimension, ...]:
    """The dimensions that `FORMS` spell.

    Raises
    ------
    OptionError
        If one is not of these forms, or an option is searched twice.
    """
    dimensions = tuple(map(_parse, searches))
    if not dimensions:
        raise OptionError(
            "Nothing to search: name an option and its values (`search=`), such as learning_rate=1e-4..1e-2:log. "
            "`tipl-bench models NAME` lists the options."
        )
    names = [dimension.name for dimension in dimensions]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise OptionError(f"Option {twice!r} is searched twice.")
    return dimensions


def _parse(text: str) -> Dimension:
    name, equals, choice = (part.strip() for part in text.partition("="))
    if not (name and equals and choice):
        raise OptionError(f"Search {text!r} is not of the form {FORMS}.")
    if ".." in choice:
        return _range(text, name, choice)
    values = [value.strip() for value in choice.split(",")]
    if "" in values:
        raise OptionError(f"Search {text!r} lists an empty value.")
    if len(set(values)) < 2:
        raise OptionError(f"Search {text!r} has one value, so that there is nothing to choose; use {FORMS}.")
    return Dimension(name, tuple(dict.fromkeys(values)))


def _range(text: str, name: str, choice: str) -> Dimension:
    bounds, _, scale = choice.partition(":")
    first, _, last = (part.strip() for part in bounds.partition(".."))
    try:
        kind = int if WHOLE.fullmatch(first) and WHOLE.fullmatch(last) else float
        low, high = kind(first), kind(last)
    except ValueError:
        raise OptionError(f"Search {text!r}: {bounds} is not a range of two numbers; use {FORMS}.") from None
    if not math.isfinite(low) or not math.isfinite(high):
        raise OptionError(f"Search {text!r}: the bounds are not finite.")
    if scale not in ("", "log"):
        raise OptionError(f"Search {text!r}: unknown scale {scale!r}; a range is searched evenly, or with `:log`.")
    if low >= high:
        raise OptionError(f"Search {text!r}: the upper bound, {last}, is not above the lower one, {first}.")
    if scale and low <= 0:
        raise OptionError(f"Search {text!r}: a logarithmic range begins above 0, not at {first}.")
    return Dimension(name, (), low, high, bool(scale))


def count(space: Sequence[Dimension]) -> int | None:
    """How many configurations there are; None for more than can be listed."""
    sizes = [len(one.values) or (int(one.high - one.low + 1) if one.whole else 0) for one in space]
    return math.prod(sizes) if all(sizes) else None


def all_of(space: Sequence[Dimension]) -> Iterable[dict[str, int | str]]:
    """Every configuration of a space that can be listed, the values by name."""
    values: list[Sequence[int | str]] = [one.values or range(int(one.low), int(one.high) + 1) for one in space]
    for chosen in itertools.product(*values):
        yield {one.name: value for one, value in zip(space, chosen, strict=True)}
