"""Make a dataset of recorded trials: checked, written into a temporary folder, renamed when it is whole."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ...rl import PolicyLayout, make
from ...rl.forward import NORMALIZER_EPSILON
from ...rl.policy import OBSERVATION_CLIP
from ...utils.errors import DatasetArgumentError, DatasetError
from ...utils.files import new_folder
from ...utils.machine import cpu_name, package_versions
from ...utils.progress import Progress
from ...utils.tensorfile import Array, create_tensors
from ...utils.text import first_error, one_line
from ..collection_config import ImportedCollection
from ..dataset import Dataset, describe_trials
from ..files import FileEntry
from ..manifest import Manifest, Split
from ..reference import NAME_LENGTH, is_name
from ..store import dataset_folder, exclusive
from ..trial import TRIALS_FOLDER, trial_name, trial_tensors
from .checkpoint import LARGEST, RecordedCheckpoint
from .names import PolicyNames
from .source import TrialSource, find_trials

IDENTITY_VARIANCE = 1.0 - NORMALIZER_EPSILON
"""With a mean of 0, the variance by which normalising leaves an observation as it is, to the last bit."""
UNKNOWN_LICENCE = "unknown"
LICENCE_PATTERN = r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}"
"""SPDX's identifiers."""


@dataclass(frozen=True)
class Statement:
    """What is stated of trials that are imported, beside what their files hold; see `import_dataset`."""

    environment: str
    description: str
    licence: str = UNKNOWN_LICENCE
    normaliser: bool = True
    observation_clip: float | None = None
    learning_rate: float | None = None
    layers: Sequence[str] = ()
    log_std: str | None = None
    checkpoints: int | None = None

    @property
    def collection(self) -> ImportedCollection:
        """What the manifest states, as far as it is known yet; raises `DatasetArgumentError`."""
        clip, rate = self.observation_clip, self.learning_rate
        if clip is None:
            clip = OBSERVATION_CLIP if self.normaliser else math.inf
        if not self.description.strip():
            raise DatasetArgumentError("description is empty; say how the policies were trained.")
        if not re.fullmatch(LICENCE_PATTERN, self.licence):
            raise DatasetArgumentError(
                f"licence is {one_line(self.licence, 80)!r}; give an SPDX identifier, such as MIT."
            )
        if rate is not None and not 0 <= rate <= LARGEST:
            raise DatasetArgumentError(f"learning_rate is {rate}; it is a number from 0 that float32 can hold.")
        try:
            return ImportedCollection(
                environment=self.environment,
                hidden_sizes=(1,),
                environment_steps=0,
                trials=1,
                description=self.description,
                observation_clip=None if clip == math.inf else clip,
            )
        except ValidationError as error:
            raise DatasetArgumentError(f"{first_error(error)}.") from None


def import_trials(
    folder: Path, name: str, statement: Statement, *, needed: int, to: Path | None, progress: Progress
) -> Dataset:
    """Import the trials in a folder as a dataset.

    Parameters
    ----------
    folder
        As `find_trials` reads it.
    name
        `<environment>/<collection>-v<N>`.
    statement
        What is stated of the trials.
    needed
        Checkpoints that each must have at least.
    to
        The dataset's folder; its place in the store by default.
    progress
        Receives trials done and trials in all.

    Raises
    ------
    DatasetError
        If the name is taken, or the trials make no dataset; nothing is left behind.
    """
    if not is_name(name):
        raise DatasetArgumentError(
            f"{name!r} is not a dataset name; one looks like inverted-pendulum/mine-v1, in at most {NAME_LENGTH} "
            "characters."
        )
    target = to or dataset_folder(name)
    stated = statement.collection
    trials = find_trials(folder)
    split = _split(trials, folder)
    names = trials[0].names(statement.layers, statement.log_std)
    count = _checkpoint_count(trials, statement.checkpoints, needed)
    _check_environment(statement.environment, names.layout)
    with exclusive(name, required=to is None), new_folder(target) as partial:
        (partial / TRIALS_FOLDER).mkdir()
        absent, steps = _write_trials(trials, names, count, statement, partial, progress)
        files = describe_trials(partial, range(len(trials)))
        _check_distinct(trials, files)
        known = {
            "hidden_sizes": names.layout.hidden_sizes,
            "environment_steps": steps,
            "trials": len(trials),
            "absent": absent,
        }
        Manifest(
            name=name,
            licence=statement.licence,
            environment=statement.environment,
            checkpoints=count,
            observation_size=names.layout.observation_size,
            action_size=names.layout.action_size,
            parameters=names.layout.shapes,
            collection=stated.model_copy(update=known),
            trial_seeds=_seeds(trials),
            split=split,
            versions=package_versions(),
            cpu=cpu_name(),
            trials=files,
        ).write(partial)
    return Dataset.open(target)


