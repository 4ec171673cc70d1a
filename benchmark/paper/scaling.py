"""docs/scaling.md: skill against training trials, training steps and learned parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...baselines import predictor_type
from ...baselines.options import describe_options
from ...registry.dataset import Dataset
from ...registry.manifest import Split
from ...utils.bootstrap import Index
from ...utils.errors import OptionError
from ...utils.files import replace_atomically, write_text
from ...utils.progress import Progress, silent
from .. import figures, intervals
from ..compare import paired_difference
from ..forecast.windows import evaluation_windows
from ..intervals import Estimate
from ..metrics import BY_NAME, HEADLINE
from ..protocol import CURRENT, Protocol
from ..record import RECORD_NAME, Record, read_record
from ..request import run_folder
from ..run import run
from .templating import templates

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREDICTORS = ("autoregression", "mlp", "tipl", "wnn", "tipl-neuron")
COLOURS = ("#8a8a8a", "#1f5fa8", "#1a8f4c", "#b8860b", "#b3261e", "#6a3d9a")
PHASE = "learning"


@dataclass(frozen=True)
class Scaling:
    """What is varied.

    Parameters
    ----------
    dataset
        Whose test trials are forecast.
    fit_set
        Whose first training trials are fitted on.
    trials
        Numbers of them, rising.
    predictors
        Names.
    seeds
        Seeds of each.
    steps, widths
        Factors of a predictor's options `steps` and `width`, rising from 1. One is varied at a time, the other being
        the usual one, with the fewest and the most trials. A predictor without such an option is not varied in it.
    budget, device, protocol
        As for `run`.
    """

    dataset: Dataset
    fit_set: Dataset
    trials: Sequence[int] = (30, 100, 300, 480)
    predictors: Sequence[str] = PREDICTORS
    seeds: Sequence[int] = (0, 1, 2)
    steps: Sequence[int] = (1, 4)
    widths: Sequence[int] = (1, 2)
    budget: str = "quick"
    device: str = "cpu"
    protocol: Protocol = CURRENT

    def __post_init__(self) -> None:
        """Raise `OptionError` unless all that is varied rises, factors from 1."""
        for name in ("trials", "steps", "widths"):
            values = [*getattr(self, name)]
            if not values or values != sorted({*values}) or (name != "trials" and values[0] != 1):
                raise OptionError(
                    f"The {name} of a study of scaling rise, and factors begin with 1; these are {values}."
                )

    def curves(self) -> list[Curve]:
        """One a predictor, number of steps and width."""
        grid = [(steps, 1) for steps in self.steps] + [(1, width) for width in self.widths]
        found: dict[tuple[str, int, int], None] = {}
        for name in self.predictors:
            options = describe_options(predictor_type(name))
            for steps, width in grid:
                found[name, steps if "steps" in options else 1, width if "width" in options else 1] = None
        return [Curve(self, *chosen) for chosen in found]


@dataclass(frozen=True)
class Curve:
    """One predictor, trained for so many times its usual steps at so many times its usual width."""

    study: Scaling = field(repr=False)
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
        ends = (0, -1) if len(self.study.trials) > 1 else (0,)
        return self.study.trials if self.steps == self.width == 1 else [self.study.trials[end] for end in ends]

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
        study, fit_set = self.study, first_trials(self.study.fit_set, count)
        name = run_folder(
            study.dataset.name, self.predictor, self.settings, study.budget, seed, study.protocol, fit_set.name
        ).name
        return folder / name


@dataclass(frozen=True)
class Row:
    """What one curve came to.

    Parameters
    ----------
    curve
        The curve.
    records
        By number of trials, the finished runs, one a seed.
    """

    curve: Curve
    records: dict[int, list[Record]]

    def skill(self, count: int) -> Estimate:
        """The mean skill over horizons and seeds, with its interval over test trials."""
        records = self.records.get(count, [])
        metric, found = BY_NAME[HEADLINE], [result for one in records for result in one.of_phase(PHASE)]
        if not found:
            return intervals.UNDEFINED
        ratios = [metric.ratio({c: np.array(result.by_trial[c]) for c in metric.columns}) for result in found]

        def statistic(index: Index) -> Any:
            return np.mean([above[index].sum(-1) / below[index].sum(-1) for above, below in ratios], axis=0)

        return intervals.bootstrap(statistic, found[0].trials, self.curve.study.protocol)

    def cell(self, count: int) -> str:
        """The mean skill, and its standard deviation over seeds where there are several."""
        means = [
            float(np.mean([value for one in record.of_phase(PHASE) if (value := one[HEADLINE].value) is not None]))
            for record in self.records.get(count, [])
        ]
        spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
        return f"{np.mean(means):.3f}{spread}" if means else "-"

    def gain_cell(self) -> str:
        """The skill with the most trials minus that with the fewest, with its interval."""
        gain = self.gain(self.curve.study.trials[0], self.curve.study.trials[-1])
        interval = f" [{gain.low:+.3f}, {gain.high:+.3f}]" if gain.low is not None else ""
        return f"{gain.value:+.3f}{interval}" if gain.value is not None else "-"

    def gain(self, first: int, last: int) -> Estimate:
        """The skill with more trials minus that with fewer, of the same seeds, paired over test trials."""
        pairs = [
            pair
            for one in self.records[last]
            for other in self.records[first]
            if one.key.seed == other.key.seed
            for pair in zip(one.of_phase(PHASE), other.of_phase(PHASE), strict=True)
        ]
        return paired_difference(BY_NAME[HEADLINE], pairs, self.curve.study.protocol) if pairs else intervals.UNDEFINED

    @property
    def parameters(self) -> int | None:
        """Learned parameters."""
        return next((one.parameter_count for found in self.records.values() for one in found), None)

    @property
    def fit_seconds(self) -> float | None:
        """The mean over the runs with the most trials."""
        found = [one.cost.fit_seconds for one in self.records[self.curve.study.trials[-1]]]
        return float(np.mean(found)) if found else None


def first_trials(fit_set: Dataset, count: int) -> Dataset:
    """A fit set with the first training trials alone, and the same validation trials; the others are for testing.

    It is no copy: the same files under a manifest of its own.
    """
    split, stem = fit_set.manifest.split, fit_set.name.rpartition("-v")
    if not 0 < count <= len(split.train):
        raise OptionError(f"{fit_set.name} has {len(split.train)} training trials, not {count}.")
    chosen = Split(train=split.train[:count], validation=split.validation, test=(*split.test, *split.train[count:]))
    name = f"{stem[0]}-first-{count}-v{stem[2]}"
    return Dataset(fit_set.folder, fit_set.manifest.model_copy(update={"name": name, "split": chosen}))


def missing(study: Scaling, folder: Path) -> Iterator[tuple[Curve, int, int]]:
    """The runs that are not finished: all curves with one seed before the next."""
    for seed in study.seeds:
        for curve in study.curves():
            for count in curve.trials:
                if _finished(curve.place(folder, count, seed)) is None:
                    yield curve, count, seed


def scale(study: Scaling, folder: Path, *, limit: int | None = None, progress: Progress = silent) -> None:
    """Make the runs that are missing in a folder, or so many of them. Returns are not evaluated."""
    windows = len(evaluation_windows(study.dataset, study.protocol, progress=progress))
    for curve, count, seed in [*missing(study, folder)][:limit]:
        run(
            curve.predictor,
            study.dataset,
            budget=study.budget,
            options=curve.settings,
            seed=seed,
            device=study.device,
            out=curve.place(folder, count, seed),
            protocol=study.protocol,
            progress=progress,
            returns=False,
            limit=windows,
            fit_on=first_trials(study.fit_set, count),
        )


def finished(study: Scaling, folder: Path) -> list[Row]:
    """What the finished runs of a folder came to."""
    return [
        Row(
            curve,
            {
                count: [one for seed in study.seeds if (one := _finished(curve.place(folder, count, seed)))]
                for count in curve.trials
            },
        )
        for curve in study.curves()
    ]


def _finished(place: Path) -> Record | None:
    """The record of a run that came to its end."""
    path = place / RECORD_NAME
    record = read_record(path) if path.exists() else None
    return None if record is None or record.failed else record


def render(study: Scaling, rows: Sequence[Row], command: str, folder: Path) -> Path:
    """Write the page into a folder, with its figure in `scaling/` beside it."""
    draw(study, rows, folder / "scaling" / "scaling.png")
    runs = sum(len(found) for row in rows for found in row.records.values())
    planned = sum(len(row.curve.trials) for row in rows) * len(study.seeds)
    path = folder / "scaling.md"
    text = (
        templates()
        .get_template("scaling.md.j2")
        .render(study=study, rows=rows, command=command, runs=runs, planned=planned)
    )
    write_text(path, text)
    return path


def draw(study: Scaling, rows: Sequence[Row], path: Path) -> None:
    """Skill against training trials, training steps and learned parameters, a colour a predictor."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(figures.STYLE):
        figure = Figure(figsize=(12.4, 3.9), layout="constrained")
        by_trials, by_steps, by_width = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
        most = study.trials[-1]
        for name, colour in zip(study.predictors, COLOURS * len(study.predictors), strict=False):
            own = [row for row in rows if row.curve.predictor == name]
            for row in own:
                style = "-" if row.curve.steps == row.curve.width == 1 else ":" if row.curve.width > 1 else "--"
                points = [(count, row.skill(count)) for count in study.trials]
                _line(by_trials, points, colour, style, row.curve.label)
            usual_width = [row for row in own if row.curve.width == 1]
            _line(by_steps, [(row.curve.steps, row.skill(most)) for row in usual_width], colour, "-", name)
            usual_steps = [row for row in own if row.curve.steps == 1]
            _line(by_width, [(row.parameters or 1, row.skill(most)) for row in usual_steps], colour, "-", name)
        by_trials.set_xticks(study.trials, study.trials, minor=False)
        by_steps.set_xticks(study.steps, study.steps, minor=False)
        for axes in (by_trials, by_steps):
            axes.tick_params(axis="x", which="minor", labelbottom=False)
        by_trials.set_xlabel("training trials")
        by_trials.set_ylabel("mean skill, learning phase")
        by_steps.set_xlabel(f"times the steps of {study.budget}, {most} trials")
        by_width.set_xlabel(f"learned parameters, {most} trials")
        by_trials.legend(loc="best", fontsize=7)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _line(axes: Axes, points: Sequence[tuple[float, Estimate]], colour: str, style: str, label: str) -> None:
    """Points that are known, with their intervals."""
    known = [(x, one.value, one.low, one.high) for x, one in points if one.value is not None]
    if not known:
        return
    x, value, low, high = zip(*known, strict=True)
    axes.plot(x, value, style, marker="o", ms=3, lw=1.4, color=colour, label=label)
    if None not in (*low, *high):
        axes.vlines(x, low, high, color=colour, lw=0.8, alpha=0.5)
    axes.set_xscale("log")
