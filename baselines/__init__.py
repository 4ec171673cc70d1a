"""What competes: predictors of this package, and of installed ones, found by name."""

from __future__ import annotations

from .plugins.lookup import IN_TREE, find_plugin, is_target, method_code, model_of, predictor_names, predictor_type

__all__ = ["IN_TREE", "find_plugin", "is_target", "method_code", "model_of", "predictor_names", "predictor_type"]
