"""Run a predictor: fit, forecast, evaluate, score, record. Every stage leaves a file, so a killed run goes on there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from ..baselines import method_code
from ..baselines.predictor import FitTask
from ..registry.dataset import Dataset
from ..registry.loading import load_dataset
from ..registry.reference import DatasetRef
from ..rl import make
from ..utils.canonical import strict_json
from ..utils.errors import PredictorError, ProtocolError, TiplBenchError
from ..utils.files import clear_leftovers, replace_atomically, sha256, write_text
from ..utils.progress import Progress, silent
from ..utils.tensorfile import map_tensors
from ..utils.text import one_line
from . import figures
from .forecast.forecasting import write_forecasts
from .forecast.reference_returns import reference_returns
from .forecast.scoring import forecast_returns, sample_returns, score, window_rows
from .forecast.windows import EvaluationWindow, test_windows
from .protocol import CURRENT, Protocol
from .provenance import peak_memory, provenance
from .record import RECORD_NAME, Cost, Provenance, Record, RunKey, Status, parse, read_record
from .record_v1 import upgrade_key
from .request import RunRequest, as_settings, attribute_errors, default_folder
from .worker.predictor_process import Limits, PredictorProcess

KEY_NAME = "key.json"
PREDICTOR_NAME = "predictor.safetensors"
FORECASTS_NAME = "forecasts.safetensors"
WINDOWS_NAME = "windows.parquet"


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
        """The forecasts [W, H, P], mapped into memory."""
        mapped: Any = map_tensors(self.folder / FORECASTS_NAME)["forecasts"]
        return np.asarray(mapped)

    @property
    def figure(self) -> Path:
        """The paper's figure as SVG; a PNG stands beside it."""
        return self.folder / "figure.svg"


def run(
    model: str,
    dataset: Dataset | DatasetRef | str,
    *,
    budget: str = "quick",
    options: Mapping[str, object] | Iterable[str] = (),
    seed: int = 0,
    device: str = "auto",
    out: Path | str | None = None,
    protocol: Protocol = CURRENT,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Run:
    """Train, forecast and score a predictor; write the run folder, or go on with what it holds.

    Parameters
    ----------
    model
        The predictor's name.
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
        The protocol; the current one by default.
    limits
        Time and memory that the predictor may use.
    progress
        Receives the progress of every stage.

    Raises
    ------
    UnknownNameError, OptionError
        If the predictor, dataset, budget, device or an option is not known or not valid.
    ProtocolError
        If the folder holds another run, or the dataset cannot be scored under the protocol.
    PredictorError
        If the predictor fails; the record in the folder then says at what, and running again tries again.
    """
    opened = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    settings = as_settings(options) if isinstance(options, Mapping) else tuple(options)
    request = RunRequest(model, opened, budget, settings, seed, device, protocol, limits or Limits())
    return execute(request, Path(out) if out else default_folder(request), progress)


def execute(request: RunRequest, folder: Path, progress: Progress = silent) -> Run:
    """Carry out a request in a folder; see `run`."""
    with request.start([folder, *(path.parent for path in folder.parent.glob(f"*/{KEY_NAME}"))]) as predictor:
        key = request.key(predictor)
        _claim(folder, key)
        record = _finished(folder, key)
        if record:
            return _repeated(record, request, folder, progress)
        make(request.dataset.environment, [0])  # one that cannot be made here is met now, not after fitting
        timings = _Timings(folder)
        circumstances = provenance(key.device, predictor.isolation, method_code(request.model))
        with _recording_failure(folder, key, predictor, circumstances, timings):
            windows = test_windows(request.dataset, request.protocol)
            _forecast(predictor, request, key.device, windows, folder, timings, progress)
    with _recording_failure(folder, key, predictor, circumstances, timings):
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
            cost=timings.cost(),
        )
    record.write(folder)
    timings.path.unlink(missing_ok=True)
    finished = Run(folder, record)
    vars(finished)["windows"] = rows  # as they are: nobody reads back what was just written
    figures.draw(record, rows, folder)
    return finished


def _repeated(record: Record, request: RunRequest, folder: Path, progress: Progress) -> Run:
    """A run that was finished before; what its folder has lost since is made again from its forecasts."""
    finished, rows, timings = Run(folder, record, repeated=True), _kept_rows(folder), _Timings(folder)
    forecasts = folder / FORECASTS_NAME
    if rows is None and forecasts.exists() and sha256(forecasts) == record.forecasts_sha256:
        rows = _evaluated(request, test_windows(request.dataset, request.protocol), folder, timings, progress)
    timings.path.unlink(missing_ok=True)
    if rows is not None and not all(finished.figure.with_suffix(suffix).exists() for suffix in (".svg", ".png")):
        figures.draw(record, rows, folder)
    return finished


def _finished(folder: Path, key: RunKey) -> Record | None:
    """The record of a run that came to its end before; None for one that did not, or failed and is tried again."""
    path = folder / RECORD_NAME
    if not path.exists():
        return None
    record = read_record(path)
    if record.key != key:
        raise ProtocolError(f"{path} is of another run than {KEY_NAME} beside it; choose --out.")
    return None if record.failed else record


