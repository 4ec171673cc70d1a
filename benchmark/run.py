"""Run a predictor: fit, forecast, evaluate, score, record. Every stage leaves a file, so a killed run goes on there."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..baselines import method_code
from ..baselines.options import as_settings
from ..registry.dataset import Dataset
from ..registry.reference import DatasetRef
from ..registry.store import exclusive
from ..rl import make
from ..utils.errors import PredictorError, ProtocolError, TiplBenchError
from ..utils.files import replace_atomically, sha256
from ..utils.progress import Progress, silent
from ..utils.tensorfile import map_tensors
from ..utils.text import one_line
from . import figures
from . import protocol as protocols
from .collection import load_or_collect
from .fitting.curve import CURVE_NAME
from .fitting.fit import fit, load
from .fitting.training_state import TrainingStateFile
from .forecast.contract import check_contract
from .forecast.forecasting import is_complete, write_forecasts
from .forecast.reference_returns import reference_returns
from .forecast.run_folder import (
    FORECASTS_NAME,
    PREDICTOR_NAME,
    REMEDY,
    WINDOWS_NAME,
    claim,
    finished_record,
    keeps_forecasts,
)
from .forecast.scoring import forecast_returns, read_windows, sample_returns, score, window_rows, write_windows
from .forecast.timings import Timings
from .forecast.validation_log import log_validation_run
from .forecast.windows import EvaluationWindow, Split
from .protocol import CURRENT, Protocol
from .provenance import Provenance, provenance
from .record import KEY_NAME, Record, RunKey, Status
from .request import Model, RunRequest, attribute_errors, default_folder, resolved_model, several
from .tracking.loggers import Logger, open_logger
from .tracking.logs import RunLog
from .worker.predictor_process import PredictorProcess
from .worker.usage import Limits


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    folder
        The run folder.
    record
        What it records.
    repeated
        Whether it was finished before.
    """

    folder: Path
    record: Record
    repeated: bool = False

    @cached_property
    def windows(self) -> pd.DataFrame:
        """One row per window and horizon: errors and returns (`scoring.window_rows`)."""
        return pd.read_parquet(self.folder / WINDOWS_NAME)

    @cached_property
    def forecasts(self) -> npt.NDArray[np.float32]:
        """The forecasts [W, H, P] float32, mapped into memory."""
        return np.asarray(map_tensors(self.folder / FORECASTS_NAME, REMEDY)["forecasts"])

    @property
    def figure(self) -> Path:
        """The paper's figure as SVG; a PNG stands beside it."""
        return self.folder / "figure.svg"

    @property
    def fit_figure(self) -> Path:
        """How the losses fell in training, likewise; of a predictor whose fit reported that (`fit.csv`)."""
        return self.folder / "fit.svg"


def run(
    model: Model,
    dataset: Dataset | DatasetRef | str,
    *,
    budget: str = "quick",
    options: Mapping[str, object] | Iterable[str] = (),
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    protocol: Protocol | int = CURRENT,
    limits: Limits | None = None,
    progress: Progress = silent,
    on: Split = "test",
    returns: bool = True,
    limit: int | None = None,
    collect: bool = False,
    fit_on: Dataset | DatasetRef | str | None = None,
    logger: Logger | str | None = None,
) -> Run:
    """Train, forecast and score a predictor; write the run folder, or go on with what it holds.

    Tune on the validation trials: a test run records how many validation runs were made before it.

    Parameters
    ----------
    model
        The predictor's name; its class, or where that is (`module:Class`, `file.py:Class`); or an object, which stands
        for its class and options and is fitted anew. In a script, call this under `if __name__ == "__main__":`, as the
        predictor's own process imports the script too. Only runs of installed predictors can be submitted.
    dataset
        An open dataset, or what `load_dataset` takes.
    budget
        Training budget: smoke, quick, standard or paper.
    options
        Options of the predictor on top of its budget, by name or as `name=value`.
    seed
        The predictor's seed.
    device
        "auto", "cpu" or "cuda".
    out
        The run folder; `runs/<dataset>/<model>-...` by default.
    protocol
        The protocol or its version, 1 or 2; the current one by default.
    limits
        Time and memory that the predictor may use.
    progress
        Receives the progress of every stage; `tipl_bench.ProgressLines()` prints it as lines on standard error.
    on
        The trials to forecast: "test", or "validation" to tune.
    returns
        Whether to evaluate the returns of the forecasts, which takes most of the time; a whole test run needs them.
    limit
        Forecast so many windows, spread evenly over phases and trials, instead of all.
    collect
        Collect a dataset first that is neither here nor published.
    fit_on
        Another dataset, whose training and validation trials are fitted on in place of the dataset's own: one with more
        trials of the same kind, or another environment's for a predictor that transfers. None of them may be a test
        trial. Recorded, and of the information class "more-trials" or "pretrained".
    logger
        Where to log losses while fitting and the results: "tensorboard", "wandb" (offline) or a `Logger`; nowhere by
        default. The results do not depend on it.

    Returns
    -------
    Run
        Its folder, record, windows and forecasts.

    Raises
    ------
    UnknownNameError, OptionError
        If the predictor, dataset, budget, device, seed, limit, fit set, logger or an option is not known or not valid,
        or the logger's package is not installed.
    ProtocolError
        If the folder holds another run, or the dataset cannot be scored under the protocol.
    PredictorError
        If the predictor fails; the record in the folder then says at what, and running again tries again.

    Examples
    --------
    >>> import tipl_bench
    >>> run = tipl_bench.run("linear", "inverted-pendulum/ppo-head-v1", returns=False, limit=8)
    >>> run.forecasts.shape  # [W, H, P]
    (8, 10, 122)
    """
    log = open_logger(logger)  # what is not installed is met before any work
    chosen, limits = protocols.protocol(protocol), limits or Limits()

    def opened(one: Dataset | DatasetRef | str) -> Dataset:
        return one if isinstance(one, Dataset) else load_or_collect(one, collect, chosen, progress)

    data, fit_set = opened(dataset), None if fit_on is None else opened(fit_on)
    given = as_settings(options) if isinstance(options, Mapping) else several("options", options)
    named = {setting.partition("=")[0] for setting in given}
    with resolved_model(model, budget) as (name, own):
        settings = (*(setting for setting in own if setting.partition("=")[0] not in named), *given)
        request = RunRequest(name, data, budget, settings, seed, device, chosen, limits, on, limit, returns, fit_set)
        return execute(request, Path(out) if out else default_folder(request), progress, log)


