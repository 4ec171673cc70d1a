"""Fit the predictor of a run, or load what an earlier attempt had fitted."""

from __future__ import annotations

import time
from pathlib import Path

from ...baselines.predictor import FitCurve, FitTask
from ...utils.errors import PredictorError
from ...utils.progress import Progress
from ..forecast.fit_set import verify_fit_set
from ..forecast.run_folder import FittedState
from ..request import RunRequest, attribute_errors
from ..worker.predictor_process import PredictorProcess
from .curve import write_curve
from .training_state import TrainingStateFile


def fit(
    predictor: PredictorProcess,
    request: RunRequest,
    device: str,
    path: Path,
    training: TrainingStateFile,
    progress: Progress,
    curve: FitCurve,
) -> float:
    """Fit the predictor, or load what an interrupted run had fitted; the seconds that fitting took.

    An interrupted fit that had kept its state goes on there; its seconds count.
    """
    if request.fitted is not None and not path.exists():
        request.fitted.copy_to(path)
    if path.exists():
        training.remove()
        load(predictor, path, device, request.fitted)
        return 0.0
    resume, before = training.read()
    started = time.perf_counter() - before
    split, dataset = request.fit_set.manifest.split, request.fit_set
    task = FitTask(
        train=dataset.trials(split.train),
        validation=dataset.trials(split.validation),
        horizon=request.protocol.horizon,
        context=request.protocol.context,
        device=device,
        seed=request.seed,
        progress=lambda done, total, word: progress("fit", done, total, word),
        curve=curve,
        resume=resume,
        keep=lambda state: training.write(state, time.perf_counter() - started),
    )
    if request.fit_on:
        verify_fit_set(request.fit_on)  # its digest is recorded
    progress("fit", 0, 1, "")  # predictors may take long before they report, or report nothing
    with attribute_errors(predictor.name, "fitting"):
        seconds = predictor.fit(task)
    if predictor.curve is not None:
        write_curve(predictor.name, predictor.curve, path.parent)
    predictor.save(path)
    training.remove()
    return before + seconds


def load(predictor: PredictorProcess, path: Path, device: str, fitted: FittedState | None) -> None:
    """Load a fitted state; the `PredictorError` of one that does not load names the way out."""
    try:
        with attribute_errors(predictor.name, "loading its fitted state"):
            predictor.load(path, device)
    except PredictorError as error:
        way_out = f"so is {fitted.path}: make that again" if fitted else "remove it, and the same command fits again"
        raise PredictorError(f"{error} If {path} is damaged, {way_out}.") from None
