"""Check that a predictor fulfils its contract, on synthetic trajectories."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._version import __version__
from ...baselines.predictor import OUTPUT_DTYPES, Contexts, FitTask, Output, forecast_shape
from ...utils.errors import DatasetError, PredictorError, ProtocolError
from ..forecast.contract import agrees, in_units, past_of
from ..forecast.forecasting import UNUSABLE, build_contexts, outputs, usable
from ..forecast.windows import EvaluationWindow
from ..protocol import CURRENT
from ..request import Model, resolved_model
from ..worker.messages import PredictorCrash, PredictorTimeout
from ..worker.predictor_process import PredictorProcess
from ..worker.sandbox import NO_ISOLATION
from ..worker.usage import Limits
from . import synthetic_trials

Forecasts = Mapping[Output, npt.NDArray[Any]]

TRAIN, VALIDATION = 4, 1
ORIGINS = (19, 23, 24, 30, 45, 68)
CHECKS = 13
"""Checks in a complete report."""
SUBJECTS: Mapping[Output, str] = {"forecasts": "", "normaliser": "the normaliser "}
"""How the detail of a failed check begins."""
TIMEOUT = 30.0
"""Default time limit of the whole check, in seconds."""


@dataclass(frozen=True)
class Check:
    """One check of the contract: its name, its result, and what was measured."""

    name: str
    passed: bool
    detail: str


@dataclass
class Report:
    """The checks of one predictor."""

    predictor: str
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0
    environment: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{'ok  ' if c.passed else 'FAIL'}  {c.name:<{width}}  {c.detail}" for c in self.checks]
        passed = sum(check.passed for check in self.checks)
        total = f"{self.predictor}: {passed} of {len(self.checks)} checks passed, {self.seconds:.1f} s"
        return "\n".join([*lines, "", total, self.environment])


class _StoppedError(Exception):
    """A check failed without which the remaining ones cannot run."""


class _MismatchError(Exception):
    """A check failed that the remaining ones do not depend on."""


def check_predictor(
    model: Model,
    *,
    budget: str = "smoke",
    settings: Sequence[str] = (),
    limits: Limits | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Report:
    """Check a predictor's contract on synthetic trajectories, without network or dataset.

    Parameters
    ----------
    model
        As for `run`: a name, a class, where the class is, or an object.
    budget, settings
        As for a run. Options that the budget does not set have their defaults.
    limits
        Time limit of the whole check, and memory limit; `TIMEOUT` seconds by default.
    progress
        Called with the name of each of the `CHECKS` checks as it begins.

    Returns
    -------
    Report
        Ends early at a failed check that the remaining ones depend on.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such predictor, budget or option.

    Examples
    --------
    >>> import tipl_bench
    >>> tipl_bench.check_predictor("linear").passed
    True
    """
    limits = limits or Limits(TIMEOUT)
    with (
        resolved_model(model, budget) as (name, own),
        tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch,
    ):
        report = Report(name)
        checker = _Checker(report, Path(scratch), limits.timeout, progress)

        def start() -> PredictorProcess:
            data = [trial.path for trial in (*checker.task.train, *checker.task.validation)]
            return PredictorProcess(name, budget, (*own, *settings), data=data, limits=limits, until=checker.deadline)

        with suppress(_StoppedError):
            _run_checks(checker, start)
    report.seconds = checker.seconds
    system = f"Python {platform.python_version()}, {platform.platform()}"
    report.environment = f"tipl-bench {__version__}, budget {budget}, {system}, isolation {checker.isolation}"
    return report


def _run_checks(checker: _Checker, start: Callable[[], PredictorProcess]) -> None:
    horizon = CURRENT.horizon
    with checker.check("description", announced=False) as detail:
        first = start()  # raises if there is no such predictor: then no check has begun
        checker.progress("description")
        checker.isolation, checker.report.predictor = first.isolation, first.name
        context = max(first.context_length, CURRENT.context)
        detail(f"version {first.version}, consumes {first.consumes}, context {context}")
    with first:
        with checker.check("fit") as detail:
            seconds = first.fit(checker.task)
            detail(f"{seconds:.1f} s, {first.parameter_count:,} learned parameters")
        state = checker.folder / "state.safetensors"
        first.save(state)
        contexts = checker.build_contexts(max(first.context_length, CURRENT.context))
        with checker.check("forecasts: shape, dtype, finite") as detail:
            checker.forecast(first, checker.shortest, horizon)
            started = time.perf_counter()
            expected = checker.forecast(first, contexts, horizon)
            seconds = (time.perf_counter() - started) / len(contexts)
            shapes = ", normaliser ".join(f"{list(values.shape)} {values.dtype}" for values in expected.values())
            detail(f"{shapes} from {contexts.weights.shape[1]} checkpoints, {1e3 * seconds:.1f} ms a window")
        with checker.check("known answers") as detail:
            detail(checker.score(expected["forecasts"]))
        _check_batches(checker, first, expected)
        with checker.check("same call, same forecasts") as detail:
            detail(checker.compare_exactly(expected, checker.forecast(first, contexts, horizon)))
    with start() as second:
        with checker.check("no access to test trials") as detail:
            detail(checker.try_test_trial(second))
        with checker.check("save, load in a new process") as detail:
            second.load(state, "cpu")
            detail(checker.compare_exactly(expected, checker.forecast(second, contexts, horizon)))
    with start() as third, checker.check("same seed, same forecasts") as detail:
        third.fit(checker.task)
        detail(checker.compare_exactly(expected, checker.forecast(third, contexts, horizon)))
    with checker.check("peak memory") as detail:
        detail(f"{first.peak_memory / 2**20:.0f} MiB")
    checker.check_time()


def _check_batches(checker: _Checker, predictor: PredictorProcess, expected: Forecasts) -> None:
    """Check that a window's forecast depends neither on the other windows of its batch nor on the horizon."""
    contexts, horizon = checker.contexts, CURRENT.horizon
    with checker.check("shorter horizon") as detail:
        detail(checker.compare(_part(expected, np.s_[:, :3]), checker.forecast(predictor, contexts, 3), expected))
    with checker.check("batch order") as detail:
        order = np.arange(len(contexts))[::-1]
        reversed_batch = checker.forecast(predictor, contexts.take(order), horizon)
        detail(checker.compare(_part(expected, order), reversed_batch, expected))
    with checker.check("batch size") as detail:
        single = [checker.forecast(predictor, contexts.take(np.array([row])), horizon) for row in range(len(contexts))]
        together = {output: np.concatenate([one[output] for one in single]) for output in expected}
        detail(checker.compare(expected, together, expected))


