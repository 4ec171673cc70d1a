"""One recorded checkpoint: a policy's weights and what is stated beside them, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...rl import PolicyLayout
from ...utils.errors import DatasetError
from ...utils.tensorfile import Array
from .names import POSITION, PolicyNames

LARGEST = float(np.finfo(np.float32).max)

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RecordedCheckpoint:
    """One policy of a training run, and where in training it is.

    Parameters
    ----------
    weights
        [P] float32 in the layout's order.
    environment_steps
        Environment steps taken before it.
    iteration, epoch
        Of training, if stated; an epoch of 0 marks the initialisation.
    moments
        Mean and variance of the observation normaliser, [2, O], if the policy acts with one.
    observation_count, learning_rate, episodic_return
        As in a trial; NaN where not stated.
    """

    weights: npt.NDArray[np.float32]
    environment_steps: int
    iteration: int | None
    epoch: int | None
    moments: Float64 | None
    observation_count: float
    learning_rate: float
    episodic_return: float

    @property
    def position(self) -> tuple[int, int, int]:
        """Where in training it is, for ordering."""
        return self.environment_steps, self.iteration or 0, self.epoch or 0


def read_checkpoint(tensors: Mapping[str, Array], names: PolicyNames, where: str) -> RecordedCheckpoint:
    """Read a checkpoint's tensors.

    Parameters
    ----------
    tensors
        The policy's parameters by the names that `names` says, and any of `STATED`.
    names
        Which tensors are parameters.
    where
        The checkpoint, for messages.

    Raises
    ------
    DatasetError
        If a value is missing, not finite, of another shape or not of its type.
    """
    parts = [_parameter(tensors, own, names, where) for own in names.tensors]
    steps, iteration, epoch = (_integer(tensors, name, where) for name in POSITION)
    if steps is None:
        raise DatasetError(f"{where}: no environment_steps; state how many were taken before it.")
    if (iteration is None) != (epoch is None):
        raise DatasetError(
            f"{where}: states {'epoch' if iteration is None else 'iteration'} alone; state both or none."
        )
    if (iteration == 0) != (epoch == 0):
        raise DatasetError(
            f"{where}: iteration {iteration}, epoch {epoch}; both count from 1, and both are 0 before the first."
        )
    learning_rate = _number(tensors, "learning_rate", where)
    count = _number(tensors, "observation_count", where)
    for name, value in (("learning_rate", learning_rate), ("observation_count", count)):
        if value < 0:
            raise DatasetError(f"{where}: {name} is {value}, below 0.")
    return RecordedCheckpoint(
        np.concatenate([part.reshape(-1) for part in parts]),
        steps,
        iteration,
        epoch,
        _moments(tensors, names.layout, where),
        count,
        learning_rate,
        _number(tensors, "episodic_return", where),
    )


def check_follows(before: RecordedCheckpoint, after: RecordedCheckpoint, where: str) -> None:
    """Raise `DatasetError` unless one checkpoint is of the same kind as another and later in training."""
    for what, one, other in (
        ("iteration", before.iteration, after.iteration),
        ("observation_mean", before.moments, after.moments),
    ):
        if (one is None) != (other is None):
            raise DatasetError(
                f"{where}: states {'no ' if other is None else ''}{what}, unlike those before it; all must or none."
            )
    if after.position <= before.position:
        same = after.environment_steps == before.environment_steps
        way_out = (
            "state iteration and epoch of checkpoints between which no steps are taken" if same else "put them in order"
        )
        if after.iteration is not None:
            way_out = "steps, then iteration, then epoch must rise"
        raise DatasetError(
            f"{where}: taken at {_place(after)}, not after the one before it, at {_place(before)}; {way_out}."
        )


def _place(checkpoint: RecordedCheckpoint) -> str:
    within = "" if checkpoint.iteration is None else f" (iteration {checkpoint.iteration}, epoch {checkpoint.epoch})"
    return f"{checkpoint.environment_steps:,} environment steps{within}"


def _parameter(tensors: Mapping[str, Array], own: str, names: PolicyNames, where: str) -> npt.NDArray[np.float32]:
    name, shapes = names.tensors[own], names.shapes(own)
    if name not in tensors:
        raise DatasetError(f"{where}: no tensor {name!r}, which the first checkpoint has.")
    value = np.asarray(tensors[name])
    if value.shape not in shapes:
        raise DatasetError(
            f"{where}: {name!r} has shape {list(value.shape)}, in the first checkpoint {list(shapes[0])}; all "
            "checkpoints are of one network."
        )
    if not np.issubdtype(value.dtype, np.number) or not np.isfinite(value).all():
        raise DatasetError(
            f"{where}: {name!r} holds a value that is not a finite number. End the trial before it diverges."
        )
    with np.errstate(over="ignore"):
        exact = value.astype(np.float32)
    if not np.array_equal(exact, value):
        raise DatasetError(f"{where}: {name!r} is {value.dtype} and no float32 has its values; save float32 weights.")
    return exact


def _moments(tensors: Mapping[str, Array], layout: PolicyLayout, where: str) -> Float64 | None:
    found: list[Float64] = []
    for name in ("observation_mean", "observation_variance"):
        if name not in tensors:
            continue
        value = _float64(tensors[name], name, where)
        if value.shape != (layout.observation_size,):
            raise DatasetError(
                f"{where}: {name} has shape {list(value.shape)}; the policy has {layout.observation_size} observations."
            )
        if not np.isfinite(value).all() or (name.endswith("variance") and value.min() < 0):
            raise DatasetError(f"{where}: {name} holds a value that is not finite or, of the variance, below 0.")
        found.append(value)
    if len(found) == 1:
        raise DatasetError(f"{where}: only one of observation_mean and observation_variance; state both or none.")
    return np.stack(found) if found else None


def _float64(value: Any, name: str, where: str) -> Float64:
    try:
        return np.asarray(value).astype(np.float64)
    except (TypeError, ValueError):
        raise DatasetError(f"{where}: {name} is no number.") from None


def _number(tensors: Mapping[str, Array], name: str, where: str) -> float:
    """A scalar that may be NaN, as it is if it is not stated."""
    if name not in tensors:
        return math.nan
    value = _float64(tensors[name], name, where)
    if value.size != 1 or (np.abs(value) > LARGEST).any():
        raise DatasetError(
            f"{where}: {name} has shape {list(value.shape)} or is too large for float32; it is one number, or NaN."
        )
    return value.item()


def _integer(tensors: Mapping[str, Array], name: str, where: str) -> int | None:
    if name not in tensors:
        return None
    value = _number(tensors, name, where)
    if not 0 <= value < 2**53 or value != int(value):
        raise DatasetError(f"{where}: {name} is {value:g}; it is a whole number from 0.")
    return int(value)
