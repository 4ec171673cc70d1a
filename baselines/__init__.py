"""What competes: predictors of this package, and of installed ones, found by name."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .plugins.discovery import IN_TREE, predictor_names

if TYPE_CHECKING:
    from .plugins.lookup import find_plugin, is_target, method_code, model_of, predictor_type

__all__ = ["IN_TREE", "find_plugin", "is_target", "method_code", "model_of", "predictor_names", "predictor_type"]


def __getattr__(name: str) -> Any:
    """What needs the contract, imported when first used: the completion of names must not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".plugins.lookup", __name__), name)
