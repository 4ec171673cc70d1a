"""Asking a predictor for its forecasts: it is given contexts, none of which holds what it still has to forecast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt

from ...baselines.predictor import OUTPUT_DTYPES, Contexts, Output, forecast_shape
from ...registry.dataset import Dataset
from ...registry.trial import COLUMNS, Trial
from ...utils.errors import DatasetError, PredictorError
from ...utils.files import replace_atomically
from ...utils.progress import Progress, silent
from ...utils.tensorfile import TensorLayout, create_tensors, map_tensors, release_pages
from ..protocol import Protocol
from ..worker.messages import PredictorCrash
from .windows import EvaluationWindow

BATCH_BYTES = 128 << 20
"""Contexts handed over at once stay below about this."""
UNUSABLE: Mapping[Output, str] = {
    "forecasts": "is not finite",
    "normaliser": "has a normaliser that is not finite, or a variance that is not above 0",
}
"""What a forecast is, or has, that `usable` refuses."""


class Forecaster(Interface):
    """A predictor, or its process."""

    name: str
    context_length: int

    @property
    def forecasts_normaliser(self) -> bool:
        """See `Predictor.forecasts_normaliser`."""

    def predict(self, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        """See `Predictor.predict`."""

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        """See `Predictor.predict_normaliser`."""


def build_contexts(trials: dict[int, Trial], windows: Sequence[EvaluationWindow], length: int) -> Contexts:
    """Copies of the last `length` checkpoints up to each window's origin; all windows must have that many."""

    def stack(name: str) -> npt.NDArray[Any]:
        return np.stack([trials[w.trial].read(name, w.origin + 1 - length, w.origin + 1) for w in windows])

    return Contexts(
        weights=stack("weights"),
        observation_mean=stack("observation_mean"),
        observation_variance=stack("observation_variance"),
        observation_count=stack("observation_count"),
        columns={name: stack(name) for name in COLUMNS},
        origin=np.array([window.origin for window in windows], dtype=np.int64),
        layout=trials[windows[0].trial].layout,
    )


def forecasts_layout(
    dataset: Dataset, windows: Sequence[EvaluationWindow], protocol: Protocol, *, normaliser: bool
) -> TensorLayout:
    """The tensors of a forecasts file: `forecasts` [W, H, P], `trial` [W], `origin` [W].

    Of a predictor that forecasts the normaliser, also `normaliser` [W, H, 2, O]: its mean, then its variance.
    """
    shape = (len(windows), protocol.horizon)
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        "forecasts": (OUTPUT_DTYPES["forecasts"], (*shape, dataset.layout.parameter_count)),
        "trial": ("int64", shape[:1]),
        "origin": ("int64", shape[:1]),
    }
    if normaliser:
        layout["normaliser"] = (OUTPUT_DTYPES["normaliser"], (*shape, 2, dataset.layout.observation_size))
    return layout