def _part(forecasts: Forecasts, index: Any) -> Forecasts:
    return {output: values[index] for output, values in forecasts.items()}


class _Checker:
    """Synthetic data for the checks, and the report that they are added to."""

    def __init__(self, report: Report, folder: Path, timeout: float | None, progress: Callable[[str], None]) -> None:
        self.report, self.folder, self.timeout, self.progress = report, folder, timeout, progress
        self.started = time.monotonic()
        self.deadline = None if timeout is None else self.started + timeout
        (folder / "train").mkdir()
        (folder / "test").mkdir()
        trials = synthetic_trials.write_trials(folder / "train", TRAIN + VALIDATION)
        self.test_trial = synthetic_trials.write_trials(folder / "test", TRAIN + VALIDATION + 1)[-1]
        self.task = FitTask(trials[:TRAIN], trials[TRAIN:], CURRENT.horizon, CURRENT.context, seed=7)
        self.isolation = "unknown"
        self.shortest = self.contexts = self._windows(ORIGINS[:1], CURRENT.context)

    def build_contexts(self, wanted: int) -> Contexts:
        """Contexts of as many checkpoints as the predictor wants, or as a run on trials of this length would have."""
        length = min(wanted, synthetic_trials.CHECKPOINTS - 2 * CURRENT.horizon)
        last = synthetic_trials.CHECKPOINTS - CURRENT.horizon - 2
        origins = ORIGINS if length == CURRENT.context else np.linspace(length - 1, last, len(ORIGINS), dtype=int)
        self.contexts = self._windows([int(origin) for origin in origins], length)
        return self.contexts

    def _windows(self, origins: Sequence[int], length: int) -> Contexts:
        windows = [EvaluationWindow(self.test_trial.index, origin, "learning", 0) for origin in origins]
        return build_contexts({self.test_trial.index: self.test_trial}, windows, length)

    def score(self, forecast: npt.NDArray[Any]) -> str:
        """The skill where the answer is known; raises `_MismatchError` if the forecasts are a checkpoint off."""
        steps, now = np.arange(1, CURRENT.horizon + 1), self.contexts.weights[:, -1:]
        weights, periodic = self.test_trial.weights(), synthetic_trials.PERIODIC

        def error(guess: npt.NDArray[Any], part: slice, shift: int = 0) -> float:
            true = weights[self.contexts.origin[:, None] + steps + shift]
            return float(np.square(guess[..., part] - true[..., part], dtype=np.float64).sum())

        curves, waves = (1 - error(forecast, p) / error(now, p) for p in (synthetic_trials.CURVED, periodic))
        skills = f"skill {curves:.2f} on curves, {waves:.2f} on waves of three checkpoints (persistence 0, right 1)"
        for shift in (-1, 1):
            if error(forecast, periodic, shift) < 0.1 * min(error(forecast, periodic), error(now, periodic)):
                raise _MismatchError(f"{skills}: the forecast for h looks like the target of h {shift:+d}")
        return skills

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @contextmanager
    def check(self, name: str, *, announced: bool = True) -> Iterator[Callable[[str], None]]:
        """Add the block as a check; it yields a function to call with the detail of a passed check."""
        if announced:
            self.progress(name)
        details: list[str] = []
        try:
            yield details.append
        except (PredictorError, DatasetError, ProtocolError) as error:
            self._add(name, False, str(error))
            if isinstance(error, PredictorTimeout):
                self.check_time()
            raise _StoppedError from None
        except _MismatchError as error:
            self._add(name, False, str(error))
        else:
            self._add(name, True, details[-1])

    def _add(self, name: str, passed: bool, detail: str) -> None:
        self.report.checks.append(Check(name, passed, detail))

    def check_time(self) -> None:
        """Add the last check: the time of all of them against the limit."""
        self.progress("time")
        seconds, timeout = self.seconds, self.timeout
        if timeout is None or seconds <= timeout:
            self._add("time", True, f"{seconds:.1f} s" + (f" of {timeout:g} s" if timeout else ""))
        else:
            fix = "train less in a budget named smoke, or raise the limit (`timeout=`)"
            self._add("time", False, f"the check took more than {timeout:g} s; {fix}")

    def forecast(self, predictor: PredictorProcess, contexts: Contexts, horizon: int) -> Forecasts:
        """Forecasts as they are compared, checked for shape, dtype, finite numbers and variances above 0."""
        found: dict[Output, npt.NDArray[Any]] = {}
        for output in outputs(predictor):
            predict = predictor.predict if output == "forecasts" else predictor.predict_normaliser
            forecast, expected = predict(contexts, horizon), forecast_shape(output, contexts, horizon)
            dtype = OUTPUT_DTYPES[output]
            if forecast.shape != expected or forecast.dtype.kind != "f":
                raise PredictorCrash(
                    f"returned {output} {list(forecast.shape)} {forecast.dtype}, not {list(expected)} {dtype}"
                )
            if not usable(output, forecast.astype(dtype)).all():
                raise PredictorCrash(f"returned a forecast that {UNUSABLE[output]}")
            found[output] = in_units(output, forecast, contexts)
        return found

    def try_test_trial(self, predictor: PredictorProcess) -> str:
        """Try to open a test trial in the worker; raises `_MismatchError` if that succeeds."""
        if predictor.isolation == NO_ISOLATION:
            return "paths are not passed to the worker; this system cannot restrict which files it reads"
        if predictor.can_open(self.test_trial.path):
            raise _MismatchError("the worker can open a test trial")
        return "the worker cannot open a test trial"

    def compare_exactly(self, expected: Forecasts, actual: Forecasts) -> str:
        """Raise `_MismatchError` unless the forecasts are bitwise equal."""
        for output in expected:
            if not np.array_equal(expected[output], actual[output]):
                difference = np.abs(expected[output] - actual[output]).max()
                raise _MismatchError(f"{SUBJECTS[output]}differs by up to {difference:.2g}")
        return "bitwise"

    def compare(self, expected: Forecasts, actual: Forecasts, forecasts: Forecasts) -> str:
        """Raise `_MismatchError` unless the forecasts agree up to rounding."""
        largest = 0.0
        for output, values in forecasts.items():
            difference = float(np.abs(expected[output] - actual[output]).max())
            step = float(np.abs(values - past_of(output, self.contexts)[:, -1:]).max()) or 1.0
            if not agrees(difference, step):
                raise _MismatchError(
                    f"{SUBJECTS[output]}differs by {difference:.2g}; the largest step forecast is {step:.2g}"
                )
            largest = max(largest, difference / step)
        return "bitwise" if largest == 0 else f"within {largest:.1g} of the largest step forecast"