def execute(request: RunRequest, folder: Path, progress: Progress = silent, logger: Logger | None = None) -> Run:
    """Carry out a request in a folder; see `run`. A second process that is given the folder waits for the first."""
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with RunLog(logger) as log, exclusive(f"run-{place}", wait=True, required=False):
        finished = _execute(request, folder, progress, log)
        log.fitted(folder)
        log.forecast_results(finished.record.results)
    return finished


def _execute(request: RunRequest, folder: Path, progress: Progress, log: RunLog) -> Run:
    with contextlib.ExitStack() as stack, _start(request, folder) as predictor:
        key = request.key(predictor)
        claim(folder, key)
        log.begin(folder, key.model_dump(mode="json"))
        code = method_code(request.model)
        record = finished_record(folder, key, code)
        standing = record if record and keeps_forecasts(folder, record) else None
        if standing and (standing.has_returns or not request.returns):
            return _repeated(standing, request, folder, progress)
        contract = stack.enter_context(_start(request, folder, wait=False))  # its start takes as long as a short run
        if request.returns:
            make(request.dataset.environment, [0])  # one that cannot be made here is met now, not after fitting
        timings = Timings(folder, key, record, standing=standing is not None)
        circumstances = provenance(key.device, predictor.isolation, code, timings.validation_runs)

        def attempt() -> contextlib.AbstractContextManager[None]:  # a finished run keeps its record
            failing = _recording_failure(folder, key, predictor, circumstances, timings)
            return contextlib.nullcontext() if record else failing

        with attempt():
            windows = request.windows(progress)
            training = TrainingStateFile(folder, key.model_dump(mode="json"), circumstances)
            _forecast(predictor, contract, request, key.device, windows, folder, training, timings, progress, log)
    with attempt():
        rows = _evaluated(request, windows, folder, timings, progress)
        record = Record(
            format=2,
            track="forecast",
            status=Status(state="finished"),
            key=key,
            parameter_count=predictor.parameter_count or 0,
            artifacts={"forecasts": sha256(folder / FORECASTS_NAME)},
            results=score(rows, request.protocol),
            returns=sample_returns(rows),
            provenance=circumstances,
            cost=timings.cost(predictor),
        )
    if key.split == "validation":
        log_validation_run(key)  # before anyone can see what came out
    record.write(folder)
    timings.remove()
    finished = Run(folder, record)
    vars(finished)["windows"] = rows  # as they are: nobody reads back what was just written
    _draw(record, rows, folder)
    return finished


def _start(request: RunRequest, folder: Path, *, wait: bool = True) -> PredictorProcess:
    """The predictor, which can read neither this run's folder nor those beside it."""
    return request.start([folder, *(path.parent for path in folder.parent.glob(f"*/{KEY_NAME}"))], wait=wait)


def _repeated(record: Record, request: RunRequest, folder: Path, progress: Progress) -> Run:
    """A run that was finished before; what its folder has lost since is made again from its forecasts."""
    request = dataclasses.replace(request, returns=record.has_returns)
    finished = Run(folder, record, repeated=True)
    rows = read_windows(folder / WINDOWS_NAME, record.artifacts["forecasts"], returns=request.returns)
    timings = Timings(folder, record.key, record)
    if rows is None:
        rows = _evaluated(request, request.windows(progress), folder, timings, progress)
    timings.remove()
    drawings = [finished.figure, *([finished.fit_figure] if (folder / CURVE_NAME).exists() else [])]
    if not all(path.with_suffix(suffix).exists() for path in drawings for suffix in (".svg", ".png")):
        _draw(record, rows, folder)
    return finished


