"""The contract of a predictor, point by point."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...baselines.predictor import Contexts, FitTask
from ...utils.errors import DatasetError, PredictorError, ProtocolError
from ..forecast.forecasting import build_contexts
from ..forecast.windows import Window
from ..protocol import CURRENT
from ..worker.messages import PredictorCrash, PredictorTimeout
from ..worker.predictor_process import Limits, PredictorProcess
from ..worker.sandbox import LANDLOCK
from . import synthetic_trials as toys

Forecasts = npt.NDArray[Any]

TRAIN, VALIDATION = 4, 1
ORIGINS = (19, 23, 24, 30, 45, 68)
POINTS = 12
TIMEOUT = 30.0
"""Seconds for the whole check, by default."""
LOOSE = 1e-4
"""Part of the largest forecast step by which batches of another size may differ: sums may be in another order."""


@dataclass(frozen=True)
class Point:
    """One point of the contract: what it is, whether it is kept, and what was seen."""

    name: str
    passed: bool
    seen: str


@dataclass
class Report:
    """What a rehearsal found."""

    predictor: str
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    circumstances: str = ""

    @property
    def passed(self) -> bool:
        """Whether every point is kept."""
        return all(point.passed for point in self.points)

    def __str__(self) -> str:
        width = max((len(point.name) for point in self.points), default=0)
        lines = [f"{'ok  ' if p.passed else 'FAIL'}  {p.name:<{width}}  {p.seen}" for p in self.points]
        kept = sum(point.passed for point in self.points)
        verdict = f"{self.predictor}: {kept} of {len(self.points)} points kept, {self.seconds:.1f} s"
        return "\n".join([*lines, "", verdict, self.circumstances])


class _BrokenError(Exception):
    """A point on which the others depend is not kept."""


def check_predictor(
    model: str,
    *,
    budget: str = "smoke",
    settings: Sequence[str] = (),
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda point: None,
) -> Report:
    """Prove a predictor's contract on toy trajectories; needs no network and no dataset.

    Parameters
    ----------
    model
        A predictor's name.
    budget, settings
        As for a run. Options that a budget does not give have their defaults.
    limits
        Time of the whole check, and memory; `TIMEOUT` seconds by default.
    progress
        Called with each point as it begins, of `POINTS`.

    Returns
    -------
    Report
        Point by point; it ends at a point without which no other can be looked at.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such predictor, budget or option.
    """
    report, limits = Report(model), limits or Limits(TIMEOUT)
    clock = _Clock(limits.timeout)
    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        rehearsal = _Rehearsal(report, Path(scratch), clock, progress)

        def start() -> PredictorProcess:
            denied = [rehearsal.held_out.path.parent]
            return PredictorProcess(model, budget, settings, denied=denied, limits=limits, until=clock.until)

        with suppress(_BrokenError):
            _perform(rehearsal, start)
    report.seconds = clock.seconds
    system = f"Python {platform.python_version()}, {platform.platform()}"
    report.circumstances = f"tipl-bench {__version__}, budget {budget}, {system}, isolation {rehearsal.isolation}"
    return report


def _perform(rehearsal: _Rehearsal, start: Callable[[], PredictorProcess]) -> None:
    contexts, horizon = rehearsal.contexts, CURRENT.horizon
    with rehearsal.point("describes itself") as seen:
        first = start()
        rehearsal.isolation = first.isolation
        seen(f"version {first.version}, consumes {first.consumes}, context {first.context_length}")
    with first:
        with rehearsal.point("fits") as seen:
            seconds = first.fit(rehearsal.task)
            seen(f"{seconds:.1f} s, {first.parameter_count:,} learned parameters")
        state = rehearsal.folder / "state.safetensors"
        first.save(state)
        with rehearsal.point("forecasts: shape, type, finite") as seen:
            began = time.perf_counter()
            whole = rehearsal.forecast(first, contexts, horizon)
            took = (time.perf_counter() - began) / len(contexts)
            seen(f"{list(whole.shape)} {whole.dtype}, {1e3 * took:.1f} ms a window")
        _batches(rehearsal, first, whole)
        with rehearsal.point("the same again, asked twice") as seen:
            seen(rehearsal.same(whole, rehearsal.forecast(first, contexts, horizon)))
    with start() as second:
        with rehearsal.point("targets out of reach") as seen:
            seen(rehearsal.out_of_reach(second))
        with rehearsal.point("save, load in a new process") as seen:
            second.load(state, "cpu")
            seen(rehearsal.same(whole, rehearsal.forecast(second, contexts, horizon)))
    with start() as third, rehearsal.point("same seed, same forecasts") as seen:
        third.fit(rehearsal.task)
        seen(rehearsal.same(whole, rehearsal.forecast(third, contexts, horizon)))
    with rehearsal.point("memory") as seen:
        seen(f"{first.peak_memory / 2**20:.0f} MiB at most")
    rehearsal.time()


def _batches(rehearsal: _Rehearsal, predictor: PredictorProcess, whole: Forecasts) -> None:
    """Windows by themselves: the batch's order and size must not matter."""
    contexts, horizon = rehearsal.contexts, CURRENT.horizon
    with rehearsal.point("fewer horizons") as seen:
        seen(rehearsal.near(whole[:, :3], rehearsal.forecast(predictor, contexts, 3), whole))
    with rehearsal.point("batch order") as seen:
        order = np.arange(len(contexts))[::-1]
        turned = rehearsal.forecast(predictor, _choose(contexts, order), horizon)
        seen(rehearsal.near(whole[order], turned, whole))
    with rehearsal.point("batch size") as seen:
        alone = [
            rehearsal.forecast(predictor, _choose(contexts, np.array([row])), horizon) for row in range(len(contexts))
        ]
        seen(rehearsal.near(whole, np.concatenate(alone), whole))


