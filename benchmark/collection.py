"""Collect a dataset by name or import one, with what the current protocol derives from it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..registry.catalog import catalog
from ..registry.collection.presets import Extension, Preset, Truncation, preset, presets, read_config
from ..registry.collection_config import CollectionConfig
from ..registry.dataset import Dataset
from ..registry.loading import as_reference, load_dataset
from ..registry.manifest import MANIFEST_NAME, Split
from ..registry.recording.importing import UNKNOWN_LICENCE, Statement, import_trials
from ..registry.reference import DatasetRef, family, is_name
from ..registry.store import dataset_folder, exclusive
from ..rl import usable_threads
from ..utils.errors import DatasetArgumentError, DatasetError, ProtocolError
from ..utils.files import is_file
from ..utils.progress import Progress, silent
from .forecast.reference_returns import derive_reference_returns
from .protocol import CURRENT, PROTOCOLS, Protocol

if TYPE_CHECKING:
    from ..registry.collection.processes import Trainer
    from ..utils.engines.cluster import Cluster

logger = logging.getLogger(__name__)


def load_or_collect(
    reference: DatasetRef | str,
    collect: bool,
    protocol: Protocol,
    progress: Progress,
    *,
    announce: Callable[[str], None] = logger.info,
    cluster: Cluster | None = None,
) -> Dataset:
    """Open a dataset as `load_dataset` does; collect a shipped one first if it is neither here nor published.

    Parameters
    ----------
    reference
        What `load_dataset` takes.
    collect
        Whether to collect; if not, an error says how long it would take.
    protocol
        What is derived for it.
    progress
        Called with the progress of every stage.
    announce
        Called with a sentence before a collection: what is collected, and how long that takes.
    cluster
        As for `collect_named`.

    Raises
    ------
    DatasetError, UnknownNameError
        If it cannot be found or collected.
    """
    reference = as_reference(reference)
    name, entry = reference.name, catalog().get(reference.name or "")
    folder = dataset_folder(name) if name else None
    missing = folder is not None and not is_file(folder / MANIFEST_NAME)
    if reference.location or name not in presets() or not entry or entry.bundled or not (collect or missing):
        return load_dataset(reference, progress=progress)
    if not collect:
        raise DatasetError(
            f"{name} is not on this machine. `collect=True` collects it first, as `tipl-bench datasets collect {name}` "
            f"does: {_expected(preset(name))}."
        )
    return collect_named(name, None, None, progress, protocol, announce=announce, cluster=cluster)


def _expected(chosen: Preset, threads: int | None = None) -> str:
    """How long a collection takes here, in words."""
    from ..registry.collection.duration import describe_seconds, expected_seconds

    cores = threads or usable_threads()
    if isinstance(chosen, Extension):
        wanted, base, _ = _extended(chosen)
        iterations = -(-(base.manifest.checkpoints - 1) // wanted.training.checkpoints_per_iteration)
        chosen = wanted.model_copy(
            update={"trials": wanted.trials - len(base), "iterations_trained": min(iterations, wanted.iterations)}
        )
    seconds = expected_seconds(chosen, cores) if isinstance(chosen, CollectionConfig) else None
    if seconds is None:
        return "how long it takes is not known"
    on = f"{cores} cores" if cores > 1 else "one core"
    return f"{describe_seconds(seconds)} on {on}, and some more for the returns of its policies"


def _caution(name: str, wanted: CollectionConfig) -> str:
    """That a collection may not become the catalogued one, before hours are spent on it; empty where it will."""
    if name not in catalog() or wanted.any_processor:
        return ""
    others = [one for one in catalog() if one in presets() and family(one) == family(name)]
    instead = next((f" {one} is the same on any processor." for one in others if _on_any_processor(preset(one))), "")
    return (
        f" Collected {wanted.other_bytes} than the catalog's, it has other bytes: it is then opened by its folder "
        f"alone, and makes no rows of its board.{instead}"
    )


def _on_any_processor(chosen: Preset) -> bool:
    if isinstance(chosen, CollectionConfig):
        return chosen.any_processor
    return isinstance(chosen, Extension) and (chosen.version or 0) >= 3


def collect_named(
    name: str,
    config: Path | None,
    threads: int | None,
    progress: Progress,
    protocol: Protocol = CURRENT,
    *,
    announce: Callable[[str], None] = logger.info,
    cluster: Cluster | None = None,
) -> Dataset:
    """Collect a dataset into the store, or continue an interrupted collection.

    Parameters
    ----------
    name
        A shipped collection's name, or with `config` a new one.
    config
        TOML file of `CollectionConfig`'s fields.
    threads
        Threads, or from version 2 of a collection on processes of one thread each; all usable cores by default.
    progress
        Called with the progress of every stage.
    protocol
        What is derived for it.
    announce
        Called with a sentence before a collection: how long that takes.
    cluster
        Where its blocks are trained, each on one core; this machine by default, and for version 1 of a collection,
        whose blocks take all of one.

    Raises
    ------
    DatasetError, UnknownNameError
        If the name is malformed or unknown, or the dataset is there with another configuration.
    """
    if not is_name(name):
        raise DatasetArgumentError(f"{name!r} is not a dataset name; one looks like inverted-pendulum/ppo-v1.")
    chosen = read_config(config) if config else preset(name)
    dataset = collect_as(name, chosen, threads, progress, protocol, announce=announce, cluster=cluster)
    if config is None:
        _compare_with_catalog(dataset)
    return dataset


def collect_as(
    name: str,
    chosen: Preset,
    threads: int | None,
    progress: Progress,
    protocol: Protocol = CURRENT,
    *,
    derive: bool = True,
    announce: Callable[[str], None] = logger.info,
    cluster: Cluster | None = None,
) -> Dataset:
    """Collect what is chosen under a name, or continue with it; see `collect_named`.

    Unless something is to be derived, a run evaluates J of the true policies where it needs that.
    """
    from ..registry.collection.collect import collect, truncate  # torch's import takes a second

    wanted, base, split = _extended(chosen) if isinstance(chosen, Extension) else (chosen, None, None)
    needed, checkpoints = protocol.context + protocol.horizon, (base.manifest if base else wanted).checkpoints
    if checkpoints < needed:
        raise ProtocolError(
            f"{name} would have {checkpoints} checkpoints a trial; protocol {protocol.version} needs at least "
            f"{needed}. Collect more environment_steps, or checkpoints more often."
        )
    folder = dataset_folder(name)

    if not is_file(folder / MANIFEST_NAME):
        if isinstance(wanted, Truncation):
            with exclusive(name):
                truncate(load_dataset(wanted.truncates, download=False), name, wanted.checkpoints, folder)
        else:
            cluster = cluster if wanted.version > 1 else None
            threads = cluster.cores if cluster else threads or usable_threads()
            announce(
                f"{name} is not on this machine and is collected now: {_expected(chosen, threads)}."
                + _caution(name, wanted)
            )
            trainer = _checked_trainer(wanted)
            collect(
                name,
                wanted,
                threads=threads,
                progress=progress,
                base=base,
                split=split,
                trainer=trainer,
                cluster=cluster,
            )
    dataset = Dataset.open(folder)
    if isinstance(wanted, CollectionConfig) and dataset.manifest.collection != wanted:
        raise DatasetError(f"{folder} holds {name} collected with another configuration; remove it to collect it anew.")
    if derive:
        _derive(dataset, protocol, progress)
    return dataset


def import_dataset(
    folder: str | Path,
    name: str,
    *,
    environment: str,
    description: str,
    licence: str = UNKNOWN_LICENCE,
    normaliser: bool = True,
    observation_clip: float | None = None,
    learning_rate: float | None = None,
    layers: Sequence[str] = (),
    log_std: str | None = None,
    checkpoints: int | None = None,
    to: str | Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Import policies that were trained elsewhere as a dataset: what `tipl-bench datasets import` does.

    What neither the files nor the arguments state is declared absent in the manifest.

    Parameters
    ----------
    folder
        One safetensors file a trial, as `TrajectoryRecorder` writes it, or one folder a trial with one safetensors file
        a checkpoint, whose name ends in its environment steps unless it has a tensor `environment_steps`.
    name
        The dataset's name, `<environment>/<collection>-v<N>`.
    environment
        Gymnasium environment id that the policies were trained in.
    description
        How they were trained, in up to 500 characters: library, algorithm, settings.
    licence
        An SPDX identifier.
    normaliser
        Whether the policies normalise observations: then every checkpoint has the moments, and otherwise none has.
    observation_clip
        Where the policies cut normalised observations: by default at 10, as CleanRL and Stable-Baselines3 do, and of
        policies without a normaliser nowhere. `math.inf` for nowhere.
    learning_rate
        The learning rate, if it was constant and the files do not hold it.
    layers, log_std
        As for `TrajectoryRecorder`.
    checkpoints
        How many checkpoints of each trial to take, from the first; all by default.
    to
        A folder to write; the dataset's place in the store by default.
    progress
        Receives the progress of every stage.

    Returns
    -------
    Dataset
        With the returns of its policies derived for the current protocol.

    Raises
    ------
    DatasetError, UnknownNameError
        If the name is taken, the environment not known, or the files make no dataset; then nothing is left behind.
    """
    stated = Statement(
        environment, description, licence, normaliser, observation_clip, learning_rate, layers, log_std, checkpoints
    )
    needed = CURRENT.context + CURRENT.horizon
    place = None if to is None else Path(to)
    dataset = import_trials(Path(folder), name, stated, needed=needed, to=place, progress=progress)
    _derive(dataset, CURRENT, progress)
    return dataset


