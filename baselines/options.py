"""Build a predictor's options from a budget and `name=value` settings, and describe them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..utils.errors import OptionError, TiplBenchError, UnknownNameError
from .plugins.discovery import BUDGETS
from .predictor import Predictor
from .saving import options_dict

NONE = "none"
MAX_CONFIGURATIONS = 1000
"""Runs of one sweep, seeds aside."""
JSON_TYPES = {"integer": "int", "number": "float", "boolean": "bool", "string": "str", "null": NONE}


@dataclass(frozen=True)
class Configurable:
    """A class whose fields are its options, under the name that messages have; a predictor's class is one by itself."""

    name: str
    options_type: type[Any]
    budgets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def resolve_options(self, options: Any, context: int) -> Any:
        """Options as they are."""
        return options


Kind = type[Predictor[Any]] | Configurable


@dataclass(frozen=True)
class OptionInfo:
    """What an option may be: its type in words, default (None also for a required one), and meaning."""

    type: str
    default: Any
    description: str
    nullable: bool
    required: bool
    free_text: bool
    """Whether a comma may be part of a value, so that it does not separate values."""


def option_text(value: object) -> str:
    """A value as `--set` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def as_settings(options: Mapping[str, object]) -> tuple[str, ...]:
    """Options as `--set` takes them."""
    return tuple(f"{name}={option_text(value)}" for name, value in options.items())


def describe_options(predictor: Kind) -> Mapping[str, OptionInfo]:
    """The options of a predictor by name.

    Raises
    ------
    OptionError
        If its options have types that pydantic does not know.
    """
    try:
        schema = TypeAdapter(predictor.options_type).json_schema()
    except Exception as error:
        reason = getattr(error, "message", error)
        raise OptionError(f"{predictor.name}: its options cannot be validated: {reason}") from None
    required = schema.get("required", [])
    return {name: _describe(entry, name in required) for name, entry in schema.get("properties", {}).items()}


def _describe(entry: Mapping[str, Any], required: bool) -> OptionInfo:
    types = [name for member in entry.get("anyOf", [entry]) for name in _type_names(member)]
    description = " ".join(entry.get("description", "").split())
    free_text = any(_is_free_text(member) for member in entry.get("anyOf", [entry]))
    return OptionInfo(" | ".join(types), entry.get("default"), description, NONE in types, required, free_text)


def _is_free_text(member: Mapping[str, Any]) -> bool:
    if "enum" in member or "const" in member:
        return any("," in name for name in _type_names(member))
    return member.get("type") not in ("integer", "number", "boolean", "null")


def _type_names(member: Mapping[str, Any]) -> list[str]:
    if "enum" in member or "const" in member:
        return [NONE if value is None else str(value) for value in member.get("enum", [member.get("const")])]
    return [JSON_TYPES.get(member.get("type", ""), "value")]


def _check_fields(predictor: Kind, names: Collection[str], recorded: Collection[str]) -> None:
    """Refuse options that a setting would not reach, or that a record would not hold."""
    kind = predictor.options_type
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    unreached = {field.name: "it is init=False, so no setting reaches it" for field in fields if not field.init}
    later = {name for name, field in getattr(kind, "model_fields", {}).items() if field.exclude_if}
    unrecorded = {
        name: "no record would hold it (InitVar, excluded or alias)"
        for name in names
        if name not in recorded and name not in later
    }
    for name, reason in (unreached | unrecorded).items():
        raise OptionError(f"{predictor.name}: option {name} of {kind.__name__}: {reason}; make it a plain field.")


def expand_settings(predictor: Kind, budget: str, settings: Sequence[str], context: int) -> tuple[tuple[str, ...], ...]:
    """The settings of every run of a sweep: all combinations of the values that `name=value` settings list.

    A value that an option has without its setting is left out, so that a run is the same whether a sweep names its
    options or not.

    Several values are separated by commas, `width=16,32`, or set one by one, `width=16` and `width=32`. A comma belongs
    to the value where an option may be free text, so that only the second way lists its values.

    Raises
    ------
    OptionError
        If an empty value is listed, or there are more than `MAX_CONFIGURATIONS` combinations.
    """
    known = describe_options(predictor)
    listed: dict[str, dict[str, None]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        several = equals and name in known and not known[name].free_text and "," in text
        values = [value.strip() for value in text.split(",")] if several else [text]
        if several and "" in values:
            raise OptionError(f"{setting!r} lists an empty value.")
        listed.setdefault(name, {}).update(dict.fromkeys(f"{name}{equals}{value}" for value in values))
    count = math.prod(map(len, listed.values()))
    if count > MAX_CONFIGURATIONS:
        raise OptionError(f"{count:,} combinations of values are listed; a sweep has at most {MAX_CONFIGURATIONS:,}.")
    products = tuple(itertools.product(*listed.values()))
    if count == 1:
        return products
    needless = {s for values in listed.values() for s in values if _is_needless(predictor, budget, s, context)}
    distinct: dict[str, tuple[str, ...]] = {}
    for product in products:
        chosen = tuple(s for s in product if s not in needless)
        distinct.setdefault(_identity(predictor, budget, chosen, context), chosen)
    return tuple(distinct.values())


def _identity(predictor: Kind, budget: str, settings: tuple[str, ...], context: int) -> str:
    """What settings that give the same options have in common, however their values are spelt."""
    try:
        return repr(options_dict(build_options(predictor, budget, settings, context)))
    except TiplBenchError:
        return repr(settings)  # refused where they are used


def _is_needless(predictor: Kind, budget: str, setting: str, context: int) -> bool:
    """Whether the options are the same without a setting."""
    try:
        plain, chosen = (build_options(predictor, budget, chosen, context) for chosen in ((), (setting,)))
    except TiplBenchError:
        return False  # another setting may be required, or this one is refused where it is used
    return bool(options_dict(plain) == options_dict(chosen))


def build_options(predictor: Kind, budget: str, settings: Sequence[str], context: int) -> Any:
    """The options of a predictor under a budget, with `name=value` settings on top.

    Parameters
    ----------
    predictor
        The predictor.
    budget
        One of `BUDGETS`.
    settings
        Values as text; `none` where an option may be none.
    context
        Checkpoints that the predictor will be shown: some defaults and ranges depend on it.

    Raises
    ------
    UnknownNameError
        If the budget or a name is not known.
    OptionError
        If a value does not fit its option's type or range, or the options' own code fails.
    """
    if budget not in BUDGETS:
        raise UnknownNameError("budget", budget, BUDGETS)
    known = describe_options(predictor)
    values: dict[str, Any] = dict(predictor.budgets.get(budget, {}))
    given: dict[str, str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise OptionError(f"Setting {setting!r} is not of the form name=value.")
        if name not in known:
            raise UnknownNameError(f"option of {predictor.name}", name, known)
        if given.setdefault(name, text) != text:
            raise OptionError(
                f"{predictor.name}: option {name} is set to both {given[name]} and {text}; give one value."
            )
        values[name] = None if known[name].nullable and text.lower() == NONE else text
    try:
        options = predictor.resolve_options(TypeAdapter(predictor.options_type).validate_python(values), context)
        recorded = options_dict(options)
    except ValidationError as error:
        raise OptionError(f"{predictor.name}: {_explain(error, known)}") from None
    except TiplBenchError:
        raise
    except ValueError as error:
        raise OptionError(f"{predictor.name}: {error}") from None
    except Exception as error:
        what = f"{predictor.options_type.__name__} raised {type(error).__name__}: {error}"
        raise OptionError(f"{predictor.name}: {what}") from error
    _check_fields(predictor, known, recorded)
    for name, value in recorded.items():
        if not isinstance(value, bool | int | float | str | None):
            raise OptionError(
                f"{predictor.name}: option {name}: unsupported value {value!r}; use a bool, int, float, string or none."
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise OptionError(f"{predictor.name}: option {name}: {value} is not a finite number.")
    return options


def _explain(error: ValidationError, known: Mapping[str, OptionInfo]) -> str:
    """The first complaint of pydantic, with the option, its type and the value."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # raised by the options themselves
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else ""
    message = first["msg"][0].lower() + first["msg"][1:]
    if name not in known or first["type"] == "missing":
        return f"option {name}: {message}."
    return f"option {name} ({known[name].type}): {message}; got {first['input']!r}."
