"""The study of scaling: skill against training trials, training steps and learned parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationInfo, field_validator

from ...baselines import predictor_type
from ...baselines.options import describe_options
from ...registry.dataset import Dataset
from ...registry.manifest import Split
from ...utils.errors import DatasetError, OptionError
from ...utils.fields import Document
from ...utils.files import replace_atomically, write_text
from ...utils.progress import Progress, silent
from ..forecast.windows import evaluation_windows
from ..metrics import BY_NAME, HEADLINE
from ..protocol import CURRENT, Protocol
from ..protocol import protocol as protocol_of
from ..request import run_folder
from ..run import run
from .kept import record_in

PREDICTORS = ("autoregression", "mlp", "tipl", "wnn", "tipl-neuron")
PHASE = "learning"
SUMS = BY_NAME[HEADLINE].columns
"""The sums over a test trial's windows that skill is made of."""
RUN = ["predictor", "steps", "width", "trials", "seed"]
"""What tells a run of the study from the others."""
STUDY_NAME, RUNS_NAME = "study.json", "runs.parquet"


class Study(Document):
    """What is varied.

    Parameters
    ----------
    dataset
        Name of the dataset whose test trials are forecast.
    fit_set
        Name of the one whose first training trials are fitted on.
    trials
        Numbers of them, rising.
    predictors
        Names.
    seeds
        Seeds of each.
    steps, widths
        Factors of a predictor's options `steps` and `width`, rising from 1. One is varied at a time, the other being
        the usual one, with the fewest and the most trials. A predictor without such an option is not varied in it.
    budget
        As for `run`.
    version
        Of the protocol.
    digest, fit_digest
        Of the two datasets.
    """

    dataset: str
    fit_set: str
    trials: tuple[int, ...] = (30, 100, 300, 480)
    predictors: tuple[str, ...] = PREDICTORS
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: tuple[int, ...] = (1, 4)
    widths: tuple[int, ...] = (1, 2)
    budget: str = "quick"
    version: int = CURRENT.version
    digest: str
    fit_digest: str

    @field_validator("trials", "steps", "widths")
    @classmethod
    def _rises(cls, values: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        start = None if info.field_name == "trials" else 1
        if not values or [*values] != sorted({*values}) or start not in (None, values[0]):
            raise ValueError(f"numbers that rise{' from 1' if start else ''} are expected, not {[*values]}")
        return values

    @property
    def protocol(self) -> Protocol:
        """Its protocol."""
        return protocol_of(self.version)

    def curves(self) -> list[Curve]:
        """One a predictor, number of steps and width."""
        grid = [(steps, 1) for steps in self.steps] + [(1, width) for width in self.widths]
        found: dict[tuple[str, int, int], None] = {}
        for name in self.predictors:
            options = describe_options(predictor_type(name))
            for steps, width in grid:
                found[name, steps if "steps" in options else 1, width if "width" in options else 1] = None
        return [Curve(self, *chosen) for chosen in found]

    @property
    def planned(self) -> int:
        """How many runs it is made of."""
        return sum(len(curve.trials) for curve in self.curves()) * len(self.seeds)


@dataclass(frozen=True)
class Curve:
    """One predictor, trained for so many times its usual steps at so many times its usual width."""

    study: Study = field(repr=False)
    predictor: str
    steps: int
    width: int

    @property
    def label(self) -> str:
        """What people read."""
        factors = [f"{name} x {factor}" for name in ("steps", "width") if (factor := getattr(self, name)) > 1]
        return ", ".join([self.predictor, *factors])

    @property
    def trials(self) -> Sequence[int]:
        """Numbers of training trials: all of the study with the usual options, else the fewest and the most."""
        every = self.study.trials
        return every if self.steps == self.width == 1 else sorted({every[0], every[-1]})

    @property
    def settings(self) -> tuple[str, ...]:
        """Options, as a run takes them."""
        kind = predictor_type(self.predictor)
        usual = {name: option.default for name, option in describe_options(kind).items()}
        usual |= kind.budgets.get(self.study.budget, {})
        return tuple(
            f"{name}={usual[name] * factor}" for name in ("steps", "width") if (factor := getattr(self, name)) > 1
        )

    def place(self, folder: Path, count: int, seed: int) -> Path:
        """A run's folder."""
        study, fit_set = self.study, _first(self.study.fit_set, count)
        name = run_folder(
            study.dataset, self.predictor, self.settings, study.budget, seed, study.protocol, fit_set
        ).name
        return folder / name

    def rows(self, folder: Path) -> Iterator[pd.DataFrame]:
        """The skill's sums of each finished run, by horizon and test trial."""
        for count in self.trials:
            for seed in self.study.seeds:
                record = record_in(self.place(folder, count, seed))
                if record is None:
                    continue
                for result in record.of_phase(PHASE):
                    yield pd.DataFrame({name: result.by_trial[name] for name in SUMS}).assign(
                        **{name: getattr(self, name) for name in ("predictor", "steps", "width")},
                        trials=count,
                        seed=seed,
                        parameters=record.parameter_count,
                        fit_seconds=record.cost.fit_seconds,
                        processor=record.provenance.gpu or record.provenance.cpu,
                        horizon=result.horizon,
                        test_trial=np.arange(result.trials),
                    )


def first_trials(fit_set: Dataset, count: int) -> Dataset:
    """A fit set with the first training trials alone, and the same validation trials; the others are for testing.

    It is no copy: the same files under a manifest of its own.
    """
    split = fit_set.manifest.split
    if not 0 < count <= len(split.train):
        raise OptionError(f"{fit_set.name} has {len(split.train)} training trials, not {count}.")
    chosen = Split(train=split.train[:count], validation=split.validation, test=(*split.test, *split.train[count:]))
    name = _first(fit_set.name, count)
    return Dataset(fit_set.folder, fit_set.manifest.model_copy(update={"name": name, "split": chosen}))


def _first(name: str, count: int) -> str:
    stem, _, version = name.rpartition("-v")
    return f"{stem}-first-{count}-v{version}"


def missing(study: Study, folder: Path, kept: Path) -> Iterator[tuple[Curve, int, int]]:
    """The runs that are neither finished nor kept: all curves with one seed before the next."""
    rows = _kept_of(study, kept)
    known = set() if rows is None else set(rows[RUN].drop_duplicates().itertuples(index=False, name=None))
    for seed in study.seeds:
        for curve in study.curves():
            for count in curve.trials:
                run = (curve.predictor, curve.steps, curve.width, count, seed)
                if run not in known and record_in(curve.place(folder, count, seed)) is None:
                    yield curve, count, seed


def scale(
    study: Study,
    dataset: Dataset,
    fit_set: Dataset,
    folder: Path,
    kept: Path,
    *,
    device: str = "cpu",
    limit: int | None = None,
    progress: Progress = silent,
) -> None:
    """Make the runs that are missing, or so many of them, in a folder. Returns are not evaluated."""
    windows = len(evaluation_windows(dataset, study.protocol, progress=progress))
    for curve, count, seed in [*missing(study, folder, kept)][:limit]:
        run(
            curve.predictor,
            dataset,
            budget=study.budget,
            options=curve.settings,
            seed=seed,
            device=device,
            out=curve.place(folder, count, seed),
            protocol=study.protocol,
            progress=progress,
            returns=False,
            limit=windows,
            fit_on=first_trials(fit_set, count),
        )


def keep(study: Study, folder: Path, kept: Path) -> None:
    """Write what the finished runs of a folder came to where it is kept, beside what is there of the same study.

    Raises
    ------
    DatasetError
        If another study is kept there, or there is no finished run.
    """
    rows = [rows for curve in study.curves() for rows in curve.rows(folder)]
    before = _kept_of(study, kept)
    if before is not None:
        made = {_run_of(one) for one in rows}
        rows += [one for _, one in before.groupby(RUN, sort=False) if _run_of(one) not in made]
    if not rows:
        raise DatasetError(f"{folder} holds no finished run of the study, and {kept} keeps none.")
    kept.mkdir(parents=True, exist_ok=True)
    with replace_atomically(kept / RUNS_NAME) as temporary:
        pd.concat(rows).sort_values([*RUN, "horizon", "test_trial"]).to_parquet(temporary, index=False)
    write_text(kept / STUDY_NAME, study.model_dump_json(indent=1) + "\n")


def _kept_of(study: Study, kept: Path) -> pd.DataFrame | None:
    """The rows that are kept of a study, if there are any; raises `DatasetError` for those of another."""
    if not (kept / STUDY_NAME).exists():
        return None
    other, rows = read_kept(kept)
    fields = [name for name in Study.model_fields if getattr(study, name) != getattr(other, name)]
    if fields:
        raise DatasetError(f"{kept} keeps a study of other {', '.join(fields)}; choose another folder with `--kept`.")
    return rows


def _run_of(rows: pd.DataFrame) -> tuple[Any, ...]:
    return tuple(rows[RUN].iloc[0])


def read_kept(kept: Path) -> tuple[Study, pd.DataFrame]:
    """What `keep` wrote: the study, and a row for each run, horizon and test trial.

    Raises
    ------
    DatasetError
        If nothing is kept there.
    """
    if not (kept / STUDY_NAME).exists():
        raise DatasetError(f"{kept} keeps no study of scaling; `--fit` makes one.")
    study = Study.model_validate_json((kept / STUDY_NAME).read_text("utf-8"))
    return study, pd.read_parquet(kept / RUNS_NAME)
