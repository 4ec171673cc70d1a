"""Fresh trials: a dataset's own collection with seeds that nobody knew, beside the trials to fit on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...utils.files import link_or_copy, private_files
from ...utils.machine import cpu_name, package_versions
from ...utils.progress import Progress
from ..catalog import origin_of
from ..dataset import Dataset, describe_trials
from ..files import verify_file
from ..manifest import MANIFEST_NAME, Manifest, Split
from ..trial import TRIALS_FOLDER, trial_name
from .collect import CONFIG_NAME, VERSIONS_NAME, claim_folder, train

STAGING = "collecting"


def collect_fresh(
    base: Dataset, name: str, seeds: Sequence[int], folder: Path, *, threads: int, progress: Progress
) -> Dataset:
    """Collect test trials of other seeds for a dataset, or continue with them.

    The result has the base's training and validation trials, linked, and the fresh ones as its test trials; of a
    truncated base, as many checkpoints of each. Its files can be read by this user alone.

    Parameters
    ----------
    base
        The dataset whose configuration is collected.
    name
        The name of the result.
    seeds
        One for each fresh trial, of any size.
    folder
        Where the result will be; it is collected in `collecting` beside that.
    threads
        Physics threads.
    progress
        Called after every iteration of a block, with the trial-iterations done and the block's mean return.

    Raises
    ------
    DatasetError
        If a trial of the base is damaged, or these trials were begun with other package versions or on another
        processor.
    """
    if (folder / MANIFEST_NAME).is_file():
        return Dataset.open(folder)
    kept = base.manifest.split.fitted
    config = base.manifest.configuration.model_copy(update={"trials": len(kept) + len(seeds)})
    staging = folder.with_name(STAGING)
    trials = staging / TRIALS_FOLDER
    with private_files():
        trials.mkdir(parents=True, exist_ok=True)
        claim_folder(staging, name, config, base, {})
        for index, source in enumerate(kept):
            _link(base, source, trials / trial_name(index))
        known = (*(base.manifest.trial_seeds[index] for index in kept), *seeds)
        train(
            config,
            trials,
            len(kept),
            threads=threads,
            progress=progress,
            seeds=known,
            checkpoints=base.manifest.checkpoints,
        )
        _manifest(base, name, known, staging).write(staging)
        for file in (CONFIG_NAME, VERSIONS_NAME):
            (staging / file).unlink()
        staging.replace(folder)
    return Dataset.open(folder)


def _link(base: Dataset, source: int, target: Path) -> None:
    entry = base.manifest.trials[source]
    if not target.exists():
        verify_file(base.folder / entry.path, entry)
        link_or_copy(base.folder / entry.path, target)


def _manifest(base: Dataset, name: str, seeds: Iterable[int], folder: Path) -> Manifest:
    split, known = base.manifest.split, tuple(seeds)
    fitted = len(split.train) + len(split.validation)
    places = tuple(range(len(known)))
    return base.manifest.model_copy(
        update={
            "format": 2,
            "name": name,
            "collection": base.manifest.configuration.model_copy(update={"trials": len(known)}),
            "trial_seeds": known,
            "split": Split(
                train=places[: len(split.train)], validation=places[len(split.train) : fitted], test=places[fitted:]
            ),
            "versions": package_versions(),
            "cpu": cpu_name(),
            "extends": origin_of(base),
            "trials": describe_trials(folder, places),
            "sidecars": (),
        }
    )
