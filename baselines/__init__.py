"""Predictors by name: those of this package, and those of installed packages through an entry point."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import entry_points
from typing import Any

from ..registry.reference import SLUG_LENGTH, SLUG_PATTERN
from ..utils.errors import PredictorError, UnknownNameError
from ..utils.text import one_line
from .predictor import Predictor

ENTRY_POINTS = "tipl_bench.predictors"

IN_TREE = {
    "persistence": "persistence:Persistence",
    "linear": "linear:Linear",
    "autoregression": "autoregression:Autoregression",
    "mlp": "mlp:MLP",
    "tipl": "tipl:TIPL",
}
"""Predictors of this package, by name, as `module:class`."""


def predictor_names() -> list[str]:
    """All names, the in-tree ones first."""
    outside = sorted(point.name for point in entry_points(group=ENTRY_POINTS))
    return [*IN_TREE, *(name for name in outside if name not in IN_TREE)]


def predictor_type(name: str) -> type[Predictor[Any]]:
    """The class of a predictor, imported now.

    Raises
    ------
    UnknownNameError
        If no predictor has the name.
    PredictorError
        If an installed package's entry point cannot be loaded, is no predictor, or is described by unusable attributes.
    """
    if name in IN_TREE:
        module, _, attribute = IN_TREE[name].partition(":")
        loaded = getattr(importlib.import_module(f".{module}", __package__), attribute)
    else:
        points = [point for point in entry_points(group=ENTRY_POINTS) if point.name == name]
        if not points:
            raise UnknownNameError("predictor", name, predictor_names())
        try:
            loaded = points[0].load()
        except Exception as error:  # an outside package may fail in any way
            cause = one_line(repr(error))
            raise PredictorError(f"{name}: its entry point {points[0].value!r} does not load ({cause}).") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Predictor)) or getattr(loaded, "name", None) != name:
        raise PredictorError(f"{name}: {one_line(repr(loaded))} is not a Predictor of that name.")
    problem = _invalid_attribute(loaded)
    if problem:
        raise PredictorError(f"{name}: {one_line(problem)}.")
    return loaded


def _invalid_attribute(kind: type[Predictor[Any]]) -> str | None:
    """What is wrong with an attribute that records and tables must hold."""
    for attribute in ("name", "consumes"):
        value = getattr(kind, attribute)
        if not isinstance(value, str) or len(value) > SLUG_LENGTH or not re.fullmatch(SLUG_PATTERN, value):
            return f"its {attribute} is {value!r}, not letters and digits joined by - . or _, {SLUG_LENGTH} at most"
    version, summary = getattr(kind, "version", None), getattr(kind, "summary", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        return f"its version is {version!r}, not a whole number"
    if not isinstance(summary, str):
        return f"its summary is {summary!r}, not a line of text"
    return None
