"""Forecasts and returns as in the paper's Figure 2: whole trajectories, windows uniform in time, ten forward steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..._version import __version__
from ...baselines import predictor_type
from ...baselines.options import build_options
from ...baselines.plugins.discovery import SEES_THE_FUTURE
from ...baselines.predictor import Contexts, FitTask
from ...baselines.tipl import TIPLPooled, TIPLPublished
from ...registry.dataset import Dataset
from ...registry.trial import converged_from, iteration_positions
from ...rl import Policies
from ...utils.canonical import canonical_json
from ...utils.errors import ProtocolError
from ...utils.files import replace_atomically, write_text
from ...utils.progress import Progress, silent
from ..fitting.training_state import TrainingStateFile
from ..forecast.forecasting import build_contexts
from ..forecast.policy_returns import policy_returns
from ..forecast.weight_errors import weight_prediction_error
from ..forecast.windows import EvaluationWindow, Phase
from ..protocol import PROTOCOLS
from ..provenance import provenance
from ..request import resolve_device

MODELS = (SEES_THE_FUTURE, "tipl-pooled", "persistence")
"""The published model, its twin whose basis is of training trials, and what does nothing."""
CONTEXT, HORIZON, SEEDS = 20, 10, PROTOCOLS[1].evaluation_seeds
"""Decision Transformer's K, the paper's ten forward steps, and the resets of J's episodes."""
PHASES = PROTOCOLS[1]
"""Tells learning from converged windows by the training return; the paper does not."""


@dataclass(frozen=True)
class Presentation:
    """What is presented, and where its files are kept.

    Parameters
    ----------
    dataset
        Of which all test trials are forecast.
    folder
        For the rows of each model, which are not made twice.
    budget, settings
        Training of the two TIPLs, as for `run`.
    seed, device
        Of their training.
    windows
        Origins of each trial, uniform over its whole trajectory.
    """

    dataset: Dataset
    folder: Path
    budget: str = "quick"
    settings: tuple[str, ...] = ()
    seed: int = 0
    device: str = "cpu"
    windows: int = 20

    def options(self) -> Any:
        """The options of the two TIPLs."""
        return build_options(TIPLPooled, self.budget, self.settings, CONTEXT)

    def key(self) -> str:
        """What decides the rows, as JSON."""
        values = {name: getattr(self, name) for name in ("budget", "seed", "device", "windows")}
        return canonical_json(
            values
            | {
                "dataset": self.dataset.digest,
                "options": self.options().model_dump(),
                "evaluation_seeds": list(SEEDS),
                "tipl_bench": __version__,
            }
        )

    def origins(self) -> list[EvaluationWindow]:
        """The windows, by trial and origin."""
        found = []
        for trial in self.dataset.trials(self.dataset.manifest.split.test):
            last = len(trial) - 1 - HORIZON
            if last < CONTEXT - 1:
                raise ProtocolError(f"{self.dataset.name}: trials of {len(trial)} checkpoints have no window.")
            columns = trial.columns
            boundary = converged_from(columns["episodic_return"], PHASES.smoothing, PHASES.learned_fraction)
            positions = iteration_positions(columns["epoch"])
            for origin in sorted(set(np.linspace(CONTEXT - 1, last, self.windows).round().astype(int).tolist())):
                phase: Phase = "learning" if origin < boundary else "converged"
                found.append(EvaluationWindow(trial.index, origin, phase, int(positions[origin])))
        return found