def _split(trials: Sequence[TrialSource], folder: Path) -> Split:
    if len(trials) < 3:
        raise DatasetError(
            f"{folder}: {len(trials)} trial{'s' * (len(trials) > 1)}; a dataset is split by trial into training, "
            "validation and test, so record at least 3, each with a seed of its own."
        )
    return Split.proportional(len(trials))


def _checkpoint_count(trials: Sequence[TrialSource], wanted: int | None, needed: int) -> int:
    """T: as many as are wanted, or as all trials have."""
    counts = {trial.path: len(trial) for trial in trials}
    shortest = min(counts, key=lambda path: counts[path])
    if wanted is None and len({*counts.values()}) > 1:
        longest = max(counts, key=lambda path: counts[path])
        raise DatasetError(
            f"{longest} has {counts[longest]} checkpoints, {shortest} {counts[shortest]}; all trials of a dataset have "
            f"equally many. Import the first {counts[shortest]} of each (`checkpoints=`), or record the others further."
        )
    count = counts[shortest] if wanted is None else wanted
    if count > counts[shortest]:
        raise DatasetError(f"{shortest} has {counts[shortest]} checkpoints, not {count}.")
    if count < needed:
        raise DatasetError(
            f"{shortest}: {count} checkpoints are taken of each trial; forecasting needs at least {needed}, a context "
            "and a horizon. Record checkpoints more often, or train for longer."
        )
    return count


def _check_environment(environment: str, layout: PolicyLayout) -> None:
    """Raise `DatasetError` unless the policies act in the environment."""
    simulation = make(environment, [0])
    if simulation.discrete:
        raise DatasetError(
            f"{environment} has discrete actions; Gaussian policies of continuous actions can be imported so far."
        )
    sizes = (simulation.observation_size, simulation.action_size)
    if sizes != (layout.observation_size, layout.action_size):
        raise DatasetError(
            f"{environment} has {sizes[0]} observations and {sizes[1]} actions; the policies have "
            f"{layout.observation_size} and {layout.action_size} (layers {' x '.join(map(str, layout.sizes))}). "
            "State the environment that they were trained in."
        )


def _write_trials(
    trials: Sequence[TrialSource],
    names: PolicyNames,
    count: int,
    statement: Statement,
    folder: Path,
    progress: Progress,
) -> tuple[tuple[str, ...], int]:
    """Write every trial's file; returns what is absent, and the most environment steps of a trial."""
    steps, lacking = 0, list[frozenset[str]]()
    for number, trial in enumerate(trials):
        progress("import", number, len(trials), trial.path.name)
        if number and trial.names(statement.layers, statement.log_std) != names:
            raise DatasetError(
                f"{trial.path}: its policies differ from those of {trials[0].path} in layers or names "
                f"({' x '.join(map(str, names.layout.sizes))} there); all trials of a dataset are of one network."
            )
        tensors = trial_tensors(count, names.layout.parameter_count, names.layout.observation_size)
        files = create_tensors(folder / TRIALS_FOLDER / trial_name(number), tensors)
        lacking.append(_write_trial(trial, names, statement, files))
        steps = max(steps, int(files["environment_steps"][-1]))
        for rows in files.values():
            rows.flush()
    progress("import", len(trials), len(trials), "")
    if len({"iteration" in part for part in lacking}) > 1:
        raise DatasetError(f"{trials[0].path.parent}: some trials state iteration and epoch; all must or none.")
    absent = frozenset().union(*lacking)
    return tuple(sorted(absent | ({"seed"} if None in [trial.seed for trial in trials] else set()))), steps


