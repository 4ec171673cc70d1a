"""From the published model to the suite's `tipl`, one departure at a time: there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...baselines.options import describe_options
from ...baselines.tipl import TIPLPooled
from ...baselines.tipl.design import SUITE
from ...registry.dataset import Dataset
from ...utils.progress import Progress, silent
from ..protocol import CURRENT, Protocol
from ..record import RECORD_NAME, Record, read_record
from ..request import run_folder
from ..run import run
from .kept import Ablation, AblationRun

ORDER = (
    "centred",
    "basis",
    "displacement",
    "by_step",
    "differences",
    "window_time",
    "position",
    "growing",
    "skip_first",
    "rotations",
    "select",
)
"""The departures as they are added; a basis of the context needs centred tokens."""
ADDED, REMOVED = "From the published model to `tipl`, one departure more each row", "`tipl` without one departure"

Settings = tuple[str, ...]


def rows() -> dict[str, dict[str, tuple[str, Settings]]]:
    """Both tables: name of a row to its meaning and the settings of `tipl-pooled`."""
    meanings = {name: option.description for name, option in describe_options(TIPLPooled).items()}
    added: dict[str, tuple[str, Settings]] = {
        "published, basis of training trials": ("The published model's honest twin.", ())
    }
    for count, name in enumerate(ORDER, 1):
        added[f"+ {_named(name)}"] = (meanings[name], tuple(map(_setting, ORDER[:count])))
    removed: dict[str, tuple[str, Settings]] = {"`tipl`": ("All departures.", tuple(map(_setting, ORDER)))}
    for name in ORDER:
        if name != "centred":  # the context's basis and the rotations need it
            removed[f"without {_named(name)}"] = (meanings[name], tuple(_setting(one) for one in ORDER if one != name))
    return {ADDED: added, REMOVED: removed}


def _named(name: str) -> str:
    value = getattr(SUITE, name)
    return f"`{name}`" if value is True else f"`{name}={value}`"


def _setting(name: str) -> str:
    return f"{name}={str(getattr(SUITE, name)).lower()}"


def ablate(
    dataset: Dataset,
    folder: Path,
    seeds: Sequence[int],
    *,
    budget: str = "quick",
    device: str = "cpu",
    protocol: Protocol = CURRENT,
    limit: int | None = None,
    progress: Progress = silent,
) -> None:
    """Run every row of both tables, all of them with one seed before the next.

    Parameters
    ----------
    dataset, budget, device, protocol
        As for `run`.
    folder
        Of the runs; finished ones are not repeated.
    seeds
        The seeds of each row.
    limit
        Run so many of those that are missing, instead of all.
    progress
        As for `run`.
    """
    missing = [
        (options, seed, place)
        for seed in seeds
        for options in _configurations()
        if _finished(place := folder / _name(dataset, options, budget, seed, protocol)) is None
    ]
    for options, seed, place in missing[:limit]:
        run(
            TIPLPooled,
            dataset,
            budget=budget,
            options=options,
            seed=seed,
            device=device,
            out=place,
            protocol=protocol,
            progress=progress,
        )


def finished(
    dataset: Dataset, folder: Path, seeds: Sequence[int], budget: str = "quick", protocol: Protocol = CURRENT
) -> Ablation:
    """The runs that are finished."""
    found = {
        (options, seed): _finished(folder / _name(dataset, options, budget, seed, protocol))
        for options in _configurations()
        for seed in seeds
    }
    return Ablation(
        dataset=dataset.name,
        digest=dataset.digest,
        protocol=protocol.version,
        budget=budget,
        runs=tuple(_run(options, seed, record) for (options, seed), record in found.items() if record),
    )


def _run(options: Settings, seed: int, record: Record) -> AblationRun:
    results = record.of_phase("learning")
    skill, repw = (tuple(result[metric].value for result in results) for metric in ("skill", "repw"))
    return AblationRun(options=options, seed=seed, skill=skill, repw=repw)


@dataclass(frozen=True)
class AblationRow:
    """One row of the way from the published model to `tipl`.

    Parameters
    ----------
    name, meaning
        The switch that was thrown, and what it does.
    runs
        One run for each seed.
    """

    name: str
    meaning: str
    runs: Sequence[AblationRun]

    def cell(self, metric: str, horizon: int) -> str:
        """A metric in the learning phase: mean over seeds, and their standard deviation where there are several."""
        found = [getattr(run, metric)[horizon - 1] for run in self.runs]
        values = [value for value in found if value is not None]
        if not values:
            return "-"
        digits = 3 if metric == "skill" else 1
        spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
        return f"{np.mean(values):,.{digits}f}{spread}"


def tables(ablation: Ablation) -> dict[str, list[AblationRow]]:
    """Both tables of the runs that there are."""
    return {
        title: [
            AblationRow(name, meaning, [run for run in ablation.runs if run.options == options])
            for name, (meaning, options) in table.items()
        ]
        for title, table in rows().items()
    }


def _finished(folder: Path) -> Record | None:
    """The record of the run in a folder; None if there is none, or it failed and is to be tried again."""
    path = folder / RECORD_NAME
    record = read_record(path) if path.exists() else None
    return None if record is None or record.failed else record


def _configurations() -> list[Settings]:
    """The settings of all rows, each once."""
    return list(dict.fromkeys(options for table in rows().values() for _, options in table.values()))


def _name(dataset: Dataset, options: Settings, budget: str, seed: int, protocol: Protocol) -> str:
    return run_folder(dataset.name, TIPLPooled.name, options, budget, seed, protocol).name
