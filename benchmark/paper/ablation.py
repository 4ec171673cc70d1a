"""From the published model to the suite's `tipl`, one departure at a time: there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...baselines.options import describe_options
from ...baselines.tipl import TIPLPooled
from ...baselines.tipl.design import SUITE
from ...registry.dataset import Dataset
from ...utils.progress import Progress, silent
from ..protocol import CURRENT
from ..record import Record
from ..request import run_folder
from ..run import run
from .kept import Ablation, AblationRun, record_in
from .templating import mean_and_spread

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
BUDGET = "quick"
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
    dataset: Dataset, folder: Path, seeds: Sequence[int], *, limit: int | None = None, progress: Progress = silent
) -> None:
    """Run every row of both tables, all of them with one seed before the next.

    Parameters
    ----------
    dataset
        Whose test trials are forecast.
    folder
        Of the runs; finished ones are not repeated.
    seeds
        The seeds of each row.
    limit
        Run so many of those that are missing, instead of all.
    progress
        As for `run`.
    """
    places = [
        (options, seed, _place(dataset, folder, options, seed)) for seed in seeds for options in _configurations()
    ]
    missing = [one for one in places if record_in(one[-1]) is None]
    for options, seed, place in missing[:limit]:
        run(TIPLPooled, dataset, budget=BUDGET, options=options, seed=seed, device="cpu", out=place, progress=progress)


def finished(dataset: Dataset, folder: Path, seeds: Sequence[int]) -> Ablation:
    """The runs that are finished."""
    found = {
        (options, seed): record_in(_place(dataset, folder, options, seed))
        for options in _configurations()
        for seed in seeds
    }
    return Ablation(
        dataset=dataset.name,
        digest=dataset.digest,
        protocol=CURRENT.version,
        budget=BUDGET,
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
        values = [getattr(run, metric)[horizon - 1] for run in self.runs]
        return mean_and_spread([one for one in values if one is not None], 3 if metric == "skill" else 1)


def tables(ablation: Ablation) -> dict[str, list[AblationRow]]:
    """Both tables of the runs that there are."""
    return {
        title: [
            AblationRow(name, meaning, [run for run in ablation.runs if run.options == options])
            for name, (meaning, options) in table.items()
        ]
        for title, table in rows().items()
    }


def _configurations() -> list[Settings]:
    """The settings of all rows, each once."""
    return list(dict.fromkeys(options for table in rows().values() for _, options in table.values()))


def _place(dataset: Dataset, folder: Path, options: Settings, seed: int) -> Path:
    return folder / run_folder(dataset.name, TIPLPooled.name, options, BUDGET, seed, CURRENT).name
