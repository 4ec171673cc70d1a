"""A suite: a TOML file that names datasets, methods, budgets and seeds of both tracks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...utils.errors import OptionError, UnknownNameError, reason
from ...utils.text import first_error
from ..protocol import CURRENT

SHIPPED = Path(__file__).parent
RUNS = "{runs}"
"""In a setting: the suite's folder of runs, for a predictor that another of its tasks fits."""


class ForecastEntry(BaseModel):
    """Runs of a predictor: one for each dataset and seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    datasets: tuple[str, ...] = Field(min_length=1)
    budget: str = "quick"
    settings: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    fit_on: str | None = None
    protocol: int = CURRENT.version


class TrainingEntry(BaseModel):
    """Training runs with a method: one for each environment, on the test or the tuning trials."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environments: tuple[str, ...] = Field(min_length=1)
    optimizer: str = "adam"
    outer: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    on: Literal["test", "tuning"] = "test"
    trials: int | None = Field(None, ge=1)
    iterations: int | None = Field(None, ge=1)


class Suite(BaseModel):
    """What is run, in the order in which it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str
    forecast: tuple[ForecastEntry, ...] = ()
    training: tuple[TrainingEntry, ...] = ()


def shipped_suites() -> dict[str, Path]:
    """The suites of this package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def read_suite(place: str | Path) -> tuple[str, Suite]:
    """A suite's name and what it holds: one of this package by its name, or a file's.

    Raises
    ------
    UnknownNameError
        If there is neither such a suite nor such a file.
    OptionError
        If the file is not a suite's.
    """
    path = shipped_suites().get(str(place), Path(place))
    if not path.is_file():
        otherwise = "It is neither a suite's name nor a file"
        raise UnknownNameError("suite", str(place), shipped_suites(), otherwise=otherwise)
    try:
        return path.stem, Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise OptionError(f"{path}: {_in_words(first_error(error, 'suite'))}.") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: not a suite ({reason(error)}).") from None


def _in_words(problem: str) -> str:
    """A problem of an entry's field, counted from 1 as entries are elsewhere, and the fields that there are."""
    found = re.match(r"(forecast|training)\.(\d+)\.(.*)", problem, re.DOTALL)
    if not found:
        return problem
    track, place, rest = found.groups()
    kind = ForecastEntry if track == "forecast" else TrainingEntry
    known = f" (known: {', '.join(kind.model_fields)})" if rest.endswith("no such field") else ""
    return f"{track} entry {int(place) + 1}: {rest}{known}"
