"""Options: a frozen dataclass per predictor, filled from a budget and from `--set name=value`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..utils.errors import OptionError, UnknownNameError
from .predictor import BUDGETS, Predictor


def build_options(predictor: type[Predictor[Any]], budget: str, settings: Sequence[str]) -> Any:
    """The options of a predictor under a budget, with `name=value` settings on top.

    Raises
    ------
    UnknownNameError
        If the budget or a name is not known.
    OptionError
        If a value does not fit its option's type or range.
    """
    if budget not in BUDGETS:
        raise UnknownNameError("budget", budget, BUDGETS)
    values: dict[str, Any] = dict(predictor.budgets.get(budget, {}))
    types = get_type_hints(predictor.options_type)
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise OptionError(f"--set {setting!r} is not of the form name=value.")
        if name not in types:
            raise UnknownNameError(f"option of {predictor.name}", name, types)
        values[name] = parse_value(name, text, types[name])
    try:
        options = predictor.options_type(**values)
    except (ValueError, TypeError) as error:  # out of range, or an option without a default left out
        raise OptionError(f"{predictor.name}: {error}") from None
    for name in types:
        value = getattr(options, name)
        if not isinstance(value, bool | int | float | str | None):
            raise OptionError(f"{predictor.name}: option {name} is {value!r}, not true, false, a number, text or none.")
    return options


def parse_value(name: str, text: str, kind: Any) -> Any:
    """Read an option's value: bool, int, finite float, str, one of a Literal's choices, or `none` where it may be."""
    members = get_args(kind)
    if type(None) in members:
        if text.lower() == "none":
            return None
        return parse_value(name, text, next(member for member in members if member is not type(None)))
    if get_origin(kind) is Literal:
        if text not in members:
            raise UnknownNameError(f"value of {name}", text, members)
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise OptionError(f"Option {name} is true or false, not {text!r}.")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError:
        raise OptionError(f"Option {name} takes a value of type {kind.__name__}, not {text!r}.") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(f"Option {name} takes a finite number, not {text!r}.")
    return value


def describe_options(predictor: type[Predictor[Any]]) -> Mapping[str, tuple[str, Any]]:
    """Option names with their type's name and default."""
    hints = get_type_hints(predictor.options_type)

    def spell(kind: Any) -> str:
        if get_origin(kind) is Literal:
            return " | ".join(get_args(kind))
        return str(kind).replace("None", "none") if get_args(kind) else kind.__name__

    return {f.name: (spell(hints[f.name]), f.default) for f in dataclasses.fields(predictor.options_type)}
