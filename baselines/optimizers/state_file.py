"""A predictor from the file of its fitted state, ready to forecast in this process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from ...utils.canonical import strict_json
from ...utils.errors import PredictorError, UnknownNameError, reason
from ...utils.text import SLUG_PATTERN, one_line
from ..options import build_options
from ..plugins.discovery import predictor_names
from ..plugins.lookup import predictor_type
from ..predictor import Predictor
from ..saving import LABEL

CONTEXT = 20
"""Checkpoints of the past that a predictor is shown, as in the forecast track."""


def load_state_file(place: str) -> Predictor[Any]:
    """The predictor whose state `Predictor.save` wrote to a file; or, by its name, one that was not fitted.

    Raises
    ------
    UnknownNameError
        If the predictor is not installed.
    PredictorError
        If the file is damaged, or the state is another version's.
    """
    path = Path(place)
    if not path.is_file():
        if "/" in place and ":" not in place:
            way_out = (
                "It is no folder of a run with a fitted state, nor the name of one (`tipl-bench forecast` lists them)"
            )
            raise UnknownNameError("predictor", place, predictor_names(), way_out)
        kind = predictor_type(place)
        unfitted: Predictor[Any] = kind(build_options(kind, "quick", (), CONTEXT))
        return unfitted
    label = state_label(path)
    try:
        kind = predictor_type(label["predictor"])
        predictor: Predictor[Any] = kind(TypeAdapter(kind.options_type).validate_python(label["options"]))
        predictor.load(path)
    except UnknownNameError:
        raise
    except (ValidationError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise PredictorError(f"{path}: not a predictor's state ({one_line(reason(error), 200)}).") from None
    return predictor


def state_label(path: Path) -> dict[str, Any]:
    """What a state's file says of itself: `predictor`, a name and never a place of code, `version` and `options`.

    Raises
    ------
    PredictorError
        If it is not the file of a state.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            label = strict_json((file.metadata() or {})[LABEL])
        if not isinstance(label, dict) or {*label} != {"predictor", "version", "options"}:
            raise ValueError("its header does not name a predictor, its version and its options")
        if not re.fullmatch(SLUG_PATTERN, str(label["predictor"])):
            raise ValueError(f"its header names {label['predictor']!r}, which is no predictor's name")
    except (SafetensorError, OSError, LookupError, ValueError) as error:
        raise PredictorError(f"{path}: not a predictor's state ({one_line(reason(error), 200)}).") from None
    return label
