"""Predictors: the in-tree table, and the door for everyone else's."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from ..registry.errors import PredictorError, UnknownNameError
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
        If an installed package's entry point cannot be loaded or is no predictor.
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
            raise PredictorError(f"{name}: its entry point {points[0].value!r} does not load ({error!r}).") from error
    if not (isinstance(loaded, type) and issubclass(loaded, Predictor)) or loaded.name != name:
        raise PredictorError(f"{name}: {loaded!r} is not a Predictor of that name.")
    return loaded
