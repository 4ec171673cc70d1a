"""The templates of the documents that are written from runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

TEMPLATES = Path(__file__).parent / "templates"


def templates() -> jinja2.Environment:
    """The Markdown templates; a name that is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "small": _small}
    return environment


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """A mean, with the standard deviation where there are several values; a dash where there is none."""
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):,.{digits}f}{spread}" if values else "-"


def _number(value: float, digits: int = 1) -> str:
    return f"{value:,.{digits}f}"


def _small(value: float) -> str:
    """A weight error: three significant digits."""
    return f"{value:.2e}"