def _write_trial(
    trial: TrialSource, names: PolicyNames, statement: Statement, files: Mapping[str, Array]
) -> frozenset[str]:
    """Write one trial's rows; returns what it lacks."""
    count, first = len(files["weights"]), None
    for row, checkpoint in enumerate(trial.checkpoints(names, count)):
        first = first or checkpoint
        if (checkpoint.moments is None) is statement.normaliser:
            raise DatasetError(f"{trial.where(row)}: {_normaliser_mismatch(statement.normaliser)}")
        files["weights"][row] = checkpoint.weights
        files["environment_steps"][row] = checkpoint.environment_steps
        files["iteration"][row], files["epoch"][row] = _place(checkpoint, row, first)
        moments = checkpoint.moments
        files["observation_mean"][row] = 0.0 if moments is None else moments[0]
        files["observation_variance"][row] = IDENTITY_VARIANCE if moments is None else moments[1]
        files["observation_count"][row] = 0.0 if moments is None else checkpoint.observation_count
        files["learning_rate"][row] = checkpoint.learning_rate
        files["episodic_return"][row] = checkpoint.episodic_return
    assert first is not None
    if statement.learning_rate is not None:
        if not np.isnan(files["learning_rate"]).all():
            raise DatasetError(f"{trial.path}: holds learning rates of its own; leave out the stated learning_rate.")
        files["learning_rate"][:] = statement.learning_rate
    columns = ("learning_rate", "episodic_return", "observation_count")
    lacking = {name for name in columns if np.isnan(files[name]).all()}
    lacking |= {"iteration"} if first.iteration is None else set()
    return frozenset(lacking | ({"observation_normaliser"} if first.moments is None else set()))


def _normaliser_mismatch(expected: bool) -> str:
    if expected:
        return (
            "no observation_mean and observation_variance, without which the policy's return is not defined; record "
            "them, or state that the policies act on raw observations (`normaliser=False`)."
        )
    return "has observation_mean, and the policies are stated to act on raw observations; leave that statement out."


def _place(checkpoint: RecordedCheckpoint, row: int, first: RecordedCheckpoint) -> tuple[int, int]:
    """Iteration and epoch; where they are not stated, each checkpoint but the initialisation is an iteration."""
    if checkpoint.iteration is not None and checkpoint.epoch is not None:
        return checkpoint.iteration, checkpoint.epoch
    iteration = row + (first.environment_steps > 0)
    return iteration, min(iteration, 1)


def _check_distinct(trials: Sequence[TrialSource], files: Sequence[FileEntry]) -> None:
    """Raise `DatasetError` for a trial that is there twice: it could be trained on and tested on."""
    known: dict[str, Path] = {}
    for trial, file in zip(trials, files, strict=True):
        same = known.setdefault(file.tensors["weights"].sha256, trial.path)
        if same != trial.path:
            raise DatasetError(f"{trial.path} has the same policies as {same}; leave one of them out.")


def _seeds(trials: Sequence[TrialSource]) -> tuple[int, ...]:
    """The trials' seeds, or their numbers unless all are stated."""
    seeds = [trial.seed for trial in trials]
    known = [seed for seed in seeds if seed is not None]
    if len({*known}) < len(known):
        twice = next(seed for seed in known if known.count(seed) > 1)
        raise DatasetError(f"{trials[0].path.parent}: two trials state seed {twice}; a trial is recorded once.")
    return tuple(known) if len(known) == len(trials) else tuple(range(len(trials)))
