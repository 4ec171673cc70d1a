"""The contract of a predictor, asked again on real windows: a forecast follows from the saved state and its window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...baselines.predictor import Contexts, Output
from ...registry.dataset import Dataset
from ...registry.trial import Trial
from ...utils.errors import PredictorError
from ...utils.files import sha256
from ...utils.progress import Progress
from ...utils.tensorfile import map_tensors
from ..protocol import Protocol
from .forecasting import Forecaster, build_contexts, forecast_batch, max_batch
from .windows import EvaluationWindow

TOLERANCE = 1e-4
"""Largest difference between forecasts of a window in different batches, relative to the window's largest step, of
its context or its forecast: summation order may differ."""
ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""What the rounding of the weights themselves may come to, relative to them."""
SHARE, MIN_WINDOWS, MAX_BATCH = 0.1, 10, 5
"""Windows that are forecast again: their share of all, their least number, and how many make the largest batch."""
MAX_NAMED = 5
"""Windows that an error names."""
UNSAVED = "forecasts depend on the windows that were forecast before, or on something that the saved state lacks"
EARLIER = (
    f"An earlier process made the forecasts: the predictor's code or the machine may have changed; else {UNSAVED}."
)

Forecasts = npt.NDArray[Any]


def agrees(difference: float, step: float) -> bool:
    """Whether forecasts that differ by so much are the same up to rounding, given the largest step."""
    return difference <= TOLERANCE * (step or 1.0)


@dataclass
class _Comparison:
    """Differences by window number, and the step that each is held against.

    That is the window's own: one window with huge forecasts must not excuse the differences of the others.
    """

    differences: dict[int, float] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)

    def add(self, rows: Sequence[int], expected: Forecasts, actual: Forecasts, pasts: Forecasts) -> None:
        for row, mine, theirs, past in zip(rows, expected, actual, pasts, strict=True):
            self.differences[row] = float(np.abs(mine - theirs).max())
            step = max(np.abs(mine - past[-1]).max(), np.abs(np.diff(past, axis=0)).max(initial=0.0))
            self.steps[row] = float(max(step, ROUNDING * np.abs(past[-1]).max() / TOLERANCE))

    def worst(self) -> list[int]:
        """Windows that differ, the worst first."""
        return sorted(
            (row for row, difference in self.differences.items() if not agrees(difference, self.steps[row])),
            key=lambda row: -self.differences[row],
        )


def in_units(output: Output, values: Forecasts, contexts: Contexts) -> Forecasts:
    """Forecasts or pasts [B, T, ...] as they are compared: moments of observations in units of those at the origin."""
    if output == "forecasts":
        return values
    variance = contexts.observation_variance[:, -1]
    compared: Forecasts = values / np.stack([np.sqrt(variance), variance], axis=1)[:, None]
    return compared


def past_of(output: Output, contexts: Contexts) -> Forecasts:
    """What of the contexts is forecast, [B, L, ...], in the units in which forecasts are compared."""
    return in_units(output, contexts.weights if output == "forecasts" else contexts.normaliser, contexts)