class _Clock:
    """Time since the check began, and when it must be over."""

    def __init__(self, allowed: float | None) -> None:
        self.began, self.allowed = time.monotonic(), allowed
        self.until = None if allowed is None else self.began + allowed

    @property
    def seconds(self) -> float:
        """So far."""
        return time.monotonic() - self.began


class _Rehearsal:
    """The toys, and the report that grows."""

    def __init__(self, report: Report, folder: Path, clock: _Clock, progress: Callable[[str], None]) -> None:
        self.report, self.folder, self.clock, self.progress = report, folder, clock, progress
        (folder / "shown").mkdir()
        (folder / "hidden").mkdir()
        trials = toys.write_trials(folder / "shown", TRAIN + VALIDATION)
        self.held_out = toys.write_trials(folder / "hidden", TRAIN + VALIDATION + 1)[-1]
        self.task = FitTask(trials[:TRAIN], trials[TRAIN:], CURRENT.horizon, CURRENT.context, seed=7)
        self.isolation = "not known"
        windows = [Window(self.held_out.index, origin, "learning", 0) for origin in ORIGINS]
        self.contexts = build_contexts({self.held_out.index: self.held_out}, windows, CURRENT.context)

    @contextmanager
    def point(self, name: str) -> Iterator[Callable[[str], None]]:
        """One point; a fault of the predictor's within it is what was seen, and ends the rehearsal."""
        self.progress(name)
        words: list[str] = []
        try:
            yield words.append
        except PredictorTimeout as error:
            self._add(name, False, str(error))
            self.time()
            raise _BrokenError from None
        except (PredictorError, DatasetError, ProtocolError) as error:
            self._add(name, False, str(error))
            raise _BrokenError from None
        except _DifferentError as different:
            self._add(name, False, str(different))
        else:
            self._add(name, True, words[-1])

    def _add(self, name: str, passed: bool, seen: str) -> None:
        self.report.points.append(Point(name, passed, seen))

    def time(self) -> None:
        """The last point: all of it within the time that a check may take."""
        self.progress("time")
        seconds, allowed = self.clock.seconds, self.clock.allowed
        if allowed is None or seconds <= allowed:
            self._add("time", True, f"{seconds:.1f} s" + (f" of {allowed:g}" if allowed else ""))
        else:
            way = "a budget named smoke with less training makes it quicker, --timeout allows more"
            self._add("time", False, f"more than the {allowed:g} s that the whole check may take; {way}")

    def forecast(self, predictor: PredictorProcess, contexts: Contexts, horizon: int) -> Forecasts:
        """Forecasts, checked for shape, type and finite numbers."""
        forecast = predictor.predict(contexts, horizon)
        expected = (len(contexts), horizon, toys.LAYOUT.parameter_count)
        if forecast.shape != expected or forecast.dtype.kind != "f":
            raise PredictorCrash(f"gave {list(forecast.shape)} {forecast.dtype}, not {list(expected)} float32")
        if not np.isfinite(forecast.astype(np.float32)).all():
            raise PredictorCrash("gave numbers that are not finite")
        return forecast

    def out_of_reach(self, predictor: PredictorProcess) -> str:
        """The process is given copies of contexts; where the kernel can, it is kept from held-out trials too."""
        if predictor.isolation != LANDLOCK:
            return "not in its process; this system cannot keep it from reading files"
        if predictor.can_open(self.held_out.path):
            raise _DifferentError("its process can open a held-out trial")
        return "not in its process, which may not open a held-out trial"

    def same(self, one: Forecasts, other: Forecasts) -> str:
        """Bit for bit; raises `_DifferentError` if not."""
        if not np.array_equal(one, other):
            raise _DifferentError(f"differs by up to {np.abs(one - other).max():.2g}")
        return "bitwise"

    def near(self, one: Forecasts, other: Forecasts, steps: Forecasts) -> str:
        """Within rounding of the largest step that is forecast; raises `_DifferentError` if not."""
        gap = float(np.abs(one - other).max())
        size = float(np.abs(steps - self.contexts.weights[:, -1:]).max()) or 1.0
        if gap > LOOSE * size:
            raise _DifferentError(f"differs by {gap:.2g}, where the largest step forecast is {size:.2g}")
        return "bitwise" if gap == 0 else f"within {gap / size:.1g} of the largest step forecast"


class _DifferentError(Exception):
    """Forecasts that should be the same are not."""


def _choose(contexts: Contexts, rows: npt.NDArray[np.intp]) -> Contexts:
    return replace(
        contexts,
        weights=contexts.weights[rows],
        observation_mean=contexts.observation_mean[rows],
        observation_variance=contexts.observation_variance[rows],
        columns={name: column[rows] for name, column in contexts.columns.items()},
    )
