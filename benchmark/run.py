"""A run: fit, forecast, evaluate, score, write down. Every stage leaves a file, so a killed run goes on from there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

from ..baselines.predictor import FitTask
from ..registry.catalog import identity_of
from ..registry.dataset import Dataset
from ..utils.canonical import strict_json
from ..utils.errors import OptionError, PredictorError, ProtocolError, TiplBenchError
from ..utils.files import clear_leftovers, replace_atomically, sha256, write_text
from ..utils.tensorfile import map_tensors
from ..utils.text import first_error, one_line
from .forecast.forecasting import write_forecasts
from .forecast.reference_returns import reference_returns
from .forecast.return_cache import cached_returns
from .forecast.scoring import forecast_returns, sample_returns, score, window_rows
from .forecast.windows import EvaluationWindow, test_windows
from .protocol import CURRENT, Protocol
from .provenance import peak_memory, provenance
from .record import RECORD_NAME, Cost, DatasetIdentity, MethodIdentity, Record, RunKey, Status, read_record
from .record_v1 import upgrade_key
from .worker.messages import PredictorCrash
from .worker.predictor_process import Limits, PredictorProcess

KEY_NAME = "key.json"
PREDICTOR_NAME = "predictor.safetensors"
FORECASTS_NAME = "forecasts.safetensors"
WINDOWS_NAME = "windows.parquet"

Progress = Callable[[str, int, int, str], None]
"""Called with a stage, steps done, steps in all, and a word on how it goes."""


@dataclass(frozen=True)
class RunRequest:
    """What to run.

    Parameters
    ----------
    model
        The predictor's name.
    dataset
        The opened dataset.
    budget, settings
        Named budget, and `name=value` options on top of it.
    seed
        The predictor's seed.
    device
        "auto", "cpu" or "cuda".
    protocol
        The protocol; the current one by default.
    limits
        Time and memory that the predictor may use; not part of what is run.
    """

    model: str
    dataset: Dataset
    budget: str = "quick"
    settings: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    protocol: Protocol = CURRENT
    limits: Limits = field(default_factory=Limits)

    def start(self) -> PredictorProcess:
        """The predictor, unfitted, in a process that can read no trial but the training and validation ones.

        Raises on unknown names and unfit values, and `PredictorError` if it does not start.
        """
        split = self.dataset.manifest.split
        with _attribute_errors(self.model, "starting"):
            return PredictorProcess(
                self.model,
                self.budget,
                self.settings,
                context=self.protocol.context,
                denied=[self.dataset.folder],
                allowed=[trial.path for trial in self.dataset.trials((*split.train, *split.validation))],
                limits=self.limits,
            )

    def key(self, predictor: PredictorProcess) -> RunKey:
        """The key of this run; raises `OptionError` for a seed or an option that no record may hold."""
        try:
            return RunKey(
                protocol=self.protocol,
                dataset=identity(self.dataset),
                method=MethodIdentity(
                    name=predictor.name,
                    version=predictor.version,
                    consumes=predictor.consumes,
                    budget=self.budget,
                    options=predictor.options,
                ),
                seed=self.seed,
                device=resolve_device(self.device),
            )
        except ValidationError as error:
            raise OptionError(f"{self.model}: {first_error(error)}.") from None


def identity(dataset: Dataset) -> DatasetIdentity:
    """Which bytes a dataset is."""
    return DatasetIdentity(name=dataset.name, environment=dataset.environment, **identity_of(dataset)._asdict())


@contextlib.contextmanager
def _attribute_errors(name: str, stage: str) -> Iterator[None]:
    """Re-raise a worker failure as PredictorError, naming predictor and stage."""
    try:
        yield
    except PredictorCrash as crash:
        raise PredictorError(f"{name}: {stage} failed: {crash}.") from None


def resolve_device(name: str) -> str:
    """The torch device a name stands for; raises `OptionError` if it is not to be had."""
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"Unknown device {name!r}. Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("Device cuda was asked for, but torch sees no CUDA device here; use --device cpu or auto.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def default_folder(request: RunRequest) -> Path:
    """`runs/<dataset>/<model>[-settings]-<budget>-seed<seed>`."""
    return run_folder(request.dataset.name, request.model, request.settings, request.budget, request.seed)


def run_folder(dataset: str, model: str, settings: Iterable[str], budget: str, seed: int) -> Path:
    """The default folder of a run, by names alone."""
    chosen = "".join(f"-{setting.replace('=', '-')}" for setting in sorted(settings))
    return Path("runs") / dataset.replace("/", "--") / f"{model}{chosen}-{budget}-seed{seed}"


def run(
    request: RunRequest, folder: Path, progress: Progress = lambda stage, done, total, word: None
) -> tuple[Record, bool]:
    """Run a predictor under the protocol into a folder, or go on with what is there.

    Returns
    -------
    Record, bool
        The record, and whether it was there already.

    Raises
    ------
    ProtocolError
        If the folder holds a run of another key.
    PredictorError
        If the predictor fails; what was done before stays in the folder.
    """
    with request.start() as predictor:
        key = request.key(predictor)
        _claim(folder, key)
        record = _finished(folder, key)
        if record:
            return record, True
        timings = _Timings(folder)
        with _recording_failure(folder, key, predictor, timings):
            windows = test_windows(request.dataset, request.protocol)
            if not (folder / FORECASTS_NAME).exists():
                timings.stage = "fit"
                seconds = _fit(predictor, request, key.device, folder / PREDICTOR_NAME, progress)
                timings.add("fit_seconds", seconds)
                with timings.of("forecast"):
                    write_forecasts(
                        predictor,
                        request.dataset,
                        windows,
                        request.protocol,
                        folder / FORECASTS_NAME,
                        lambda done, total: progress("forecast", done, total, ""),
                    )
            elif predictor.parameter_count is None:
                _load(predictor, folder / PREDICTOR_NAME, key.device)
    with _recording_failure(folder, key, predictor, timings):
        if not (folder / WINDOWS_NAME).exists():
            with timings.of("evaluation"):
                _evaluate(request, windows, folder, progress)
        rows = pd.read_parquet(folder / WINDOWS_NAME)
        record = Record(
            key=key,
            parameter_count=predictor.parameter_count or 0,
            artifacts={"forecasts": sha256(folder / FORECASTS_NAME)},
            results=score(rows, request.protocol),
            returns=sample_returns(rows),
            provenance=provenance(key.device, predictor.isolation),
            cost=timings.cost(),
        )
    record.write(folder)
    timings.path.unlink(missing_ok=True)
    return record, False


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
def _recording_failure(folder: Path, key: RunKey, predictor: PredictorProcess, timings: _Timings) -> Iterator[None]:
    """Leave a record of what failed and why, and let the error go on."""
    try:
        yield
    except TiplBenchError as error:
        Record(
            status=Status(state="failed", stage=timings.stage, reason=one_line(error)[:500]),
            key=key,
            parameter_count=predictor.parameter_count or 0,
            artifacts={},
            results=(),
            provenance=provenance(key.device, predictor.isolation),
            cost=timings.cost(),
        ).write(folder)
        raise


def _claim(folder: Path, key: RunKey) -> None:
    """Write the run's key into its folder, or check that the folder is this run's."""
    path = folder / KEY_NAME
    clear_leftovers(folder)
    if path.exists():
        try:
            found = RunKey.model_validate(upgrade_key(strict_json(path.read_text(encoding="utf-8"))))
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
    with _attribute_errors(predictor.name, "fitting"):
        seconds = predictor.fit(task)
    predictor.save(path)
    return seconds


def _load(predictor: PredictorProcess, path: Path, device: str) -> None:
    with _attribute_errors(predictor.name, "loading its fitted state"):
        predictor.load(path, device)


def _evaluate(request: RunRequest, windows: list[EvaluationWindow], folder: Path, progress: Progress) -> None:
    """J of the forecasts, and `windows.parquet`."""
    dataset, protocol = request.dataset, request.protocol
    path = folder / FORECASTS_NAME
    forecasts = map_tensors(path)["forecasts"]
    reference = reference_returns(dataset, protocol, lambda done, total: progress("reference", done, total, ""))

    def report(done: int, total: int) -> None:
        progress("returns", done, total, "")

    try:
        returns = cached_returns(
            path,
            dataset,
            protocol,
            lambda: forecast_returns(dataset, windows, np.asarray(forecasts), protocol, report),
        )
    except ProtocolError as error:
        raise PredictorError(f"{request.model}: {error}") from None
    rows = window_rows(dataset, windows, forecasts, returns, reference, protocol)
    with replace_atomically(folder / WINDOWS_NAME) as temporary:
        rows.to_parquet(temporary, index=False)


class _Timings:
    """Seconds of each stage, kept beside the run until it is finished so that a resumed run reports them all."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "timings.json"
        self.stage = "forecast"
        """The stage that began last."""
        self.seconds = {"fit_seconds": 0.0, "forecast_seconds": 0.0, "evaluation_seconds": 0.0}
        if self.path.exists():
            self.seconds |= strict_json(self.path.read_text(encoding="utf-8"))

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
