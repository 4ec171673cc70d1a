"""Open an untrusted run folder: nothing is used before its size, form and identity are checked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...baselines.predictor import Output
from ...benchmark.fitting.curve import CURVE_NAME
from ...benchmark.forecast.forecasting import UNUSABLE, forecasts_layout, usable
from ...benchmark.forecast.run_folder import (
    FORECASTS_NAME,
    PREDICTOR_NAME,
    REMEDY,
    WINDOWS_NAME,
    check_scorable,
)
from ...benchmark.forecast.windows import EvaluationWindow, evaluation_windows
from ...benchmark.record import KEY_NAME, RECORD_LIMIT, RECORD_NAME, Record, read_record, unfinished
from ...benchmark.request import is_identified
from ...benchmark.run import Run
from ...benchmark.training.record import is_training_record
from ...registry.dataset import Dataset
from ...registry.loading import load_dataset
from ...utils.errors import DatasetError, ProtocolError, TiplBenchError
from ...utils.files import sha256
from ...utils.tensorfile import map_tensors, read_header

SUBMITTED = (RECORD_NAME, FORECASTS_NAME)
"""What a submission is made of."""
OWN = (WINDOWS_NAME, KEY_NAME, PREDICTOR_NAME, "figure.svg", "figure.png", CURVE_NAME, "fit.svg", "fit.png")
"""What else a run folder holds."""
GIVE_A_RUN = "Give a run folder as `tipl-bench run` wrote it."


@dataclass(frozen=True)
class RunFolder:
    """A run folder whose record is valid, with the dataset that the record names.

    Parameters
    ----------
    folder
        Where it is.
    record
        Its record.
    dataset
        The dataset, with the record's digest.
    """

    folder: Path
    record: Record
    dataset: Dataset

    @cached_property
    def windows(self) -> list[EvaluationWindow]:
        """The windows that the record's key asks for."""
        key = self.record.key
        return evaluation_windows(self.dataset, key.protocol, key.split, key.limit)

    @cached_property
    def forecasts(self) -> npt.NDArray[np.float32]:
        """The forecasts [W, H, P], mapped; checked by `check_forecasts`."""
        mapped: Any = map_tensors(self.folder / FORECASTS_NAME, REMEDY)["forecasts"]
        return np.asarray(mapped)

    @cached_property
    def normaliser(self) -> npt.NDArray[np.float64] | None:
        """The forecast normalisers [W, H, 2, O], likewise; None if the forecasts act with the origin's."""
        return map_tensors(self.folder / FORECASTS_NAME, REMEDY).get("normaliser")


def open_record(folder: Path) -> Record:
    """The record of a run folder, of a protocol that is known; raises `ProtocolError` for anything else."""
    check_files(folder)
    try:
        read_record(folder / RECORD_NAME)
    except ProtocolError as error:
        raise ProtocolError(f"{error} {GIVE_A_RUN} {REMEDY}") from None
    record = open_record_file(folder / RECORD_NAME)
    _check_present(folder, FORECASTS_NAME)
    return record


def open_record_file(path: Path) -> Record:
    """A record of a protocol that is known; raises `ProtocolError` for anything else."""
    record = read_record(path)
    try:
        check_scorable(record)
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from None
    return record


def stated_record(run: Run | Record | Path | str) -> Record:
    """The record of a run, of its folder or of a record file, of a protocol that is known."""
    if isinstance(run, Record):
        check_scorable(run)
        return run
    path = run.folder if isinstance(run, Run) else Path(run)
    return open_record_file(path) if path.is_file() else open_record(path)


def open_dataset(record: Record, dataset: Dataset | str | None = None) -> Dataset:
    """The dataset that a record names, found by its name by default; raises `ProtocolError` if it is another."""
    opened = dataset if isinstance(dataset, Dataset) else load_dataset(dataset or record.key.dataset.name)
    stated = record.key.dataset
    if not is_identified(opened, stated):
        raise ProtocolError(
            f"made on {stated.name} ({stated.environment}) with digest {stated.digest}, but the dataset here is "
            f"{opened.name} ({opened.environment}) with digest {opened.identity}."
        )
    return opened


