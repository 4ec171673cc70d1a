"""Fitted states that are kept: what a run learned beside its record, to forecast with again without fitting.

Those of this package are folders of `benchmark/fitted/`, which its `catalog.toml` pins; a run folder is one as well.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ...baselines import predictor_type
from ...baselines.options import as_settings, build_options
from ...baselines.predictor import Predictor
from ...utils.errors import ProtocolError, UnknownNameError
from ...utils.fields import Document, Sha256
from ...utils.files import replace_atomically, sha256
from ..forecast.run_folder import PREDICTOR_NAME
from ..record import RECORD_NAME, Record, read_record

SHIPPED = Path(__file__).parents[1] / "fitted"


class ShippedState(Document):
    """The sha256 of the two files of a state that ships with this package."""

    record: Sha256
    predictor: Sha256


@dataclass(frozen=True)
class FittedState:
    """A fitted state.

    Parameters
    ----------
    name
        What it was referred to by.
    record
        The record of the run that fitted it.
    path
        Its file, as `Predictor.save` wrote it.
    """

    name: str
    record: Record
    path: Path

    def predictor(self, device: str = "cpu") -> Predictor[Any]:
        """The predictor with this state, in this process, on a torch device.

        Raises
        ------
        PredictorError
            If the installed predictor is of another version or has other options, or the file is damaged.
        """
        key = self.record.key
        kind = predictor_type(key.method.name)
        options = build_options(kind, key.method.budget, as_settings(key.method.options), key.protocol.context)
        predictor: Predictor[Any] = kind(options)
        predictor.device = device
        predictor.load(self.path)
        return predictor

    def copy_to(self, folder: Path) -> None:
        """Copy its file into a run folder."""
        with replace_atomically(folder / PREDICTOR_NAME) as temporary:
            shutil.copyfile(self.path, temporary)


def shipped_states() -> dict[str, ShippedState]:
    """The states that ship with this package, by name: `<environment>/<predictor>-v<N>`."""
    text = (SHIPPED / "catalog.toml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, ShippedState]).validate_python(tomllib.loads(text))


def fitted_state(place: str | Path) -> FittedState:
    """A fitted state by its name, or of a run folder.

    Raises
    ------
    UnknownNameError
        If there is no such state, and no such folder.
    ProtocolError
        If a file is missing or not readable, the run failed, or a shipped file is not the one that was pinned.
    """
    folder, pinned = Path(place), shipped_states().get(str(place))
    if pinned is not None:
        folder = SHIPPED / str(place)
    elif not folder.is_dir():
        raise UnknownNameError("fitted state", str(place), shipped_states(), "It is neither a name nor a run folder")
    record, path = read_record(folder / RECORD_NAME), folder / PREDICTOR_NAME
    if record.failed or not path.is_file():
        why = f"the run failed at {record.status.stage}" if record.failed else f"{PREDICTOR_NAME} is missing"
        raise ProtocolError(f"{folder}: holds no fitted state: {why}. Repeat the command that made the run.")
    if pinned is not None and (pinned.record, pinned.predictor) != (sha256(folder / RECORD_NAME), sha256(path)):
        raise ProtocolError(f"{folder}: a file is not the one that the catalog pins; install the package again.")
    return FittedState(str(place), record, path)
