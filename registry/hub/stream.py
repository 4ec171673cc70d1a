"""Trials on the Hub, read without a download of the dataset: a tensor comes when it is first read, by its byte range.

Each tensor is compared with the manifest's sha256 before anything sees it, and kept in the dataset's folder in the
store. `huggingface_hub`'s own `HfFileSystem` reads ranges too, into a cache in memory; it keeps nothing for the next
process, does not continue what was cut, and verifies nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from ...utils.errors import DatasetError, UnknownNameError
from ...utils.files import CHUNK, is_file, replace_atomically, sync
from ...utils.progress import Progress, silent
from ...utils.tensorfile import TensorSpan
from ..dataset import Dataset
from ..files import FileEntry
from ..reference import HubLocation
from ..store import TENSORS_FOLDER, exclusive, stream_lock
from ..trial import Trial
from ..views.saving import Member
from ..views.selection import Selection
from .download import ByteProgress, cancel_on_error, check_free_space
from .fetch import FRESH_STARTS, Report, WholeFileError, fetch_file, fetch_range
from .remote import WORKERS, RemoteDataset

SMALL = 1 << 20
"""Bytes below which neighbours come by one request."""

logger = logging.getLogger(__name__)


def _unreported(size: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True, kw_only=True)
class StreamedTrial(Trial):
    """A trial on the Hub; what of it is read is fetched first, unless it is here.

    Parameters
    ----------
    remote
        The dataset that it is of, at a commit.
    folder
        The dataset's folder on this machine.
    """

    remote: RemoteDataset
    folder: Path

    @property
    def entry(self) -> FileEntry:
        """Its file, as the manifest lists it."""
        return self.remote.manifest.trials[self.index]

    @cached_property
    def _remote_spans(self) -> dict[str, TensorSpan]:
        return self.remote.header(self.entry)

    def _located(self, name: str) -> tuple[Path, TensorSpan]:
        """Where a tensor's bytes are on this machine, fetched if they were not."""
        self.fetch([name])
        if is_file(self.path):
            return super()._located(name)
        tensor = self.entry.tensors[name]
        return self._kept(name), TensorSpan(tensor.dtype, tensor.shape, 0, tensor.size)

    def _kept(self, name: str) -> Path:
        return self.folder / TENSORS_FOLDER / str(self.index) / f"{name}.{self._stated(name)[:16]}"

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of some tensors that are not on this machine; raises `UnknownNameError` for what is no tensor."""
        names = list(names)
        for name in names:
            if name not in self.entry.tensors:
                raise UnknownNameError("tensor", name, self.entry.tensors)
        return [] if is_file(self.path) else [name for name in names if not is_file(self._kept(name))]

    def fetch(self, names: Iterable[str], progress: Report = _unreported) -> None:
        """Fetch what is missing of some tensors, each verified, continuing what was cut before.

        Parameters
        ----------
        names
            The tensors.
        progress
            Called with the number of new bytes; negative where bytes are discarded.

        Raises
        ------
        HubError
            If they cannot be fetched.
        DatasetError
            If one of them is not what the manifest says; it is named, and not kept.
        """
        names = list(names)
        if not self.missing(names):
            return
        with exclusive(stream_lock(self.remote.manifest.digest, self.index), wait=True):
            spans = {name: self._remote_spans[name] for name in self.missing(names)}
            try:
                for run in _runs(spans):
                    self._fetch_run({name: spans[name] for name in run}, progress)
            except WholeFileError:
                logger.warning(
                    "%s: the server sends whole files, not ranges of their bytes; %s (%.1f MB) is downloaded whole",
                    self.remote.location,
                    self.entry.path,
                    self.entry.size / 1e6,
                )
                fetch_file(self.remote.location, self.entry, self.folder, progress, xet=False)

    def _fetch_run(self, spans: dict[str, TensorSpan], progress: Report) -> None:
        """Fetch tensors that lie beside each other by one request."""
        names, location = list(spans), self.remote.location
        begin, size = spans[names[0]].start, sum(span.size for span in spans.values())
        place = self._kept(names[0]).parent
        place.mkdir(parents=True, exist_ok=True)
        part = place / f".{names[0]}-{names[-1]}.{self.entry.tensors[names[0]].sha256[:16]}.incomplete"
        for start in range(1 + FRESH_STARTS):
            fetch_range(location, self.entry, part, progress, first=begin, size=size)
            wrong = [n for n, s in spans.items() if _digest(part, s.start - begin, s.size) != self._stated(n)]
            if not wrong:
                break
            progress(-size)
            part.unlink()
            if start == FRESH_STARTS:
                raise DatasetError(
                    f"{location}: {self.entry.path}: tensor {wrong[0]!r} does not have the manifest's sha256, in "
                    f"{start + 1} attempts; it was not kept. The repository is damaged or was changed."
                )
            logger.info("%s: %s: %s arrived damaged; fetching it again", location, self.entry.path, wrong[0])
        if len(names) > 1:
            content = part.read_bytes()
            for name, span in spans.items():
                with replace_atomically(self._kept(name)) as temporary:
                    temporary.write_bytes(content[span.start - begin :][: span.size])
            part.unlink()
        else:
            sync(part)
            part.replace(self._kept(names[0]))

    def _stated(self, name: str) -> str:
        return self.entry.tensors[name].sha256

    def whole_file(self, entry: FileEntry) -> Path:
        """Its file, downloaded whole and verified."""
        if not is_file(self.path):
            fetch_file(self.remote.location, entry, self.folder, _unreported, xet=False)
        return super().whole_file(entry)


def _runs(spans: dict[str, TensorSpan]) -> Iterator[list[str]]:
    """Names of tensors that one request brings: small neighbours together, large ones alone."""
    run: list[str] = []
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1].start):
        if run and (span.start != end or span.size > SMALL or spans[run[-1]].size > SMALL):
            yield run
            run = []
        run.append(name)
        end = span.start + span.size
    if run:
        yield run


def _digest(path: Path, start: int, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(start)
        while size > 0 and (piece := stream.read(min(size, CHUNK))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


def streamed(dataset: Dataset, location: HubLocation) -> Selection:
    """The trials of a dataset at a commit, those that are not on this machine as `StreamedTrial`."""
    remote = RemoteDataset(location, dataset.manifest)

    def opened(trial: Trial) -> Trial:
        if is_file(trial.path):
            return trial
        return StreamedTrial(
            trial.path,
            trial.index,
            trial.layout,
            trial.checkpoints,
            trial.environment,
            remote=remote,
            folder=dataset.folder,
        )

    members = [Member(opened(trial), dataset.manifest) for trial in dataset]
    return Selection(members, dataset.environment, dataset.layout)


def fetch_tensors(selection: Selection, names: Sequence[str], progress: Progress = silent) -> int:
    """Fetch some tensors of all trials of a selection, several trials at once; the bytes that were missing.

    Raises
    ------
    UnknownNameError
        For a name that is no tensor's.
    HubError, DatasetError
        As `StreamedTrial.fetch`; what was fetched before stays.
    """
    for member in selection.members[:1]:
        for name in names:
            if name not in member.entry.tensors:
                raise UnknownNameError("tensor", name, member.entry.tensors)
    trials = [trial for trial in selection if isinstance(trial, StreamedTrial)]
    sizes = {trial.index: sum(trial.entry.tensors[n].size for n in trial.missing(names)) for trial in trials}
    lacking = [trial for trial in trials if sizes[trial.index]]
    if lacking:
        check_free_space(lacking[0].folder, sum(sizes.values()))
    bar = ByteProgress(sum(sizes.values()), progress)
    with cancel_on_error(ThreadPoolExecutor(WORKERS), bar) as pool:
        list(pool.map(lambda trial: trial.fetch(names, partial(bar.add, path=trial.entry.path)), lacking))
    return bar.total
