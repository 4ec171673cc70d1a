"""Collect a dataset: blocks in turn, then the manifest, then one rename into the store; extend and truncate one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic_core import to_json

from ...rl import PolicyLayout, make
from ...utils.engines.child import ChildProcess
from ...utils.engines.cluster import Cluster
from ...utils.errors import DatasetArgumentError, DatasetError
from ...utils.files import clear_leftovers, link_or_copy, new_folder, write_text
from ...utils.machine import cpu_name, package_versions
from ...utils.progress import Progress
from ...utils.tensorfile import create_tensors
from ..catalog import origin_of
from ..collection_config import CollectionConfig
from ..dataset import Dataset, describe_trials
from ..files import verify_file
from ..manifest import MANIFEST_NAME, Manifest, Split, read_manifest
from ..reference import NAME_LENGTH, is_name
from ..store import dataset_folder, exclusive, staging_folder
from ..trial import TRIALS_FOLDER, trial_name, trial_tensors
from .block import collect_block, resumable_names
from .processes import Trainer, collect_side_by_side

LICENCE = "MIT"
CONFIG_NAME, VERSIONS_NAME = "config.json", "versions.json"
BLOCK_BYTES = 512 << 20
"""Agents (weights, critics, Adam's moments) of one block stay below about this."""


WIDE = 128
"""Networks with a hidden layer of this many units are bound by memory, others by the number of operations."""


def blocks(config: CollectionConfig, trials: Sequence[int]) -> list[list[int]]:
    """The trials in groups that are trained together, as the configuration alone decides.

    More trials share each operation's fixed cost; past a few dozen there is little left to share. From version 2 on,
    those of wide networks are few, so that weights and moments stay in a processor's cache, and there are two blocks of
    equal size or more, which two processes can train.
    """
    fitting = max(1, BLOCK_BYTES // (32 * (max(config.hidden_sizes) + 64) ** 2))
    if config.version == 1:
        size = min(64, fitting)
        return [list(trials[first : first + size]) for first in range(0, len(trials), size)]
    size = min(6 if max(config.hidden_sizes) >= WIDE else 25, fitting)
    count = min(len(trials), max(2, -(-len(trials) // size)))
    return [block.tolist() for block in np.array_split(trials, count)] if count else []


def collect(
    name: str,
    config: CollectionConfig,
    *,
    threads: int,
    progress: Progress,
    base: Dataset | None = None,
    split: Split | None = None,
    trainer: Trainer | None = None,
    cluster: Cluster | None = None,
) -> Dataset:
    """Collect a dataset into the store, or continue one that was interrupted.

    Parameters
    ----------
    name
        `<environment>/<collection>-v<N>`.
    config
        What to collect; an unfinished collection of the same name must have the same.
    threads
        Physics threads; from version 2 on, that many processes of one thread, if there are as many blocks.
    progress
        Called after every iteration of a block, with the trial-iterations done and the block's mean return.
    base
        A dataset of the same collection with fewer trials: its files are linked and only the others are trained, to as
        many checkpoints as it has.
    split
        What each trial is for; in proportion by default.
    trainer
        As for `collect_side_by_side`; the manifest records its code.
    cluster
        Where blocks are trained, as many at once as it has cores; by default in processes of this machine.

    Raises
    ------
    DatasetError
        If the dataset exists already, another process collects it, or an unfinished collection has another
        configuration or other versions; on a cluster, also for a configuration of version 1, whose blocks take all of
        a machine.
    """
    if not is_name(name):
        raise DatasetArgumentError(
            f"{name!r} is not a dataset name; one looks like inverted-pendulum/ppo-v1, in at most {NAME_LENGTH} "
            "characters."
        )
    split = split or Split.proportional(config.trials)  # raises for too few trials before they are trained
    if cluster is not None and config.version == 1:
        raise DatasetError(
            f"{name}: blocks of collection version 1 take all threads of a machine; collect it without a cluster, or "
            "as version 3."
        )
    checkpoints = base.manifest.checkpoints if base else config.checkpoints
    code = trainer.code if trainer else {}
    with exclusive(name):
        target = dataset_folder(name)
        if target.exists():
            raise DatasetError(f"{name} is already in the store ({target}); remove that folder to collect it anew.")
        folder = staging_folder(name)
        trials = folder / TRIALS_FOLDER
        trials.mkdir(parents=True, exist_ok=True)
        claim_folder(folder, name, config, base, code)
        if base:
            _link_trials(base, folder)
        first = len(base) if base else 0
        train(
            config,
            trials,
            first,
            threads=threads,
            progress=progress,
            checkpoints=checkpoints,
            trainer=trainer,
            cluster=cluster,
        )
        # From here on the manifest says what this is, whenever the process may end.
        _manifest(name, config, folder, base, split, code).write(folder)
        for claim in (CONFIG_NAME, VERSIONS_NAME):
            (folder / claim).unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.replace(target)
        return Dataset.open(target)


def train(
    config: CollectionConfig,
    folder: Path,
    first: int,
    *,
    threads: int,
    progress: Progress,
    seeds: Sequence[int] | None = None,
    checkpoints: int | None = None,
    trainer: Trainer | None = None,
    cluster: Cluster | None = None,
) -> None:
    """Train the trials from `first` on that are not finished: block after block, or from version 2 on side by side.

    Version 3 is always trained in processes of their own, which are told what instructions to use as they start.

    Seeds and checkpoints are as for `collect_block`, the trainer as for `collect_side_by_side`, the cluster as for
    `collect`.
    """
    rows = checkpoints or config.checkpoints
    length = math.ceil((rows - 1) / config.training.checkpoints_per_iteration)
    groups = blocks(config, range(first, config.trials))
    pending = [block for block in groups if not all((folder / trial_name(trial)).exists() for trial in block)]
    for name in (name for block in groups if block not in pending for name in resumable_names(block)):
        (folder / name).unlink(missing_ok=True)  # killed between the last rename and this
    finished = config.trials - sum(map(len, pending))
    done = [0] * config.trials  # iterations of each block, by its first trial

    def report(block: list[int], iterations: int, word: str) -> None:
        done[block[0]] = iterations * len(block)
        progress("collect", finished * length + sum(done), config.trials * length, word)

    processes = len(pending) if cluster else min(threads, len(pending)) if config.version > 1 else 1
    if pending and (cluster or processes > 1 or config.any_processor):
        collect_side_by_side(
            config,
            pending,
            folder,
            processes=processes,
            threads=1 if cluster else threads // processes,
            report=report,
            seeds=seeds,
            checkpoints=checkpoints,
            trainer=trainer,
            start=cluster.start if cluster else ChildProcess,
        )
        return
    for block in pending:

        def one(stage: str, iterations: int, total: int, word: str, block: list[int] = block) -> None:
            report(block, iterations, word)

        collect_block(config, block, folder, threads=threads, progress=one, seeds=seeds, checkpoints=checkpoints)


def claim_folder(
    folder: Path, name: str, config: CollectionConfig, base: Dataset | None, code: Mapping[str, str]
) -> None:
    """Record configuration and versions of a collection, or compare them with those of the interrupted one.

    Raises `DatasetError` if they differ.

    The extended dataset is part of them: its trials are links, and must never pass for trials begun here, which are
    written in place.
    """
    extends = origin_of(base) if base else None
    wanted = config.model_dump(mode="json") | ({"extends": extends.model_dump()} if extends else {})
    here = {**circumstances(config), **code}
    for place in (folder, folder / TRIALS_FOLDER):
        clear_leftovers(place, held=True)
    if (folder / MANIFEST_NAME).exists():
        begun = read_manifest(folder)
        same_base = (
            base.matches(begun.extends.digest) if base and begun.extends else begun.extends is None and base is None
        )
        there = {name: value for name, value in {**begun.versions, "cpu": begun.cpu}.items() if name in here}
        if not same_base or begun.collection != config or there != here:
            raise DatasetError(
                f"{folder} holds a collection of {name} with another configuration, or begun {config.other_bytes} "
                f"(see its {MANIFEST_NAME}). Continue with those, or remove the folder to start over."
            )
    for file, text, what in (
        (CONFIG_NAME, to_json(wanted, indent=1).decode(), "with another configuration"),
        (VERSIONS_NAME, json.dumps(here, indent=1), f"begun {config.other_bytes}"),
    ):
        path = folder / file
        if not path.exists():
            write_text(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise DatasetError(
                f"{folder} holds an unfinished collection of {name} {what} (see {path}). Continue with that, or "
                "remove the folder to start over."
            )


def circumstances(config: CollectionConfig) -> dict[str, str]:
    """What decides a collection's bytes besides its configuration, as it is here."""
    return package_versions() | ({} if config.any_processor else {"cpu": cpu_name()})


def _link_trials(base: Dataset, folder: Path) -> None:
    """Link the trials of the extended dataset, each verified."""
    for index, entry in enumerate(base.manifest.trials):
        target = folder / TRIALS_FOLDER / trial_name(index)
        if not target.exists():
            verify_file(base.folder / entry.path, entry)
            link_or_copy(base.folder / entry.path, target)


def _manifest(
    name: str, config: CollectionConfig, folder: Path, base: Dataset | None, split: Split, code: Mapping[str, str]
) -> Manifest:
    layout = PolicyLayout.of(make(config.environment, [0]), config.hidden_sizes)
    return Manifest(
        name=name,
        licence=LICENCE,
        environment=config.environment,
        checkpoints=base.manifest.checkpoints if base else config.checkpoints,
        observation_size=layout.observation_size,
        action_size=layout.action_size,
        distribution=layout.distribution,
        parameters=layout.shapes,
        collection=config,
        trial_seeds=tuple(config.seeds),
        split=split,
        versions={**package_versions(), **code},
        cpu=cpu_name(),
        extends=origin_of(base) if base else None,
        trials=describe_trials(folder, range(config.trials)),
    )


def truncate(source: Dataset, name: str, checkpoints: int, target: Path) -> Dataset:
    """Write the first checkpoints of every trial of a dataset as a dataset of its own.

    Parameters
    ----------
    source
        The dataset to truncate.
    name
        The new dataset's name.
    checkpoints
        How many checkpoints to keep, the initialisation included.
    target
        The new dataset's folder; must not exist.
    """
    if not 0 < checkpoints <= source.manifest.checkpoints:
        raise DatasetError(f"{source.name} has {source.manifest.checkpoints} checkpoints, not {checkpoints}.")
    tensors = trial_tensors(checkpoints, source.layout.parameter_count, source.layout.observation_size)
    with new_folder(target) as partial:
        source.verify()  # new digests must not vouch for damaged bytes
        (partial / TRIALS_FOLDER).mkdir()
        for trial in source.trials():
            files = create_tensors(partial / TRIALS_FOLDER / trial_name(trial.index), tensors)
            for tensor, rows in files.items():
                rows[:] = trial.read(tensor, 0, checkpoints)
                rows.flush()
        changes = {
            "name": name,
            "checkpoints": checkpoints,
            "format": 2,
            "cut_from": origin_of(source),
            "trials": describe_trials(partial, range(len(source))),
            "sidecars": (),
        }
        source.manifest.model_copy(update=changes).write(partial)
    return Dataset.open(target)