def _draw(record: Record, rows: pd.DataFrame, folder: Path) -> None:
    """Draw the figures; a finished run does not fail for want of them."""
    try:
        figures.draw(record, rows, folder)
    except Exception as error:  # matplotlib's, of fonts and of the disk
        why = one_line(error, 200)
        warnings.warn(f"{folder}: the figures could not be drawn ({why}); the same command draws them.", stacklevel=2)


@contextlib.contextmanager
def _recording_failure(
    folder: Path, key: RunKey, predictor: PredictorProcess, circumstances: Provenance, timings: Timings
) -> Iterator[None]:
    """Leave a record of what failed and why, and let the error go on."""
    try:
        yield
    except Exception as error:
        name = "" if isinstance(error, TiplBenchError) else f"{type(error).__name__}: "
        failed = Record(
            format=2,
            track="forecast",
            status=Status(state="failed", stage=timings.stage, reason=one_line(f"{name}{error}")[:500]),
            key=key,
            parameter_count=predictor.parameter_count or 0,
            artifacts={},
            results=(),
            provenance=circumstances,
            cost=timings.cost(predictor),
        )
        with contextlib.suppress(OSError):  # a full disk, say; the error itself is what the user needs
            failed.write(folder)
        raise


def _forecast(
    predictor: PredictorProcess,
    contract: PredictorProcess,
    request: RunRequest,
    device: str,
    windows: list[EvaluationWindow],
    folder: Path,
    training: TrainingStateFile,
    timings: Timings,
    progress: Progress,
    log: RunLog,
) -> None:
    """Fit, forecast, and ask for some forecasts again in a new process, as far as that is still to be done."""
    path, state, dataset, protocol = folder / FORECASTS_NAME, folder / PREDICTOR_NAME, request.dataset, request.protocol

    def check(fresh: PredictorProcess, *, resumed: bool = False) -> None:
        timings.stage = "contract"
        load(fresh, state, device, request.fitted)
        check_contract(fresh, dataset, windows, protocol, path, progress, resumed=resumed)

    if state.exists() and timings.fitted_with not in (None, training.identity):
        warnings.warn(
            f"{state} is of another version of the code or its packages, or another machine: the fit begins anew.",
            stacklevel=2,
        )
        state.unlink()
        timings.begin_again()
    if state.exists() and is_complete(path, dataset, windows, protocol, normaliser=predictor.forecasts_normaliser):
        check(predictor, resumed=True)
        return
    (folder / WINDOWS_NAME).unlink(missing_ok=True)  # rows of earlier forecasts
    timings.stage = "fit"
    if not state.exists() and request.fitted is None:
        timings.fitted_with = training.identity
    timings.add("fit_seconds", fit(predictor, request, device, state, training, progress, log.curve))
    progress("forecast", 0, len(windows), "")
    with timings.of("forecast"):
        write_forecasts(predictor, dataset, windows, protocol, path, progress)
    predictor.close()
    with attribute_errors(predictor.name, "starting"):
        contract.wait_until_built()
    check(contract)


def _evaluated(
    request: RunRequest, windows: list[EvaluationWindow], folder: Path, timings: Timings, progress: Progress
) -> pd.DataFrame:
    """J of the forecasts, and the rows of `windows.parquet`: written, or read if those of these forecasts are there."""
    forecasts_sha256 = sha256(folder / FORECASTS_NAME)
    kept = read_windows(folder / WINDOWS_NAME, forecasts_sha256, returns=request.returns)
    if kept is not None:
        return kept
    with timings.of("evaluation"):
        rows = _evaluate(request, windows, folder / FORECASTS_NAME, progress)
        with replace_atomically(folder / WINDOWS_NAME) as temporary:
            write_windows(rows, temporary, forecasts_sha256)
    return rows


def _evaluate(request: RunRequest, windows: list[EvaluationWindow], path: Path, progress: Progress) -> pd.DataFrame:
    dataset, protocol, tensors = request.dataset, request.protocol, map_tensors(path, REMEDY)
    forecasts, normaliser = np.asarray(tensors["forecasts"]), tensors.get("normaliser")
    if not request.returns:
        return window_rows(dataset, windows, forecasts, None, None, protocol)
    reference = reference_returns(dataset, protocol, progress, windows)
    try:
        returns = forecast_returns(dataset, windows, forecasts, protocol, progress, normaliser=normaliser).values
    except ProtocolError as error:
        raise PredictorError(f"{request.model}: {error}") from None
    return window_rows(dataset, windows, forecasts, returns, reference, protocol)
