"""Forecasting with a fitted state, without fitting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...registry.dataset import Dataset
from ...utils.errors import ProtocolError
from ...utils.files import sha256
from ...utils.progress import Progress, silent
from ..forecast.run_folder import FittedState
from ..request import RunRequest, is_identified
from ..run import Run, execute
from ..worker.usage import Limits


def forecast_with(
    state: FittedState,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    device: str = "auto",
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Run:
    """Forecast and score with a fitted state, into a run folder of its own.

    The key of its record is that of the run that fitted the state, and the state's sha256, so that it is never taken
    for that run: it can be verified, but not submitted.

    Parameters
    ----------
    state
        The fitted state.
    dataset
        The dataset that its record names; another one that it was fitted on need not be here.
    folder
        The run folder, `runs/<dataset>/<state>-<sha256>` by default.
    device
        "auto", "cpu" or "cuda".
    limits, progress
        As for `run`.

    Raises
    ------
    ProtocolError
        If the dataset is another, the folder holds another run, or another version of the predictor is installed.
    PredictorError
        If the state is damaged, or the predictor fails.
    """
    stated = state.record.key.dataset
    if not is_identified(dataset, stated):
        raise ProtocolError(
            f"{state.name} forecasts {stated.name} with digest {stated.digest}, not {dataset.name} with digest "
            f"{dataset.identity}: which of another dataset's trials it was fitted on is not known."
        )
    request = RunRequest.of(state.record, dataset, limits=limits or Limits(), fitted=state)
    return execute(replace(request, device=device), folder or _default_folder(state), progress)


def _default_folder(state: FittedState) -> Path:
    """The state's own folder's name, and the first digits of its sha256, as two folders may have one name."""
    name = state.path.resolve().parent.name
    return Path("runs") / state.record.key.dataset.name.replace("/", "--") / f"{name}-{sha256(state.path)[:8]}"
