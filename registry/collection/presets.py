"""The collections that ship with the suite, and those read from a user's file."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...utils.errors import DatasetError, UnknownNameError, reason
from ...utils.text import first_error
from ..collection_config import CollectionConfig


class Truncation(BaseModel):
    """A dataset that is the first checkpoints of another."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    truncates: str
    checkpoints: int = Field(ge=1)


class Extension(BaseModel):
    """A dataset that is another one with more trials, of the seeds that follow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    extends: str
    trials: int = Field(ge=1)
    train_only: bool = False
    """Whether all added trials are for training; otherwise each joins the part furthest below its share."""
    version: Literal[1, 2, 3] | None = None
    """The collection version of the added trials; that of the extended dataset by default."""


Preset = CollectionConfig | Truncation | Extension


def presets() -> dict[str, Preset]:
    """Collections by dataset name, from `collections.toml`."""
    text = (Path(__file__).parent / "collections.toml").read_text(encoding="utf-8")
    return {name: _parse(entry) for name, entry in tomllib.loads(text).items()}


def preset(name: str) -> Preset:
    """The shipped collection of a dataset name."""
    known = presets()
    if name not in known:
        raise UnknownNameError("collection", name, known)
    return known[name]


def environment_steps(name: str) -> int:
    """Environment steps of all trials of a shipped collection; raises `UnknownNameError`."""
    return math.prod(_trials_and_steps(name))


def _trials_and_steps(name: str) -> tuple[int, int]:
    found = preset(name)
    if isinstance(found, Extension):
        return found.trials, _trials_and_steps(found.extends)[1]
    if isinstance(found, CollectionConfig):
        return found.trials, found.trained_steps
    whole = preset(found.truncates)
    assert isinstance(whole, CollectionConfig)
    epochs = (found.checkpoints - 1) * whole.checkpoint_every_epochs
    settings = whole.hyperparameters
    return whole.trials, epochs * settings.steps_per_iteration // settings.epochs


def read_config(path: Path) -> CollectionConfig | Extension:
    """A collection's config from a TOML file of `CollectionConfig`'s fields, or of `Extension`'s.

    Raises
    ------
    DatasetError
        If the file is not TOML or a field is wrong; the message names it.
    """
    try:
        config = _parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise DatasetError(f"{path}: {first_error(error, 'config')}.") from None
        raise DatasetError(
            f"{path}: {reason(error)}; expected a TOML file with the fields of a collection (`docs/hub.md`)."
        ) from None
    if isinstance(config, Truncation):
        raise DatasetError(f"{path}: only shipped collections may truncate another; give the fields of a collection.")
    return config


def _parse(entry: dict[str, Any]) -> Preset:
    for kind, field in ((Truncation, "truncates"), (Extension, "extends")):
        if field in entry:
            return kind.model_validate(entry)
    return CollectionConfig.model_validate(entry)
