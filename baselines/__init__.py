"""Predictors by name: those of this package, and those of installed packages through an entry point."""

from __future__ import annotations

import importlib
import operator
import re
from pathlib import Path
from typing import Any

from ..registry.reference import SLUG_LENGTH, SLUG_PATTERN
from ..utils.errors import PredictorError, UnknownNameError
from ..utils.text import one_line
from .discovery import Plugin, plugins
from .predictor import INFORMATION_CLASSES, Predictor
from .sources import MethodCode, plugin_code

IN_TREE = {
    "persistence": "persistence:Persistence",
    "linear": "linear:Linear",
    "autoregression": "autoregression:Autoregression",
    "mlp": "mlp:MLP",
    "tipl": "tipl:TIPL",
}
"""Predictors of this package, by name, as `module:class`."""


def predictor_names() -> list[str]:
    """All names, the in-tree ones first; nothing is imported."""
    return [*IN_TREE, *(plugin.name for plugin in plugins(IN_TREE) if plugin.problem is None)]


def find_plugin(name: str) -> Plugin | None:
    """The installed package's predictor of a name, not imported; None for a predictor of this package.

    Raises
    ------
    UnknownNameError
        If no predictor has the name.
    PredictorError
        If the name clashes with another's.
    """
    if name in IN_TREE:
        return None
    found = [plugin for plugin in plugins(IN_TREE) if plugin.name == name]
    if not found:
        raise UnknownNameError("predictor", name, predictor_names(), _not_installed(name))
    if found[0].problem:
        raise PredictorError(f"{one_line(name)}: {found[0].problem}.")
    return found[0]


def method_code(name: str) -> MethodCode | None:
    """The code of an installed package's predictor, read without importing it; None for one of this package."""
    plugin = find_plugin(name)
    return None if plugin is None else plugin_code(plugin)


def _not_installed(name: str) -> str:
    """What to do if a package that `models new` wrote is here but not installed."""
    folder = Path(name)
    if re.fullmatch(SLUG_PATTERN, name) and (folder / "pyproject.toml").is_file():
        return f"The package in {folder}/ is not installed: pip install -e {folder}"
    return ""


def predictor_type(name: str) -> type[Predictor[Any]]:
    """The class of a predictor, imported now.

    Raises
    ------
    UnknownNameError
        If no predictor has the name.
    PredictorError
        If an installed package's entry point cannot be loaded, is no predictor, or is described by unusable attributes.
    """
    plugin = find_plugin(name)
    if plugin is None:
        module, _, attribute = IN_TREE[name].partition(":")
        loaded = getattr(importlib.import_module(f".{module}", __package__), attribute)
    else:
        loaded = _load(name, plugin.target)
    if not (isinstance(loaded, type) and issubclass(loaded, Predictor)) or getattr(loaded, "name", None) != name:
        raise PredictorError(f"{name}: {one_line(repr(loaded))} is not a Predictor of that name.")
    problem = _invalid_attribute(loaded)
    if problem:
        raise PredictorError(f"{name}: {one_line(problem)}.")
    return loaded


def _load(name: str, target: str) -> Any:
    """What stands at `module:attribute`."""
    module, _, attribute = target.partition(":")
    try:
        return operator.attrgetter(attribute)(importlib.import_module(module))
    except Exception as error:  # an outside package may fail in any way
        cause = one_line(repr(error))
        raise PredictorError(f"{name}: its entry point {one_line(target)!r} does not load ({cause}).") from error


def _invalid_attribute(kind: type[Predictor[Any]]) -> str | None:
    """What is wrong with an attribute that records and tables must hold."""
    if len(kind.name) > SLUG_LENGTH or not re.fullmatch(SLUG_PATTERN, kind.name):
        return f"its name is {kind.name!r}, not letters and digits joined by - . or _, {SLUG_LENGTH} at most"
    if not isinstance(kind.consumes, str) or kind.consumes not in INFORMATION_CLASSES:
        return f"its consumes is {kind.consumes!r}; the information classes are {', '.join(INFORMATION_CLASSES)}"
    version, summary = getattr(kind, "version", None), getattr(kind, "summary", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        return f"its version is {version!r}, not a whole number"
    if not isinstance(summary, str):
        return f"its summary is {summary!r}, not a line of text"
    return None
