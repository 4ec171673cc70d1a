"""Forecasting with a fitted state, without fitting."""

from __future__ import annotations

from pathlib import Path

from ...registry.dataset import Dataset
from ...utils.errors import ProtocolError
from ...utils.progress import Progress, silent
from ..fitting.fitted_state import FittedState, shipped_states
from ..request import RunRequest, is_identified
from ..run import Run, execute
from ..worker.usage import Limits


def forecast_with(
    state: FittedState,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Run:
    """Forecast and score with a fitted state, into a run folder of its own.

    Its record has the key of the run that fitted the state, and that run's seconds of fitting.

    Parameters
    ----------
    state
        The fitted state.
    dataset
        The dataset that its record names. What it was fitted on need not be here.
    folder
        The run folder, `runs/<dataset>/<state>-fitted` by default.
    limits, progress
        As for `run`.

    Raises
    ------
    ProtocolError
        If the dataset is another, the folder holds another run, or the installed predictor is of another version.
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
    return execute(request, folder or default_folder(state), progress)


def default_folder(state: FittedState) -> Path:
    """Where the forecasts of a state go by default."""
    name = state.name if state.name in shipped_states() else Path(state.name).name
    return Path("runs") / state.record.key.dataset.name.replace("/", "--") / f"{name.replace('/', '--')}-fitted"
