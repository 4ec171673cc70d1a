"""Score forecasts: one row per window and horizon, then metrics per phase and horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...registry.dataset import Dataset
from ...rl import Policies
from ...utils.errors import ProtocolError
from ...utils.progress import Progress, silent
from ...utils.tensorfile import release_pages
from .. import metrics
from ..protocol import Protocol
from ..record import Result, ReturnPair
from .policy_returns import PolicyReturns, policy_returns
from .reference_returns import ReferenceReturns
from .weight_errors import layer_errors, span_projection, weight_prediction_error
from .windows import EvaluationWindow

Float64 = npt.NDArray[np.float64]

COLUMNS: dict[str, tuple[Any, str]] = {
    "trial": (pa.int64(), "the trial's number"),
    "origin": (pa.int64(), "the last checkpoint shown"),
    "phase": (pa.string(), "learning or converged, by where the origin is"),
    "position": (pa.int64(), "the origin's place among its training iteration's checkpoints, from 0"),
    "horizon": (pa.int64(), "checkpoints ahead, from 1"),
    "wpe": (pa.float64(), "mean squared error of the forecast weights"),
    "wpe_persistence": (pa.float64(), "the same of the origin's weights"),
    "wpe_oracle": (pa.float64(), "the same of the best point in the context's span"),
    "return_forecast": (pa.float64(), "return of the forecast policy"),
    "return_true": (pa.float64(), "return of the true policy"),
    "return_origin": (pa.float64(), "return of the origin's policy"),
    "repw": (pa.float64(), "absolute error of the return"),
    "repw_persistence": (pa.float64(), "the same of the origin's policy"),
    "return_perfect": (pa.float64(), "of protocol 2: return of the true policy under the origin's normaliser"),
    "moving_from": (pa.float64(), "of protocol 2: the least change of the true return that counts as one"),
    "repw_perfect": (pa.float64(), "of protocol 2: absolute difference of return_perfect and return_true"),
    "moving": (pa.int64(), "of protocol 2: 1 where the true return differs from the origin's by that, else 0"),
    "repw_moving": (pa.float64(), "of protocol 2: repw where moving is 1, else 0"),
    "repw_moving_persistence": (pa.float64(), "of protocol 2: repw_persistence where moving is 1, else 0"),
    "noise": (pa.float64(), "absolute difference of the true policy's return on other reset seeds"),
    "gain": (pa.float64(), "return of the forecast policy minus that of the origin's"),
}
"""The columns of `windows.parquet`, with their types and what they hold; a column of each layer's errors follows."""
LAYER_PREFIX = "wpe_of_"
FORECASTS_KEY = "forecasts_sha256"
"""The file's metadata: the sha256 of the forecasts that its rows are of."""
RETURN_SAMPLE_SIZE = 97  # no divisor of a number of horizons, so that all of them come up
"""Rows of each phase in a record's sample of returns."""


def forecast_returns(
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    forecasts: npt.NDArray[np.float32],
    protocol: Protocol,
    progress: Progress = silent,
    *,
    normaliser: Float64 | None = None,
    fresh: bool = False,
) -> PolicyReturns:
    """J of the forecasts [W, H, P], each with the normaliser at its window's origin; [W, H].

    (The target's own normaliser would leak the future.) Those of a predictor that forecasts the normaliser, mean and
    variance [W, H, 2, O], act with that. With `fresh` nothing is looked up in the store.
    """
    horizon = forecasts.shape[1]
    total = len(windows) * horizon

    def moments(row: int, name: str) -> Float64:
        if normaliser is not None:
            return normaliser[:, :, row].reshape(total, -1)
        rows = [dataset.trial(w.trial).read(name, w.origin, w.origin + 1)[0] for w in windows]
        return np.repeat(np.stack(rows), horizon, axis=0)

    flat = forecasts.reshape(total, -1)
    mean, variance = moments(0, "observation_mean"), moments(1, "observation_variance")
    found = policy_returns(
        dataset.environment,
        dataset.layout,
        Policies(flat, mean, variance),
        protocol.evaluation_seeds,
        fresh=fresh,
        progress=lambda done: progress("returns", done, total, ""),
    )
    returns = found.values.reshape(len(windows), horizon)
    bad = np.argwhere(~np.isfinite(returns))
    if len(bad):
        window = windows[bad[0][0]]
        raise ProtocolError(
            f"the forecast at trial {window.trial}, origin {window.origin}, step {bad[0][1] + 1} is a policy without a "
            "finite return: its weights are so large that its actions overflow."
        )
    return PolicyReturns(returns, found.evaluated)