def present(presentation: Presentation, progress: Progress = silent, models: Sequence[str] = MODELS) -> pd.DataFrame:
    """One row per model, trial, origin and step: WPE, and J of the true and of the forecast policy.

    What is in the folder is not made again: rows, fitted models, and fits that were interrupted. A model that was
    fitted on a CUDA device is shown without one too. The paper names no normaliser: the forecast of a checkpoint acts
    with that checkpoint's, as it stands in its place.

    Raises
    ------
    ProtocolError
        If the folder holds another presentation.
    """
    folder, key = presentation.folder, presentation.folder / "key.json"
    if key.exists() and key.read_text(encoding="utf-8") != presentation.key():
        raise ProtocolError(f"{folder} holds the results of other settings; choose another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(key, presentation.key())
    frames = []
    for model in models:
        path = folder / f"{model}.parquet"
        if not path.exists():
            rows = _rows(presentation, model, progress)
            with replace_atomically(path) as temporary:
                rows.to_parquet(temporary, index=False)
        frames.append(pd.read_parquet(path))
    return pd.concat(frames, ignore_index=True)


def _rows(presentation: Presentation, model: str, progress: Progress) -> pd.DataFrame:
    """Fit a model, and forecast and evaluate trial by trial."""
    dataset = presentation.dataset
    forecaster = fitted(presentation, model, progress)
    frames = []
    for done, index in enumerate(dataset.manifest.split.test):
        windows = [window for window in presentation.origins() if window.trial == index]
        contexts = build_contexts({index: dataset.trial(index)}, windows, CONTEXT)
        frames.append(_evaluated(dataset, windows, _forecast(forecaster, dataset, index, contexts)))
        progress(f"returns {model}", done + 1, len(dataset.manifest.split.test), "")
    return pd.concat(frames, ignore_index=True).assign(model=model)


def fitted(presentation: Presentation, model: str, progress: Progress = silent) -> Any:
    """A model that is fitted, or loaded from the presentation's folder, which keeps it."""
    dataset, path = presentation.dataset, presentation.folder / f"{model}.safetensors"
    forecaster = TIPLPublished(presentation.options()) if model == SEES_THE_FUTURE else _predictor(model, presentation)
    if model == "persistence":  # needs no fit, and so no device
        return forecaster
    place = presentation.folder / model
    if path.exists():
        shutil.rmtree(place, ignore_errors=True)  # of a call that was killed before it could
        forecaster.load(path)
        return forecaster
    device = resolve_device(presentation.device)
    place.mkdir(parents=True, exist_ok=True)
    key = {"presentation": presentation.key(), "model": model}
    training = TrainingStateFile(place, key, provenance(device, "none"))
    resume, before = training.read()
    started = time.perf_counter() - before
    split = dataset.manifest.split
    task = FitTask(
        train=dataset.trials(split.train),
        validation=dataset.trials(split.validation),
        horizon=HORIZON,
        context=CONTEXT,
        device=device,
        seed=presentation.seed,
        progress=lambda done, total, word: progress(f"fit {model}", done, total, word),
        resume=resume,
        keep=lambda state: training.write(state, time.perf_counter() - started),
    )
    forecaster.fit(task)
    forecaster.save(path)
    shutil.rmtree(place, ignore_errors=True)
    return forecaster


def _predictor(model: str, presentation: Presentation) -> Any:
    kind = predictor_type(model)
    pooled = issubclass(kind, TIPLPooled)
    return kind(presentation.options() if pooled else build_options(kind, presentation.budget, (), CONTEXT))


def _forecast(forecaster: Any, dataset: Dataset, index: int, contexts: Contexts) -> npt.NDArray[np.float32]:
    """Forecasts [B, H, P] of windows of one trial."""
    if isinstance(forecaster, TIPLPublished):
        return forecaster.forecast_trial(dataset.trial(index), contexts, HORIZON)
    forecasts: npt.NDArray[np.float32] = forecaster.predict(contexts, HORIZON)
    return forecasts


def _evaluated(
    dataset: Dataset, windows: Sequence[EvaluationWindow], forecasts: npt.NDArray[np.float32]
) -> pd.DataFrame:
    """The rows of one trial's windows."""
    trial = dataset.trial(windows[0].trial)
    targets = np.array([window.origin for window in windows])[:, None] + np.arange(1, HORIZON + 1)  # [B, H]

    def read(name: str) -> npt.NDArray[Any]:
        return trial.read(name)[targets.ravel()]

    true = read("weights")
    moments = read("observation_mean"), read("observation_variance")
    flat = forecasts.reshape(true.shape)
    returns = [
        policy_returns(dataset.environment, dataset.layout, Policies(weights, *moments), SEEDS).values
        for weights in (true, flat)
    ]
    return pd.DataFrame(
        {
            "trial": trial.index,
            "origin": np.repeat([window.origin for window in windows], HORIZON),
            "phase": np.repeat([window.phase for window in windows], HORIZON),
            "horizon": np.tile(np.arange(1, HORIZON + 1), len(windows)),
            "wpe": weight_prediction_error(true, flat),
            "return_true": returns[0],
            "return_forecast": returns[1],
            "repw": np.abs(returns[1] - returns[0]),
        }
    )