def usable(output: Output, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which windows' forecasts [W, H, ...] a policy can have or act with: finite, with variances above 0."""
    fine: npt.NDArray[np.bool_] = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if output == "normaliser":
        fine &= (values[:, :, 1] > 0).all(axis=(1, 2))
    return fine


def write_forecasts(
    predictor: Forecaster,
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    path: Path,
    progress: Progress = silent,
) -> None:
    """Forecast every window into a safetensors file, see `forecasts_layout`.

    Raises
    ------
    PredictorError
        If the predictor raises, or returns another shape or what is not `usable`; the message names the window.
    """
    trials = {index: dataset.trial(index) for index in {window.trial for window in windows}}
    layout = forecasts_layout(dataset, windows, protocol, normaliser=predictor.forecasts_normaliser)
    with replace_atomically(path) as temporary:
        files = create_tensors(temporary, layout)
        files["trial"][:] = [window.trial for window in windows]
        files["origin"][:] = [window.origin for window in windows]
        done = 0
        for rows, length in _batches(windows, max(predictor.context_length, protocol.context), dataset):
            chosen = [windows[row] for row in rows]
            contexts = build_contexts(trials, chosen, length)
            for output, forecast in forecast_batch(predictor, contexts, chosen, protocol).items():
                files[output][rows] = forecast
                release_pages(files[output])  # the forecasts of a whole run may be larger than memory
            done += len(rows)
            progress("forecast", done, len(windows), "")
        for rows_of_file in files.values():
            rows_of_file.flush()


def is_complete(
    path: Path, dataset: Dataset, windows: Sequence[EvaluationWindow], protocol: Protocol, *, normaliser: bool
) -> bool:
    """Whether a file is there, is readable, and has the forecasts of these windows."""
    try:
        tensors = map_tensors(path)
        found = [(int(trial), int(origin)) for trial, origin in zip(tensors["trial"], tensors["origin"], strict=True)]
        layout = forecasts_layout(dataset, windows, protocol, normaliser=normaliser)
        whole = {name: (tensor.dtype.name, tensor.shape) for name, tensor in tensors.items()} == layout
        return whole and found == [(one.trial, one.origin) for one in windows]
    except (DatasetError, OSError, ValueError, KeyError):
        return False


def _batches(windows: Sequence[EvaluationWindow], wanted: int, dataset: Dataset) -> Iterator[tuple[list[int], int]]:
    """Window numbers with the same length of past, few enough for `BATCH_BYTES`, by round.

    A round has one window of each trial, and rounds go forward in time: the context of a later window holds the
    targets of an earlier one, and must not come before the earlier forecast was given.
    """
    for rows in _rounds(windows):
        lengths: dict[int, list[int]] = {}
        for row in rows:
            lengths.setdefault(min(wanted, windows[row].origin + 1), []).append(row)
        for length, same in lengths.items():
            size = max_batch(dataset, length)
            for start in range(0, len(same), size):
                yield same[start : start + size], length


def max_batch(dataset: Dataset, length: int) -> int:
    """The most windows whose contexts of that length stay below `BATCH_BYTES`."""
    return max(1, BATCH_BYTES // (4 * length * dataset.layout.parameter_count))


def _rounds(windows: Sequence[EvaluationWindow]) -> list[list[int]]:
    """Numbers of the windows that are the first of their trial in time, then of the second ones, and so on."""
    rounds: list[list[int]] = []
    seen: dict[int, int] = {}
    for row in sorted(range(len(windows)), key=lambda row: windows[row].origin):
        place = seen.get(windows[row].trial, 0)
        seen[windows[row].trial] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(row)
    return rounds


def forecast_batch(
    predictor: Forecaster, contexts: Contexts, windows: Sequence[EvaluationWindow], protocol: Protocol
) -> dict[Output, npt.NDArray[Any]]:
    """All that the predictor forecasts, as the file has it, checked; see `write_forecasts`."""
    return {output: _forecast(predictor, output, contexts, windows, protocol) for output in outputs(predictor)}


def outputs(predictor: Forecaster) -> tuple[Output, ...]:
    """What a predictor forecasts."""
    return ("forecasts", "normaliser") if predictor.forecasts_normaliser else ("forecasts",)


def _forecast(
    predictor: Forecaster,
    output: Output,
    contexts: Contexts,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
) -> npt.NDArray[Any]:
    first = f"{predictor.name} at trial {windows[0].trial}, origin {windows[0].origin}"
    expected, dtype = forecast_shape(output, contexts, protocol.horizon), OUTPUT_DTYPES[output]
    predict = predictor.predict if output == "forecasts" else predictor.predict_normaliser
    try:
        forecast = np.asarray(predict(contexts, protocol.horizon))
    except PredictorCrash as crash:
        raise PredictorError(f"{first} (a batch of {len(windows)}): {crash}.") from None
    except Exception as error:  # a predictor may raise anything
        raise PredictorError(f"{first} (a batch of {len(windows)}): raised {error!r}.") from error
    if forecast.shape != expected or forecast.dtype.kind != "f":
        raise PredictorError(
            f"{first}: {output} of shape {list(forecast.shape)} and type {forecast.dtype}, "
            f"not {list(expected)} {dtype}."
        )
    forecast = forecast.astype(dtype, copy=False)
    bad = np.flatnonzero(~usable(output, forecast))
    if len(bad):
        window = windows[bad[0]]
        raise PredictorError(
            f"{predictor.name} at trial {window.trial}, origin {window.origin}: the forecast {UNUSABLE[output]}."
        )
    return forecast
