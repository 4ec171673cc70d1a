"""A suite: a TOML file that names datasets, methods, budgets and seeds of both tracks."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...baselines import predictor_type
from ...baselines.optimizers.lookup import build_optimizer
from ...baselines.options import build_options
from ...registry.catalog import catalog
from ...registry.collection.presets import presets
from ...registry.store import local_names
from ...utils.errors import OptionError, TiplBenchError, UnknownNameError, reason
from ...utils.text import first_error
from ..protocol import CURRENT, protocol
from ..training.protocol import training_protocol
from ..training.request import with_files

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
    seeds: tuple[int, ...] = Field((0,), min_length=1)
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

    Everything that it names is looked up: nothing is begun that would stop in the middle for a wrong name.

    Raises
    ------
    UnknownNameError
        If there is neither such a suite nor such a file.
    OptionError
        If the file is not a suite's, or names what does not exist; the message says where.
    """
    path = shipped_suites().get(str(place), Path(place))
    if not path.is_file():
        raise UnknownNameError("suite", str(place), shipped_suites(), "It is neither a suite's name nor a file")
    try:
        suite = Suite.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise OptionError(f"{path}: {first_error(error, 'suite')}.") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: not a suite ({reason(error)}).") from None
    parts: dict[str, Sequence[ForecastEntry | TrainingEntry]] = {
        "forecast": suite.forecast,
        "training": suite.training,
    }
    for kind, entries in parts.items():
        for place_in_file, entry in enumerate(entries):
            try:
                _check(entry)
            except TiplBenchError as error:
                raise OptionError(f"{path}, {kind} entry {place_in_file + 1}: {error}") from None
    return path.stem, suite


def _check(entry: ForecastEntry | TrainingEntry) -> None:
    """Raise for a name or a setting that does not exist; a fitted state of the suite's own is made later."""
    if isinstance(entry, TrainingEntry):
        for environment in entry.environments:
            training_protocol(environment)
        settings = [f"{one.partition('=')[0]}=persistence" if RUNS in one else one for one in entry.settings]
        build_optimizer(entry.optimizer, entry.outer, with_files(settings)[0])
        return
    chosen = protocol(entry.protocol)
    known = {*catalog(), *presets(), *local_names()}
    for name in (*entry.datasets, *([entry.fit_on] if entry.fit_on else [])):
        if name not in known:
            raise UnknownNameError("dataset", name, known)
    kind = predictor_type(entry.model)
    build_options(kind, entry.budget, entry.settings, chosen.context)
