"""A dataset on disk: opened by its manifest, read lazily, verified byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..rl import PolicyLayout
from ..utils.errors import DatasetArgumentError, DatasetError
from .derived import Derived, derived_folder, derived_protocols, open_derived
from .files import FileEntry, check_size, describe_file, requested_trials, verify_file
from .manifest import Identity, Manifest, read_manifest
from .trial import TRIALS_FOLDER, Trial, trial_name, trial_tensors
from .views.saving import Member
from .views.selection import TrialSet

if TYPE_CHECKING:
    import datasets
    import gymnasium

    from .views.sequences import WindowDataset
    from .views.statistics import ReturnStatistics


@dataclass(frozen=True)
class Dataset(TrialSet):
    """A trajectory dataset in a folder; opening reads the manifest and looks at file sizes, nothing else.

    Parameters
    ----------
    folder
        Where `manifest.json` and the files it lists stand.
    manifest
        Its validated manifest.
    """

    folder: Path
    manifest: Manifest

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, digest {self.digest[:12]}, {len(self)} trials, folder {str(self.folder)!r})"

    @classmethod
    def open(cls, folder: Path, *, identity: Identity | None = None, trials: Iterable[int] | None = None) -> Dataset:
        """Open a dataset folder.

        Parameters
        ----------
        folder
            The dataset's folder.
        identity
            The identity it must have, if known.
        trials
            The trials that will be used; files of others may be missing. All by default.

        Returns
        -------
        Dataset
            Its trials are read lazily.

        Raises
        ------
        DatasetError
            If the manifest is invalid or not the expected one, or a listed file is missing or of another size.
        """
        dataset = cls(folder, read_manifest(folder))
        if identity is not None and not any(dataset.matches(known) for known in identity.digests):
            raise DatasetError(
                f"{folder}: the manifest has digest {dataset.identity}, but the catalog pins {identity} for "
                f"{dataset.name}. Either it was collected {dataset.manifest.collection.other_bytes}, which gives "
                f"other bytes: then use it by its path, {folder}. Or the manifest was edited, this is another "
                f"collection, or (where only a format-1 digest is pinned) {derived_folder(folder, 1)}, which it "
                "covers, is missing: then remove the folder and collect or download the dataset again."
            )
        check_trials(dataset.manifest, str(folder))
        dataset.check_sizes(trials)
        return dataset

    def check_sizes(self, trials: Iterable[int] | None = None) -> None:
        """Look at the size of each file that the trials need.

        Parameters
        ----------
        trials
            Numbers of trials; all by default.

        Raises
        ------
        DatasetError
            If a file is missing or of another size.
        """
        for entry in self.files(trials):
            check_size(self.folder / entry.path, entry)

    def files(self, trials: Iterable[int] | None = None) -> list[FileEntry]:
        """The files that some trials need, sidecars included.

        Parameters
        ----------
        trials
            Numbers of trials; all by default.

        Returns
        -------
        list of FileEntry
            Path, size in bytes and sha256 of each file.

        Raises
        ------
        DatasetArgumentError
            If there is no such trial.
        """
        indices = set()
        for index in range(len(self)) if trials is None else trials:
            if not 0 <= index < len(self):  # checked one by one: a range may hold billions
                raise DatasetArgumentError(f"{self.name} has trials 0 to {len(self) - 1}; there is no trial {index}.")
            indices.add(index)
        return [*(self.manifest.trials[index] for index in sorted(indices)), *self.manifest.sidecars]

    @property
    def name(self) -> str:
        """Its name, `<environment>/<collection>-v<N>`."""
        return self.manifest.name

    @property
    def environment(self) -> str:
        """The Gymnasium id of the environment that its policies were trained in."""
        return self.manifest.environment

    @property
    def layout(self) -> PolicyLayout:
        """Names and shapes of its policies' parameters within P."""
        return self.manifest.layout

    @cached_property
    def digest(self) -> str:
        """The digest that identifies the dataset, see `Manifest.digest`."""
        return self.manifest.digest

    @property
    def former_digest(self) -> str | None:
        """The digest that identifies it in format 1, where that can be computed."""
        return self.identity.former_digest

    @cached_property
    def identity(self) -> Identity:
        """Both digests; that of format 1 covers what protocol 1 derived, and is known only where that is here."""
        if self.manifest.format == 1:
            return Identity(self.digest, former_digest=self.manifest.former_digest)
        first = self.derived(1)
        former = self.manifest.format_1_digest(first.manifest.files) if first else None
        return Identity(self.digest, former_digest=former)

    def matches(self, digest: str) -> bool:
        """Whether a digest, of whichever format, identifies this dataset.

        Parameters
        ----------
        digest
            64 hexadecimal digits.

        Returns
        -------
        bool
            Whether it does.
        """
        return digest == self.digest or digest == self.former_digest

    def __len__(self) -> int:
        return len(self.manifest.trials)

    @property
    def members(self) -> list[Member]:
        """The trials, each with the manifest."""
        return [Member(trial, self.manifest) for trial in self.trials()]

    @property
    def described(self) -> str:
        """What a message calls it."""
        return self.name

    def trial(self, index: int) -> Trial:
        """Open one trial lazily.

        Parameters
        ----------
        index
            Its number, from 0.

        Returns
        -------
        Trial
            Its tensors are read when asked for.

        Raises
        ------
        IndexError
            If there is no such trial.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has trials 0 to {len(self) - 1}, not {index}")
        entry = self.manifest.trials[index]
        return Trial(self.folder / entry.path, index, self.layout, self.manifest.checkpoints, self.environment)

    def trials(self, indices: Iterable[int] | None = None) -> list[Trial]:
        """Open some trials lazily.

        Parameters
        ----------
        indices
            Numbers of trials; all by default.

        Returns
        -------
        list of Trial
            In the order given.
        """
        return [self.trial(index) for index in (range(len(self)) if indices is None else indices)]

    def make_env(self, **arguments: Any) -> gymnasium.Env[Any, Any]:
        """The environment that the policies were trained in.

        Parameters
        ----------
        **arguments
            For `gymnasium.make`, such as `render_mode="rgb_array"`.

        Returns
        -------
        gymnasium.Env
            As `gymnasium.make` makes it.
        """
        from ..rl.rendering import gymnasium_environment

        return gymnasium_environment(self.environment, **arguments)

    def windows(
        self, trials: Iterable[int] | None = None, *, context: int = 20, horizon: int = 10, stride: int = 1
    ) -> WindowDataset:
        """Windows of some trials as a torch `Dataset`.

        Parameters
        ----------
        trials
            Numbers of trials; the training trials by default.
        context, horizon
            L and H, in checkpoints.
        stride
            Checkpoints between two origins.

        Returns
        -------
        WindowDataset
            An item is a dictionary of tensors: `context` [L, P] and `target` [H, P] float32, `iteration` and `epoch`
            [L + H] int64; and of numbers: `trial` and `origin`.
        """
        from .views.sequences import WindowDataset

        opened = self.trials(self.manifest.split.train if trials is None else trials)
        return WindowDataset(opened, context=context, horizon=horizon, stride=stride)

    def index(self, trials: Iterable[int] | None = None) -> datasets.Dataset:
        """One row a checkpoint, with everything but the tensors.

        Parameters
        ----------
        trials
            Numbers of trials; all by default.

        Returns
        -------
        datasets.Dataset
            A Hugging Face dataset; `to_pandas()` makes it a data frame.
        """
        import datasets

        from .views.index import index_table

        return datasets.Dataset(index_table(self.manifest, {t.index: t.columns for t in self.trials(trials)}))

    def statistics(self, trials: Iterable[int] | None = None) -> ReturnStatistics:
        """Final and best training returns over some trials.

        Parameters
        ----------
        trials
            Numbers of trials; all by default.

        Returns
        -------
        ReturnStatistics
            In units of return.
        """
        from .views.statistics import return_statistics

        return return_statistics({t.index: t.columns["episodic_return"] for t in self.trials(trials)})

    def derived(self, protocol: int) -> Derived | None:
        """What a protocol version derived from this dataset: returns of its policies, phases.

        Parameters
        ----------
        protocol
            The version.

        Returns
        -------
        Derived or None
            None if it is not here.
        """
        return open_derived(self.folder, self.manifest, protocol)

    @property
    def trials_here(self) -> list[int]:
        """Trials that belong on this machine: all, or if only some were downloaded, those and others with a file."""
        requested = requested_trials(self.folder)
        if requested is None:
            return list(range(len(self)))
        here = {i for i, entry in enumerate(self.manifest.trials) if (self.folder / entry.path).is_file()}
        return sorted(here | {trial for trial in requested if trial < len(self)})

    def contents(self, trials: Iterable[int] | None = None) -> list[FileEntry]:
        """Every file that a manifest vouches for: some trials', sidecars, derived data.

        Parameters
        ----------
        trials
            Numbers of trials; all by default.

        Returns
        -------
        list of FileEntry
            Path, size in bytes and sha256 of each file.
        """
        entries = self.files(trials)
        for protocol in derived_protocols(self.folder):
            derived = self.derived(protocol)
            entries += derived.manifest.entries() if derived else []
        return entries

    def verify(
        self, progress: Callable[[str, int], None] = lambda path, size: None, trials: Iterable[int] | None = None
    ) -> None:
        """Hash every byte, derived data included, and compare with the manifests.

        Parameters
        ----------
        progress
            Called with each file's path and size once it has passed.
        trials
            The trials to verify; all by default.

        Raises
        ------
        DatasetError
            Naming the first file, and the tensor in it, that is not what the manifest says.
        """
        for entry in self.contents(trials):
            verify_file(self.folder / entry.path, entry)
            progress(entry.path, entry.size)


def check_trials(manifest: Manifest, where: str) -> None:
    """Compare the manifest's trials with the format; raises `DatasetError` naming the first wrong one and `where`."""
    layout = manifest.layout
    expected = trial_tensors(manifest.checkpoints, layout.parameter_count, layout.observation_size)
    for index, entry in enumerate(manifest.trials):
        stated = {name: (tensor.dtype, tensor.shape) for name, tensor in entry.tensors.items()}
        if stated != expected:
            wrong = sorted(name for name in {*stated, *expected} if stated.get(name) != expected.get(name))
            raise DatasetError(
                f"{where}: the manifest's trial {index} ({entry.path}) does not have the tensors of the format for "
                f"T = {manifest.checkpoints}, P = {layout.parameter_count}: {', '.join(wrong)}."
            )


def describe_trials(folder: Path, indices: Sequence[int]) -> tuple[FileEntry, ...]:
    """Hash the trial files of a dataset folder."""
    return tuple(describe_file(folder, f"{TRIALS_FOLDER}/{trial_name(index)}") for index in indices)
