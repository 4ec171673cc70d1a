"""A dataset on disk: opened by its manifest, read lazily, verified byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..rl.policy import PolicyLayout
from ..utils.errors import DatasetError
from ..utils.files import sha256
from ..utils.tensorfile import read_header, tensor_digests
from .manifest import FileEntry, Identity, Manifest, TensorEntry, read_manifest
from .trial import Trial, trial_name, trial_tensors

if TYPE_CHECKING:
    import datasets

    from .sequences import WindowDataset
    from .statistics import ReturnStatistics

TRIALS_FOLDER = "trials"
MEND = "Fetch it again (`tipl-bench datasets download NAME`) or collect it again; nothing was removed."


@dataclass(frozen=True)
class Dataset:
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

        Raises
        ------
        DatasetError
            If the manifest is invalid or not the expected one, or a listed file is missing or of another size.
        """
        dataset = cls(folder, read_manifest(folder))
        if identity is not None and not dataset.identity.matches(identity):
            raise DatasetError(
                f"{folder}: the manifest has digest {dataset.identity}, but the catalog pins {identity} for "
                f"{dataset.name}. The manifest was edited, or this is another collection: remove the folder and "
                "collect or fetch the dataset again, or use it by its path."
            )
        check_trials(dataset.manifest, str(folder))
        for entry in dataset.files(trials):
            check_size(folder / entry.path, entry)
        return dataset

    def files(self, trials: Iterable[int] | None = None) -> list[FileEntry]:
        """The files that the given trials need (all by default), sidecars included.

        Raises
        ------
        DatasetError
            If there is no such trial.
        """
        indices = set()
        for index in range(len(self)) if trials is None else trials:
            if not 0 <= index < len(self):  # met before a range of billions is gone through
                raise DatasetError(f"{self.name} has trials 0 to {len(self) - 1}; there is no trial {index}.")
            indices.add(index)
        return [*(self.manifest.trials[index] for index in sorted(indices)), *self.manifest.sidecars]

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def environment(self) -> str:
        return self.manifest.environment

    @property
    def layout(self) -> PolicyLayout:
        return self.manifest.layout

    @property
    def digest(self) -> str:
        """The digest that identifies the dataset, see `Manifest.digest`."""
        return self.identity.digest

    @property
    def former_digest(self) -> str | None:
        """The digest that identified it in format 1, where that is known."""
        return self.identity.former_digest

    @cached_property
    def identity(self) -> Identity:
        """Both digests."""
        return self.manifest.identity

    def matches(self, digest: str) -> bool:
        """Whether a digest, of whichever format, identifies this dataset."""
        return self.identity.matches(Identity(digest))

    def __len__(self) -> int:
        return len(self.manifest.trials)

    def trial(self, index: int) -> Trial:
        """Open one trial lazily."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has trials 0 to {len(self) - 1}, not {index}")
        entry = self.manifest.trials[index]
        return Trial(self.folder / entry.path, index, self.layout, self.manifest.checkpoints)

    def trials(self, indices: Iterable[int] | None = None) -> list[Trial]:
        """Open the given trials lazily (all by default)."""
        return [self.trial(index) for index in (range(len(self)) if indices is None else indices)]

    def windows(
        self, trials: Iterable[int] | None = None, *, context: int = 20, horizon: int = 10, stride: int = 1
    ) -> WindowDataset:
        """Windows of some trials (the training trials by default) as a torch `Dataset`; see `WindowDataset`."""
        from .sequences import WindowDataset

        return WindowDataset(self, trials, context=context, horizon=horizon, stride=stride)

    def index(self, trials: Iterable[int] | None = None) -> datasets.Dataset:
        """One row a checkpoint, with everything but the tensors, as a Hugging Face `datasets.Dataset`."""
        import datasets

        from .index import index_table

        return datasets.Dataset(index_table(self.manifest, {t.index: t.columns for t in self.trials(trials)}))

    def statistics(self, trials: Iterable[int] | None = None) -> ReturnStatistics:
        """Final and best training returns over some trials (all by default)."""
        from .statistics import return_statistics

        return return_statistics({t.index: t.columns["episodic_return"] for t in self.trials(trials)})

    def sidecar(self, path: str) -> Path | None:
        """The file of a listed sidecar, or None."""
        listed = any(entry.path == path for entry in self.manifest.sidecars)
        return self.folder / path if listed else None

    def verify(self, progress: Callable[[str, int], None] = lambda path, size: None) -> None:
        """Hash every byte and compare with the manifest.

        Parameters
        ----------
        progress
            Called with each file's path and size once it has passed.

        Raises
        ------
        DatasetError
            Naming the first file, and the tensor in it, that is not what the manifest says.
        """
        for entry in self.manifest.files:
            verify_file(self.folder / entry.path, entry)
            progress(entry.path, entry.size)


def verify_file(path: Path, entry: FileEntry) -> None:
    """Hash every byte of a file and compare with its manifest entry.

    Raises
    ------
    DatasetError
        Naming the file, and the tensor in it, that is not what the manifest says.
    """
    check_size(path, entry)
    _check_header(path, entry)
    for name, digest in tensor_digests(path).items():
        if digest != entry.tensors[name].sha256:
            raise DatasetError(
                f"{path}: tensor {name!r} does not have the manifest's sha256; its bytes were changed. {MEND}"
            )
    if sha256(path) != entry.sha256:
        raise DatasetError(f"{path}: its tensors are intact but its header does not have the manifest's bytes. {MEND}")


def check_size(path: Path, entry: FileEntry) -> None:
    """A file's presence and size against its manifest entry; raises `DatasetError`."""
    if not path.is_file():
        raise DatasetError(f"{path}: listed in the manifest but missing. {MEND}")
    size = path.stat().st_size
    if size != entry.size:
        raise DatasetError(
            f"{path}: {size} bytes where the manifest says {entry.size}; the file is truncated or was replaced. {MEND}"
        )


def check_trials(manifest: Manifest, where: str) -> None:
    """The manifest's trials against the format; raises `DatasetError` naming the first wrong one and `where`."""
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


def _check_header(path: Path, entry: FileEntry) -> None:
    """The file's own header against the manifest's entry."""
    stated = {name: (t.dtype, t.shape) for name, t in entry.tensors.items()}
    found = {name: (span.dtype, span.shape) for name, span in read_header(path).items()}
    if found != stated:
        wrong = sorted(name for name in {*found, *stated} if found.get(name) != stated.get(name))
        raise DatasetError(f"{path}: tensors {', '.join(wrong)} do not have the manifest's dtype and shape.")


def describe_file(folder: Path, path: str) -> FileEntry:
    """Hash one file of a dataset folder into its manifest entry."""
    digests = tensor_digests(folder / path)
    tensors = {
        name: TensorEntry.model_validate({"dtype": span.dtype, "shape": span.shape, "sha256": digests[name]})
        for name, span in read_header(folder / path).items()
    }
    file = folder / path
    return FileEntry(path=path, size=file.stat().st_size, sha256=sha256(file), tensors=tensors)


def describe_trials(folder: Path, indices: Sequence[int]) -> tuple[FileEntry, ...]:
    """Hash the trial files of a dataset folder."""
    return tuple(describe_file(folder, f"{TRIALS_FOLDER}/{trial_name(index)}") for index in indices)
