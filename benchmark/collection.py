"""Collect a dataset by name, with what the current protocol derives from it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..registry.collection.collect import collect, truncate
from ..registry.collection.presets import Extension, Truncation, preset, read_config
from ..registry.collection_config import CollectionConfig
from ..registry.dataset import Dataset
from ..registry.loading import load_dataset
from ..registry.manifest import MANIFEST_NAME
from ..registry.reference import NAME_PATTERN, is_name
from ..registry.store import dataset_folder, exclusive
from ..rl import usable_threads
from ..utils.errors import DatasetError, ProtocolError
from ..utils.files import is_file
from ..utils.progress import Progress
from .forecast.reference_returns import derive_reference_returns
from .protocol import CURRENT


def collect_named(name: str, config: Path | None, threads: int | None, progress: Progress) -> Dataset:
    """Collect a dataset into the store, or continue an interrupted collection.

    Parameters
    ----------
    name
        A shipped collection's name, or with `config` a new one.
    config
        TOML file of `CollectionConfig`'s fields.
    threads
        Threads, or under version 2 of a collection processes of one thread each; all usable cores by default.
    progress
        Called with the progress of every stage.

    Raises
    ------
    DatasetError, UnknownNameError
        If the name is malformed or unknown, or the dataset is there with another configuration.
    """
    if not is_name(name):
        raise DatasetError(f"{name!r} is not a dataset name; one looks like inverted-pendulum/ppo-v1 ({NAME_PATTERN}).")
    chosen = read_config(config) if config else preset(name)
    wanted, base = _extended(chosen) if isinstance(chosen, Extension) else (chosen, None)
    needed = CURRENT.context + CURRENT.horizon
    if wanted.checkpoints < needed:
        raise ProtocolError(
            f"{name} would have {wanted.checkpoints} checkpoints a trial; protocol {CURRENT.version} needs at least "
            f"{needed}. Collect more environment_steps, or checkpoints more often."
        )
    folder = dataset_folder(name)

    if not is_file(folder / MANIFEST_NAME):
        if isinstance(wanted, Truncation):
            with exclusive(name):
                truncate(load_dataset(wanted.truncates, download=False), name, wanted.checkpoints, folder)
        else:
            collect(name, wanted, threads=threads or usable_threads(), progress=progress, base=base)
    dataset = Dataset.open(folder)
    if isinstance(wanted, CollectionConfig) and dataset.manifest.collection != wanted:
        raise DatasetError(f"{folder} holds {name} collected with another configuration; remove it to collect it anew.")
    with exclusive(name) if dataset.derived(CURRENT.version) is None else contextlib.nullcontext():
        derive_reference_returns(
            dataset, CURRENT, lambda stage, done, total, _: progress(stage, done, total, "returns of the true policies")
        )
    return dataset


def _extended(extension: Extension) -> tuple[CollectionConfig, Dataset]:
    """The configuration of the extended collection, and the dataset that it extends."""
    base = load_dataset(extension.extends, download=False)
    if extension.trials <= len(base):
        raise DatasetError(f"{base.name} has {len(base)} trials already; an extension to {extension.trials} adds none.")
    wanted = base.manifest.collection.model_copy(update={"trials": extension.trials})
    if base.manifest.cut_from:
        raise DatasetError(
            f"{base.name} is truncated from {base.manifest.cut_from.name}: it holds {base.manifest.checkpoints} of the "
            f"{wanted.checkpoints} checkpoints that new trials would have. Extend that one, and truncate it anew."
        )
    return wanted, base