def check_contract(
    predictor: Forecaster,
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    path: Path,
    progress: Progress,
    *,
    resumed: bool = False,
) -> None:
    """Forecast some windows again, in other batches and another order, and compare.

    Which ones follows from the forecasts' sha256: the same for everyone, and unknown before they were made.

    Parameters
    ----------
    predictor
        In a new process that has loaded the saved state, and has forecast nothing.
    dataset, windows, protocol
        What was forecast.
    path
        The forecasts, as `write_forecasts` left them; removed if the contract is broken, unless `resumed`.
    progress
        Receives the windows done and those in all.
    resumed
        The forecasts are of a process that ended before: its code or machine may have been another.

    Raises
    ------
    PredictorError
        If a forecast differs by more than `TOLERANCE`; the message says at which windows, by how much, and why.
    """
    rng = np.random.default_rng(int(sha256(path), 16))
    chosen = rng.permutation(len(windows))[: max(MIN_WINDOWS, math.ceil(SHARE * len(windows)))]
    trials = {index: dataset.trial(index) for index in {windows[row].trial for row in chosen}}
    stored = map_tensors(path)
    wanted = max(predictor.context_length, protocol.context)

    forecast = partial(_forecast, predictor, trials, windows, protocol)
    comparisons: dict[Output, _Comparison] = {}
    lengths: dict[int, int] = {}
    for rows, length in _batches(rng, chosen.tolist(), windows, wanted, max_batch(dataset, wanted)):
        actual, contexts = forecast(rows, length)
        for output, values in actual.items():
            expected = in_units(output, stored[output][rows], contexts)
            comparisons.setdefault(output, _Comparison()).add(rows, expected, values, past_of(output, contexts))
        lengths |= dict.fromkeys(rows, length)
        progress("contract check", len(lengths), len(chosen), "")
    for output, compared in comparisons.items():
        worst = compared.worst()
        if not worst:
            continue
        length = lengths[worst[0]]
        rows = sorted((row for row in lengths if lengths[row] == length), key=lambda row: row != worst[0])[:MAX_BATCH]
        first, second, alone = (forecast(batch, length)[0][output] for batch in (rows, rows, rows[:1]))
        why = _reason(first, second, alone, compared.steps[worst[0]])
        if not resumed:
            path.unlink(missing_ok=True)
        where = _differing(predictor.name, output, windows, worst, compared)
        raise PredictorError(f"{where} {_explained(why, path if resumed else None)}")


def _forecast(
    predictor: Forecaster,
    trials: dict[int, Trial],
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    rows: Sequence[int],
    length: int,
) -> tuple[dict[Output, Forecasts], Contexts]:
    """Forecasts of some windows as they are compared, and the contexts that were shown."""
    batch = [windows[row] for row in rows]
    contexts = build_contexts(trials, batch, length)
    found = forecast_batch(predictor, contexts, batch, protocol)
    return {output: in_units(output, values, contexts) for output, values in found.items()}, contexts


def _batches(
    rng: np.random.Generator, rows: list[int], windows: Sequence[EvaluationWindow], wanted: int, most: int
) -> Iterator[tuple[list[int], int]]:
    """Batches of random sizes, each of windows with the same length of past."""
    lengths: dict[int, list[int]] = {}
    for row in rows:
        lengths.setdefault(min(wanted, windows[row].origin + 1), []).append(row)
    for length, same in lengths.items():
        while same:
            size = min(most, int(rng.integers(1, MAX_BATCH, endpoint=True)))
            yield same[:size], length
            same = same[size:]


def _reason(first: Forecasts, second: Forecasts, alone: Forecasts, step: float) -> str | None:
    """What the forecasts of one batch, made twice, and of its first window alone show to be broken, if anything."""
    if not agrees(float(np.abs(first - second).max()), step):
        return "the same call, made twice, gives different forecasts: it draws random numbers or keeps something"
    if not agrees(float(np.abs(second[:1] - alone).max()), step):
        return "a forecast depends on the other windows of its batch"
    return None


def _explained(why: str | None, kept: Path | None) -> str:
    """What broke the contract, or may have, and what to do; `kept` are the forecasts of an earlier process."""
    broken = f"What breaks the contract: {why or UNSAVED}."
    if kept is None:
        return f"{broken} See The contract in docs/your-own-predictor.md."
    return (
        f"{broken if why else EARLIER} {kept} was left as it is. Choose another folder (`--out`, `out=`), and raise "
        "the predictor's version if its code changed; or remove that file, and the same command forecasts again."
    )


def _differing(
    name: str, output: Output, windows: Sequence[EvaluationWindow], worst: Sequence[int], compared: _Comparison
) -> str:
    places = [
        f"trial {windows[row].trial}, origin {windows[row].origin} by {compared.differences[row]:.2g}"
        for row in worst[:MAX_NAMED]
    ]
    which = " in their normaliser" if output == "normaliser" else ""
    more = f" and {len(worst) - MAX_NAMED} more" if len(worst) > MAX_NAMED else ""
    return (
        f"{name}: {len(worst)} of {len(compared.differences)} windows differ{which} when a new process with the saved "
        f"state forecasts them again in other batches: {'; '.join(places)}{more} (the first one's largest "
        f"step is {compared.steps[worst[0]]:.2g})."
    )
