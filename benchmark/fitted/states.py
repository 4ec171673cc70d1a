"""Fitted states that are kept: what a run learned, beside its record.

Those of this package are folders beside the catalog, which pins them; a run folder is one as well.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...baselines.predictor import Predictor
from ...utils.errors import PredictorError, ProtocolError, UnknownNameError
from ...utils.fields import Document, Sha256
from ...utils.files import sha256
from ...utils.text import one_line
from ..forecast.run_folder import PREDICTOR_NAME, FittedState, check_scorable
from ..record import RECORD_NAME, read_record, unfinished
from ..request import resolve_device, stated_predictor
from ..worker.predictor_process import STATE_LIMIT
from . import CATALOG


class ShippedState(Document):
    """The sha256 of the two files of a state that ships with this package."""

    record: Sha256
    predictor: Sha256


def shipped_states() -> dict[str, ShippedState]:
    """The states that ship with this package, by name: `<environment>/<predictor>-v<N>`."""
    entries = tomllib.loads(CATALOG.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, ShippedState]).validate_python(entries)


def fitted_state(place: str | Path) -> FittedState:
    """A fitted state by its name, or of a run folder.

    Raises
    ------
    UnknownNameError
        If there is no such state, and no such folder.
    ProtocolError
        If the run is not finished or failed, its predictor is in no installed package, a file is missing or not
        readable, or a shipped one is not the one that was pinned.
    """
    name, folder = Path(place).as_posix(), Path(place)
    pinned = shipped_states().get(name)
    if pinned is not None:
        folder = CATALOG.parent / name
    elif not str(place) or not folder.is_dir():
        otherwise = "It is neither a name nor a run folder"
        raise UnknownNameError("fitted state", str(place), shipped_states(), otherwise=otherwise)
    if not (folder / RECORD_NAME).exists():
        raise ProtocolError(unfinished(folder) or f"{folder}: holds no fitted state: {RECORD_NAME} is missing.")
    state = FittedState(name, read_record(folder / RECORD_NAME), folder / PREDICTOR_NAME)
    _check(state)
    if pinned is not None and (pinned.record, pinned.predictor) != (sha256(folder / RECORD_NAME), sha256(state.path)):
        raise ProtocolError(f"{folder}: a file is not the one that the catalog pins; install the package again.")
    return state


def _check(state: FittedState) -> None:
    """The state of a run that can be scored, of a predictor that is known by its name; raises `ProtocolError`."""
    folder, record = state.path.parent, state.record
    try:
        check_scorable(record)
    except ProtocolError as error:
        raise ProtocolError(f"{folder}: holds no fitted state: {error}") from None
    if record.key.state is not None:
        raise ProtocolError(f"{folder}: nothing was fitted there; use the state that it was made with.")
    if record.provenance.code is not None and record.provenance.code.distribution is None:
        raise ProtocolError(
            f"{folder}: its predictor was run from a file, which the record does not name. Install it as a package "
            "(`tipl-bench models new` writes one), and run it by its name."
        )
    if not state.path.is_file() or state.path.stat().st_size > STATE_LIMIT:
        why = f"larger than {STATE_LIMIT} bytes" if state.path.is_file() else "missing"
        raise ProtocolError(f"{folder}: {PREDICTOR_NAME} is {why}. Repeat the command that made the run.")


def load_predictor(place: str | Path, device: str = "auto") -> Predictor[Any]:
    """The predictor of a fitted state, in this process and ready to forecast.

    Parameters
    ----------
    place
        The state's name, or a run folder.
    device
        "auto", "cpu" or "cuda".

    Returns
    -------
    Predictor
        Fitted; call its `predict`.

    Raises
    ------
    UnknownNameError
        If there is no such state, or its predictor is not installed.
    ProtocolError
        If the run is not finished or failed, its predictor is in no installed package, a file is missing or not
        readable, or a shipped one is not the one that was pinned.
    OptionError
        If the device is unavailable, or the installed predictor has other options.
    PredictorError
        If the installed predictor is of another version, or the file is damaged.
    """
    state = fitted_state(place)
    predictor = stated_predictor(state.record.key)
    predictor.device = resolve_device(device)
    try:
        predictor.load(state.path)
    except (LookupError, ValueError, TypeError, RuntimeError) as error:  # of arrays that are not those it saved
        raise PredictorError(f"{state.path}: not a state of {predictor.name} ({one_line(error, 200)}).") from None
    return predictor