def window_rows(
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    forecasts: npt.NDArray[np.float32],
    returns: Float64 | None,
    reference: ReferenceReturns | None,
    protocol: Protocol,
) -> pd.DataFrame:
    """One row per window and horizon: errors, the same for persistence and the span oracle, and returns.

    Without `returns` and `reference` it has no columns of returns.

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
        columns: dict[str, Any] = {
            "trial": window.trial,
            "origin": window.origin,
            "phase": window.phase,
            "position": window.position,
            "horizon": steps,
            "wpe": weight_prediction_error(true, forecasts[number]),
            "wpe_persistence": weight_prediction_error(true, past[-1]),
            "wpe_oracle": weight_prediction_error(true, span_projection(past, true)),
        }
        if returns is not None and reference is not None:
            columns |= _return_columns(returns[number], reference, number, protocol)
        columns |= {f"{LAYER_PREFIX}{name}": error for name, error in layers.items()}
        frames.append(pd.DataFrame(columns))
        release_pages(forecasts)
    return pd.concat(frames, ignore_index=True)


def _return_columns(
    returns: Float64, reference: ReferenceReturns, number: int, protocol: Protocol
) -> dict[str, npt.NDArray[Any]]:
    """The columns of returns of one window, [H] each."""
    target, origin = reference.target[number], np.full(protocol.horizon, reference.origin[number])
    columns = {"return_forecast": returns, "return_true": target, "return_origin": origin}
    if protocol.moving_fraction is not None and reference.perfect is not None and reference.range is not None:
        columns["return_perfect"] = reference.perfect[number]
        columns["moving_from"] = np.full_like(target, protocol.moving_fraction * reference.range[number])
    found = {**columns, **following_columns(columns), "noise": np.abs(target - reference.target_noise[number])}
    return {name: found[name] for name in COLUMNS if name in found}


def following_columns(returns: Mapping[str, Float64]) -> dict[str, npt.NDArray[Any]]:
    """The columns of windows that follow from their columns of returns, [N] each.

    A window moves if its true return differs from the origin's by `moving_from` or more, and at all.
    """
    true, origin, forecast = (returns[f"return_{name}"] for name in ("true", "origin", "forecast"))
    change = np.abs(true - origin)
    found = {"repw": np.abs(true - forecast), "repw_persistence": change, "gain": forecast - origin}
    if "moving_from" not in returns:
        return found
    moving = (change >= returns["moving_from"]) & (change > 0)
    return found | {
        "repw_perfect": np.abs(true - returns["return_perfect"]),
        "moving": moving.astype(np.int64),
        "repw_moving": np.where(moving, found["repw"], 0.0),
        "repw_moving_persistence": np.where(moving, change, 0.0),
    }


def with_returns(rows: pd.DataFrame) -> bool:
    """Whether rows of windows have their columns of returns."""
    return "return_forecast" in rows


def write_windows(rows: pd.DataFrame, path: Path, forecasts_sha256: str) -> None:
    """Write `windows.parquet`: its column types are declared, not taken from what the rows hold or from pandas.

    It says which forecasts its rows are of.
    """
    schema = pa.schema([(str(name), COLUMNS[name][0] if name in COLUMNS else pa.float64()) for name in rows])
    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({FORECASTS_KEY: forecasts_sha256}), path)


def read_windows(path: Path, forecasts_sha256: str, *, returns: bool) -> pd.DataFrame | None:
    """The rows of `windows.parquet`, if they are there, undamaged, of these forecasts, and with returns as wanted."""
    try:
        table = pq.read_table(path)
        stated = (table.schema.metadata or {}).get(FORECASTS_KEY.encode(), b"").decode(errors="replace")
        rows = table.to_pandas()
    except (OSError, ValueError, pa.ArrowException):
        return None
    fits = stated == forecasts_sha256 and (with_returns(rows) or not returns)
    return rows if fits else None


def score(rows: pd.DataFrame, protocol: Protocol) -> tuple[Result, ...]:
    """Results per phase ("learning", "converged", "all") and horizon, with intervals over trials.

    Each has an estimate of every metric of the track (`metrics.METRICS`) whose columns there are, WPE by parameter
    tensor, and the per-trial sums that records keep, in the order of trial numbers.

    Raises
    ------
    ProtocolError
        If a number is not finite.
    """
    bad = [name for name in rows.select_dtypes("number") if not np.isfinite(rows[name]).all()]
    if bad:
        raise ProtocolError(
            f"columns {', '.join(map(str, bad))} hold numbers that are not finite and cannot be scored."
        )
    results = []
    positions = int(rows["position"].max()) + 1 if protocol.origins_per_position else 0
    phases = [phase for phase in ("learning", "converged") if (rows["phase"] == phase).any()]
    for phase in [*phases, "all"]:
        chosen = rows if phase == "all" else rows[rows["phase"] == phase]
        for horizon in range(1, protocol.horizon + 1):
            part = chosen[chosen["horizon"] == horizon]
            results.append(_score(part, phase, horizon, protocol, 0 if phase == "all" else positions))
    return tuple(results)


def sample_returns(rows: pd.DataFrame) -> tuple[ReturnPair, ...]:
    """Phase, horizon, true and forecast return of some rows, spread evenly over each phase: enough for a picture.

    Rows without returns give none.
    """
    if not with_returns(rows):
        return ()
    names = ["phase", "horizon", "return_true", "return_forecast"]
    parts = [part[names] for _, part in rows.groupby("phase", sort=False)]
    chosen = [part.iloc[np.unique(np.linspace(0, len(part) - 1, RETURN_SAMPLE_SIZE).astype(int))] for part in parts]
    return tuple(ReturnPair(*row) for part in chosen for row in part.itertuples(index=False, name=None))


def _score(part: pd.DataFrame, phase: Any, horizon: int, protocol: Protocol, positions: int) -> Result:
    values = part.select_dtypes("number")
    grouped = values.groupby(part["trial"])
    table = grouped.sum()
    sums: dict[str, Float64] = {str(name): table[name].to_numpy(dtype=np.float64) for name in table}
    sums[metrics.WINDOWS] = grouped.size().to_numpy().astype(np.float64)
    layers = [name for name in values.columns if name.startswith(LAYER_PREFIX)]
    scored = [metric for metric in metrics.of_protocol(protocol) if sums.keys() >= {*metric.columns}]
    return Result(
        phase=phase,
        horizon=horizon,
        windows=len(part),
        trials=len(table),
        estimates={metric.name: metric.estimate(sums, protocol) for metric in scored},
        layers={name.removeprefix(LAYER_PREFIX): float(values[name].mean()) for name in layers},
        by_trial={name: tuple(sums[name].tolist()) for name in metrics.kept_columns(scored)},
        by_position=_sums_by_position(part, metrics.position_columns(scored), positions) if positions else {},
    )


def _sums_by_position(part: pd.DataFrame, columns: Sequence[str], positions: int) -> dict[str, tuple[float, ...]]:
    """Sums over the windows of each position within the PPO iteration; 0 where a position has none."""
    values = part.assign(**{metrics.WINDOWS: 1.0})
    counted = {name: np.bincount(part["position"], values[name], positions) for name in columns}
    return {name: tuple(sums.tolist()) for name, sums in counted.items()}