def open_fit_set(record: Record) -> Dataset | None:
    """The dataset that a record's predictor was fitted on, if that is another; raises `ProtocolError` without it."""
    stated = record.key.method.fitted_on
    if stated is None:
        return None
    try:
        opened = load_dataset(stated.name)
    except TiplBenchError as error:
        raise ProtocolError(
            f"The run was fitted on {stated.name}, without which it cannot be run again: {error}"
        ) from None
    if not is_identified(opened, stated):
        raise ProtocolError(
            f"The run was fitted on {stated.name} with digest {stated.digest}, but the dataset here has digest "
            f"{opened.identity}."
        )
    return opened


def open_run(folder: Path, dataset: Dataset | str | None = None) -> RunFolder:
    """A run folder with its dataset, and forecasts of the shape, windows and bytes that its record states.

    Raises
    ------
    ProtocolError
        If something is missing, oversized, of another form, or of another dataset or protocol.
    """
    record = open_record(folder)
    try:
        run = RunFolder(folder, record, open_dataset(record, dataset))
    except ProtocolError as error:
        raise ProtocolError(f"{folder}: {error}") from None
    check_forecasts(run)
    return run


def check_files(folder: Path) -> None:
    """Only files that a run has, none of them a link, its record among them; raises `ProtocolError`."""
    if folder.is_file():
        raise ProtocolError(f"{folder}: a file, not a folder. {GIVE_A_RUN}")
    if not folder.is_dir():
        raise ProtocolError(f"{folder}: no such folder. {GIVE_A_RUN}")
    if why := unfinished(folder):
        raise ProtocolError(why)
    _check_present(folder, RECORD_NAME)
    if is_training_record(folder):
        raise ProtocolError(
            f"{folder}: a run of the training track, where one of the forecast track is needed. The commands "
            "`tipl-bench verify` and `tipl-bench reproduce` check both."
        )
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise ProtocolError(f"{folder}: {path.name!r} is not a plain file; links and folders are not allowed.")
        if path.name not in (*SUBMITTED, *OWN):
            raise ProtocolError(
                f"{folder}: {path.name!r} is an unexpected file; a run has {', '.join((*SUBMITTED, *OWN))}. Remove it, "
                "or repeat the command that made the run, which removes what a killed process left."
            )
    if (folder / RECORD_NAME).stat().st_size > RECORD_LIMIT:
        raise ProtocolError(f"{folder}: {RECORD_NAME} is larger than {RECORD_LIMIT} bytes.")


def _check_present(folder: Path, name: str) -> None:
    if not (folder / name).exists():
        raise ProtocolError(f"{folder}: {name} is missing; not a finished run. {GIVE_A_RUN}")


def check_forecasts(run: RunFolder) -> None:
    """The forecasts file has the record's bytes, the protocol's windows, and finite numbers; raises `ProtocolError`."""
    path, key = run.folder / FORECASTS_NAME, run.record.key
    expected = forecasts_layout(run.dataset, run.windows, key.protocol, normaliser=key.method.forecasts_normaliser)
    try:
        found = {name: (span.dtype, span.shape) for name, span in read_header(path, REMEDY).items()}
    except DatasetError as error:
        raise ProtocolError(str(error)) from None
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ProtocolError(
                f"{path}: tensor {name[:80]!r} is {_spell(found.get(name))}, where the protocol asks for "
                f"{_spell(expected.get(name))}."
            )
    digest = sha256(path)
    if digest != run.record.forecasts_sha256:
        raise ProtocolError(
            f"{path}: has sha256 {digest}, but the record says {run.record.forecasts_sha256}; one of them was changed. "
            f"{REMEDY}"
        )
    tensors = map_tensors(path)
    asked = [(window.trial, window.origin) for window in run.windows]
    given = list(zip(tensors["trial"].tolist(), tensors["origin"].tolist(), strict=True))
    for row, (theirs, ours) in enumerate(zip(given, asked, strict=True)):
        if theirs != ours:
            raise ProtocolError(
                f"{path}: window {row} is of trial {theirs[0]}, origin {theirs[1]}, where the protocol asks for trial "
                f"{ours[0]}, origin {ours[1]}."
            )
    outputs: list[Output] = [output for output in UNUSABLE if output in tensors]
    for output, (row, (trial, origin)) in itertools.product(outputs, enumerate(asked)):
        if not usable(output, tensors[output][row : row + 1])[0]:
            raise ProtocolError(f"{path}: the forecast of trial {trial}, origin {origin} {UNUSABLE[output]}.")


def _spell(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return "absent" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