def _checked_trainer(config: CollectionConfig) -> Trainer | None:
    """What trains the blocks of a collection with a method, which is built once to see that it can be."""
    if config.method is None:
        return None
    from ..baselines.optimizers.collecting import build_method, method_trainer  # torch's import takes a second

    build_method(config.method)
    return method_trainer(config.method)


def _derive(dataset: Dataset, protocol: Protocol, progress: Progress) -> None:
    """Derive what is missing of a protocol, and of version 1 where the catalog's digest covers its data."""
    name = dataset.name
    entry = catalog().get(name)
    first = entry is not None and entry.digest_format == 1 and protocol.version != 1
    for deriving in [PROTOCOLS[1], protocol] if first else [protocol]:
        with exclusive(name) if dataset.derived(deriving.version) is None else contextlib.nullcontext():
            derive_reference_returns(
                dataset,
                deriving,
                lambda stage, done, total, _: progress(stage, done, total, "returns of the true policies"),
            )


def _compare_with_catalog(dataset: Dataset) -> None:
    """Warn where a collection has other bytes than the catalog's, which its name alone does not open."""
    entry = catalog().get(dataset.name)
    if entry and not any(dataset.matches(known) for known in entry.identity.digests):
        logger.warning(
            "%s was collected here with other bytes than the catalog's (digest %s, not %s), as it is %s: "
            "its results are compared with each other alone. Open it by its folder, %s.",
            *(dataset.name, dataset.digest[:12], entry.identity.digest[:12]),
            *(dataset.manifest.collection.other_bytes, dataset.folder),
        )


def _extended(extension: Extension) -> tuple[CollectionConfig, Dataset, Split]:
    """The configuration of the extended collection, the dataset that it extends, and what each trial is for."""
    base = load_dataset(extension.extends, download=False)
    if extension.trials <= len(base):
        raise DatasetError(f"{base.name} has {len(base)} trials already; an extension to {extension.trials} adds none.")
    config = base.manifest.configuration
    if [*base.manifest.trial_seeds] != config.seeds:
        raise DatasetError(
            f"{base.name} was made of selected trials, whose seeds do not follow one another: it cannot be extended. "
            f"Extend what they were taken from ({', '.join(one.name for one in base.manifest.made_from)})."
        )
    changes = {"trials": extension.trials} | ({"version": extension.version} if extension.version else {})
    split = base.manifest.split.extend(extension.trials, train_only=extension.train_only)
    return config.model_copy(update=changes), base, split