@contextlib.contextmanager
def _recording_failure(
    folder: Path, key: RunKey, predictor: PredictorProcess, circumstances: Provenance, timings: _Timings
) -> Iterator[None]:
    """Leave a record of what failed and why, and let the error go on."""
    try:
        yield
    except Exception as error:
        name = "" if isinstance(error, TiplBenchError) else f"{type(error).__name__}: "
        Record(
            format=2,
            track="forecast",
            status=Status(state="failed", stage=timings.stage, reason=one_line(f"{name}{error}")[:500]),
            key=key,
            parameter_count=predictor.parameter_count or 0,
            artifacts={},
            results=(),
            provenance=circumstances,
            cost=timings.cost(),
        ).write(folder)
        raise


def _claim(folder: Path, key: RunKey) -> None:
    """Write the run's key into its folder, or check that the folder is this run's."""
    path = folder / KEY_NAME
    clear_leftovers(folder)
    if path.exists():
        try:
            found = parse(RunKey, upgrade_key(strict_json(path.read_text(encoding="utf-8"))))
        except ValueError as error:
            raise ProtocolError(f"{path}: not a run's key ({error}). Choose another folder with --out.") from None
        if found != key:
            different = "; ".join(key.differences(found))
            raise ProtocolError(f"{folder} holds another run ({different}). Choose another folder with --out.")
    elif folder.exists() and any(folder.iterdir()):
        raise ProtocolError(f"{folder} is not empty and holds no run. Choose another folder with --out.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, key.model_dump_json(indent=1) + "\n")


def _fit(predictor: PredictorProcess, request: RunRequest, device: str, path: Path, progress: Progress) -> float:
    """Fit the predictor, or load what an interrupted run had fitted; the seconds that fitting took now."""
    if path.exists():
        _load(predictor, path, device)
        return 0.0
    split, dataset = request.dataset.manifest.split, request.dataset
    task = FitTask(
        train=dataset.trials(split.train),
        validation=dataset.trials(split.validation),
        horizon=request.protocol.horizon,
        context=request.protocol.context,
        device=device,
        seed=request.seed,
        progress=lambda done, total, word: progress("fit", done, total, word),
    )
    with attribute_errors(predictor.name, "fitting"):
        seconds = predictor.fit(task)
    predictor.save(path)
    return seconds


def _load(predictor: PredictorProcess, path: Path, device: str) -> None:
    with attribute_errors(predictor.name, "loading its fitted state"):
        predictor.load(path, device)


def _forecast(
    predictor: PredictorProcess,
    request: RunRequest,
    device: str,
    windows: list[EvaluationWindow],
    folder: Path,
    timings: _Timings,
    progress: Progress,
) -> None:
    """Fit and forecast, as far as that is still to be done."""
    path = folder / FORECASTS_NAME
    if path.exists():
        if predictor.parameter_count is None:
            _load(predictor, folder / PREDICTOR_NAME, device)
        return
    timings.stage = "fit"
    timings.add("fit_seconds", _fit(predictor, request, device, folder / PREDICTOR_NAME, progress))
    with timings.of("forecast"):
        write_forecasts(
            predictor,
            request.dataset,
            windows,
            request.protocol,
            path,
            lambda done, total: progress("forecast", done, total, ""),
        )


def _evaluated(
    request: RunRequest, windows: list[EvaluationWindow], folder: Path, timings: _Timings, progress: Progress
) -> pd.DataFrame:
    """J of the forecasts, and the rows of `windows.parquet`: written, or read if they are there."""
    kept = _kept_rows(folder)
    if kept is not None:
        return kept
    with timings.of("evaluation"):
        rows = _evaluate(request, windows, folder / FORECASTS_NAME, progress)
        with replace_atomically(folder / WINDOWS_NAME) as temporary:
            rows.to_parquet(temporary, index=False)
    return rows


def _kept_rows(folder: Path) -> pd.DataFrame | None:
    """The rows of `windows.parquet`; None if there is none, or it is damaged: it follows from the forecasts."""
    try:
        return pd.read_parquet(folder / WINDOWS_NAME)
    except (OSError, ValueError, pa.ArrowException):
        return None


def _evaluate(request: RunRequest, windows: list[EvaluationWindow], path: Path, progress: Progress) -> pd.DataFrame:
    dataset, protocol = request.dataset, request.protocol
    forecasts = map_tensors(path)["forecasts"]
    reference = reference_returns(dataset, protocol, lambda done, total: progress("reference", done, total, ""))

    def report(done: int, total: int) -> None:
        progress("returns", done, total, "")

    try:
        returns = forecast_returns(dataset, windows, np.asarray(forecasts), protocol, report).values
    except ProtocolError as error:
        raise PredictorError(f"{request.model}: {error}") from None
    return window_rows(dataset, windows, forecasts, returns, reference, protocol)


class _Timings:
    """Seconds of each stage, kept beside the run until it is finished so that a resumed run reports them all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "timings.json"
        self.stage = "forecast"
        """The stage that began last."""
        self.seconds = {"fit_seconds": 0.0, "forecast_seconds": 0.0, "evaluation_seconds": 0.0}
        # Damaged ones are lost: they are no reason not to finish the run.
        with contextlib.suppress(OSError, ValueError, TypeError):
            kept = self.seconds | strict_json(self.path.read_text(encoding="utf-8"))
            self.seconds = Cost(**kept, peak_memory_bytes=0).model_dump(exclude={"peak_memory_bytes"})

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the block's duration to a stage."""
        self.stage, started = stage, time.perf_counter()
        try:
            yield
        finally:
            self.add(f"{stage}_seconds", time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[name] += seconds
        write_text(self.path, json.dumps(self.seconds))

    def cost(self) -> Cost:
        """What the run took so far."""
        return Cost(**self.seconds, peak_memory_bytes=peak_memory())
