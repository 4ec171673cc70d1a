"""From forecasts to numbers: one row per window and horizon, then metrics per phase and horizon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...registry.dataset import Dataset
from ...rl.evaluation import Policies, evaluate_returns
from ...utils.errors import ProtocolError
from .. import intervals
from ..intervals import Estimate
from ..protocol import Protocol
from ..record import ReturnPair
from .reference_returns import ReferenceReturns
from .weight_errors import layer_errors, span_projection, weight_prediction_error
from .windows import Window

Float64 = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

LAYER_PREFIX = "wpe_of_"
PICTURED = 97  # no divisor of a number of horizons, so that all of them come up
"""Rows of each phase in a record's sample of returns."""
BY_TRIAL = ("wpe", "wpe_persistence", "repw")
"""Sums over each trial's windows that a record keeps, with their number, so that runs can be compared by trial."""


def forecast_returns(
    dataset: Dataset,
    windows: Sequence[Window],
    forecasts: npt.NDArray[np.float32],
    protocol: Protocol,
    progress: Progress = lambda done, total: None,
) -> Float64:
    """J of the forecasts [W, H, P], each with the normaliser at its window's origin; [W, H].

    (The target's own normaliser would leak the future.)
    """
    horizon = forecasts.shape[1]
    total, done = len(windows) * horizon, 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    def normaliser(name: str) -> Float64:
        rows = [dataset.trial(w.trial).read(name, w.origin, w.origin + 1)[0] for w in windows]
        return np.repeat(np.stack(rows), horizon, axis=0)

    flat = forecasts.reshape(total, -1)
    mean, variance = normaliser("observation_mean"), normaliser("observation_variance")
    returns = evaluate_returns(
        dataset.environment, dataset.layout, Policies(flat, mean, variance), protocol.evaluation_seeds, progress=report
    )
    returns = returns.reshape(len(windows), horizon)
    bad = np.argwhere(~np.isfinite(returns))
    if len(bad):
        window = windows[bad[0][0]]
        raise ProtocolError(
            f"the forecast at trial {window.trial}, origin {window.origin}, step {bad[0][1] + 1} is a policy without a "
            "finite return: its weights are so large that its actions overflow."
        )
    return returns


def window_rows(
    dataset: Dataset,
    windows: Sequence[Window],
    forecasts: npt.NDArray[np.float32],
    returns: Float64,
    reference: ReferenceReturns,
    protocol: Protocol,
) -> pd.DataFrame:
    """One row per window and horizon: errors, the same for persistence and the span oracle, and returns.

    Parameters
    ----------
    dataset, windows, protocol
        What was forecast.
    forecasts
        [W, H, P].
    returns
        J of the forecasts [W, H].
    reference
        J of the true policies.
    """
    steps = np.arange(1, protocol.horizon + 1)
    frames = []
    trials = {index: dataset.trial(index) for index in {window.trial for window in windows}}
    for number, window in enumerate(windows):
        past = trials[window.trial].weights(window.origin + 1 - protocol.context, window.origin + 1)
        true = trials[window.trial].weights(window.origin + 1, window.origin + 1 + protocol.horizon)
        layers = layer_errors(true, forecasts[number], dataset.layout)
        target = reference.target[number]
        columns: dict[str, Any] = {
            "trial": window.trial,
            "origin": window.origin,
            "phase": window.phase,
            "position": window.position,
            "horizon": steps,
            "wpe": weight_prediction_error(true, forecasts[number]),
            "wpe_persistence": weight_prediction_error(true, past[-1]),
            "wpe_oracle": weight_prediction_error(true, span_projection(past, true)),
            "return_forecast": returns[number],
            "return_true": target,
            "return_origin": reference.origin[number],
            "repw": np.abs(target - returns[number]),
            "repw_persistence": np.abs(target - reference.origin[number]),
            "noise": np.abs(target - reference.target_noise[number]),
            "gain": returns[number] - reference.origin[number],
        }
        columns |= {f"{LAYER_PREFIX}{name}": error for name, error in layers.items()}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def score(rows: pd.DataFrame, protocol: Protocol) -> list[dict[str, Any]]:
    """Metrics per phase ("learning", "converged", "all") and horizon, with intervals over trials.

    Returns
    -------
    list of dict
        Each with `phase`, `horizon`, `windows`, `trials`, an `Estimate` for `skill`, `oracle_skill`, `wpe`,
        `wpe_persistence`, `repw`, `repw_persistence`, `noise_floor` and `gain`; `layers`, WPE by parameter tensor; and
        `by_trial`, per-trial sums and numbers of windows in the order of trial numbers.
    """
    bad = [name for name in rows.select_dtypes("number") if not np.isfinite(rows[name]).all()]
    if bad:
        raise ProtocolError(
            f"columns {', '.join(map(str, bad))} hold numbers that are not finite and cannot be scored."
        )
    metrics = []
    phases = [phase for phase in ("learning", "converged") if (rows["phase"] == phase).any()]
    for phase in [*phases, "all"]:
        chosen = rows if phase == "all" else rows[rows["phase"] == phase]
        for horizon in range(1, protocol.horizon + 1):
            part = chosen[chosen["horizon"] == horizon]
            metrics.append({"phase": phase, "horizon": horizon, **_score(part, protocol)})
    return metrics


def sample_returns(rows: pd.DataFrame) -> tuple[ReturnPair, ...]:
    """Phase, horizon, true and forecast return of some rows, spread evenly over each phase: enough for a picture."""
    names = ["phase", "horizon", "return_true", "return_forecast"]
    parts = [part[names] for _, part in rows.groupby("phase", sort=False)]
    chosen = [part.iloc[np.unique(np.linspace(0, len(part) - 1, PICTURED).astype(int))] for part in parts]
    return tuple(ReturnPair(*row) for part in chosen for row in part.itertuples(index=False, name=None))


def _score(part: pd.DataFrame, protocol: Protocol) -> dict[str, Any]:
    values = part.select_dtypes("number")
    sums = values.groupby(part["trial"]).sum()
    counts: Float64 = part.groupby("trial").size().to_numpy().astype(np.float64)

    def total(name: str) -> Float64:
        return sums[name].to_numpy(dtype=np.float64)

    def mean(name: str) -> Estimate:
        return intervals.ratio(total(name), counts, protocol)

    layers = [name for name in values.columns if name.startswith(LAYER_PREFIX)]
    return {
        "windows": len(part),
        "trials": len(sums),
        "skill": intervals.skill(total("wpe"), total("wpe_persistence"), protocol),
        "oracle_skill": intervals.skill(total("wpe_oracle"), total("wpe_persistence"), protocol),
        "wpe": mean("wpe"),
        "wpe_persistence": mean("wpe_persistence"),
        "repw": mean("repw"),
        "repw_persistence": mean("repw_persistence"),
        "noise_floor": mean("noise"),
        "gain": mean("gain"),
        "by_trial": {**{name: total(name).tolist() for name in BY_TRIAL}, "windows": counts.tolist()},
        "layers": {name.removeprefix(LAYER_PREFIX): float(values[name].mean()) for name in layers},
    }
