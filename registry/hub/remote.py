"""A dataset on the Hub: its manifest, and its columns by range requests, all verified."""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from huggingface_hub import try_to_load_from_cache

from ...utils.canonical import strict_json
from ...utils.errors import DatasetError, HubError, MissingFileError, reason
from ...utils.tensorfile import HEADER_LIMIT, Array, TensorSpan, tensor_span
from ..dataset import check_trials
from ..derived import DERIVED_NAME, DerivedManifest, derived_protocols, listed_protocols, parse_derived
from ..files import FileEntry
from ..manifest import DERIVED_FOLDER, MANIFEST_LIMIT, MANIFEST_NAME, Identity, Manifest, parse_manifest, read_manifest
from ..reference import HubLocation
from ..trial import COLUMNS
from .client import api, current_name, read_bytes, with_retries
from .errors import is_unreachable

WORKERS = 8
"""Files requested at once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteDataset:
    """A dataset in a repository at one commit; only its manifest was fetched.

    Parameters
    ----------
    location
        The repository, at a commit.
    manifest
        Its validated manifest.
    protocols
        Protocol versions whose derived data stand beside it.
    snapshot
        The folder in the cache of `huggingface_hub` that it is read from, where the Hub cannot be reached.
    """

    location: HubLocation
    manifest: Manifest
    protocols: tuple[int, ...] = ()
    snapshot: Path | None = None

    @classmethod
    def open(cls, location: HubLocation, *, identity: Identity | None = None) -> RemoteDataset:
        """Look a revision up and read its manifest; from the cache of `huggingface_hub` if the Hub cannot be reached.

        Parameters
        ----------
        location
            Where.
        identity
            The identity it must have, if known.

        Raises
        ------
        HubError
            If there is no such repository, revision or manifest, or the Hub cannot be reached.
        DatasetError
            If the manifest is invalid or has another digest.
        """
        try:
            found = cls._look_up(location)
        except HubError as error:
            snapshot = cached_snapshot(location) if is_unreachable(error) else None
            if snapshot is None:
                raise
            found = cls._in_cache(location, snapshot)
        check_trials(found.manifest, str(found.location))
        if identity and not found.manifest.identity.matches(identity) and not found.identity().matches(identity):
            raise DatasetError(
                f"{found.location}: the manifest has digest {found.identity()}, but the catalog pins {identity}. What "
                "is published there is not what the catalog vouches for; nothing was fetched."
            )
        return found

    @classmethod
    def _look_up(cls, location: HubLocation) -> RemoteDataset:
        """What the Hub has."""
        info = with_retries(location, lambda: api().dataset_info(location.repo, revision=location.revision))
        commit = info.sha
        if commit is None or (location.pinned and commit != location.revision):
            raise HubError(f"{location}: the Hub answered with commit {commit}, not the requested one.")
        found = HubLocation(current_name(location, info.id), commit)
        try:
            text = read_bytes(found, MANIFEST_NAME, limit=MANIFEST_LIMIT).decode()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{found}: {MANIFEST_NAME} is not text ({reason(error)}).") from None
        except MissingFileError:
            raise DatasetError(f"{location}: no {MANIFEST_NAME}; this is not a trajectory dataset.") from None
        manifest = parse_manifest(text, f"{found}: {MANIFEST_NAME}")
        return cls(found, manifest, tuple(listed_protocols(file.rfilename for file in info.siblings or ())))

    @classmethod
    def _in_cache(cls, location: HubLocation, snapshot: Path) -> RemoteDataset:
        """What `huggingface_hub` has downloaded before."""
        logger.warning("%s: the Hub cannot be reached; using its cache on this machine, %s", location, snapshot)
        found = HubLocation(location.repo, snapshot.name)
        return cls(found, read_manifest(snapshot), tuple(derived_protocols(snapshot)), snapshot)

    def identity(self) -> Identity:
        """Both digests, see `Dataset.identity`."""
        if self.manifest.format == 1 or 1 not in self.protocols:
            return self.manifest.identity
        _, derived = self.derived(1)
        return self.manifest.identity._replace(former_digest=self.manifest.format_1_digest(derived.files))

    def contents(self) -> list[FileEntry]:
        """Every file that a manifest vouches for, see `Dataset.contents`."""
        derived = [entry for protocol in self.protocols for entry in self.derived(protocol)[1].entries()]
        return [*self.manifest.files, *derived]

    def derived(self, protocol: int) -> tuple[bytes, DerivedManifest]:
        """The content of a protocol version's `derived.json`, and what it says; raises `DatasetError` if invalid."""
        path = f"{DERIVED_FOLDER}/p{protocol}/{DERIVED_NAME}"
        content = self._read(path, limit=MANIFEST_LIMIT)
        return content, parse_derived(content, f"{self.location}: {path}", self.manifest, protocol)

    def columns(self, trial: int, names: Iterable[str] = COLUMNS) -> dict[str, Array]:
        """Per-checkpoint scalars [T] of one trial, by range requests, checked against the manifest's digests.

        Raises
        ------
        DatasetError
            If the file's header or a column's bytes are not what the manifest says.
        """
        entry = self.manifest.trials[trial]
        header = self.header(entry)
        columns = {}
        for name, raw in self._tensors(entry, {name: header[name] for name in names}).items():
            tensor = entry.tensors[name]
            if hashlib.sha256(raw).hexdigest() != tensor.sha256:
                raise DatasetError(f"{self.location}: {entry.path}: {name!r} does not have the manifest's sha256.")
            columns[name] = np.frombuffer(raw, dtype=tensor.dtype).reshape(tensor.shape)
        return columns

    def all_columns(self, trials: Iterable[int], names: Iterable[str] = COLUMNS) -> dict[int, dict[str, Array]]:
        """`columns` of several trials, some at once."""
        trials, names = list(trials), tuple(names)
        with ThreadPoolExecutor(WORKERS) as pool:
            return dict(zip(trials, pool.map(lambda trial: self.columns(trial, names), trials), strict=True))

    def _tensors(self, entry: FileEntry, spans: dict[str, TensorSpan]) -> dict[str, bytes]:
        """The bytes of some tensors; adjacent ones, as the scalars are, take one request."""
        parts: dict[str, bytes] = {}
        left = sorted(spans.items(), key=lambda item: item[1].start)
        while left:
            run = [left.pop(0)]
            while left and left[0][1].start == run[-1][1].start + run[-1][1].size:
                run.append(left.pop(0))
            begin, end = run[0][1].start, run[-1][1].start + run[-1][1].size
            raw = self._read(entry.path, limit=end - begin, first=begin, last=end - 1)
            parts |= {name: raw[span.start - begin :][: span.size] for name, span in run}
        return parts

    def _read(self, path: str, *, limit: int, first: int = 0, last: int | None = None) -> bytes:
        """As `read_bytes`, from where it is."""
        if self.snapshot is None:
            return read_bytes(self.location, path, limit=limit, first=first, last=last)
        if not (self.snapshot / path).is_file():
            raise DatasetError(f"{self.snapshot}: lacks {path}, and {self.location} cannot be reached to fetch it.")
        with (self.snapshot / path).open("rb") as stream:
            stream.seek(first)
            return stream.read(limit if last is None else last - first + 1)

    def header(self, entry: FileEntry) -> dict[str, TensorSpan]:
        """Where every tensor lies in the remote file."""
        probe = self._read(entry.path, limit=HEADER_LIMIT + 8, first=0, last=4095)
        try:
            (length,) = struct.unpack("<Q", probe[:8])
            if length > HEADER_LIMIT:
                raise ValueError(f"its header claims {length} bytes")
            if length + 8 > len(probe):
                probe = self._read(entry.path, limit=HEADER_LIMIT + 8, first=0, last=length + 7)
            header = strict_json(probe[8 : 8 + length].decode())
            spans = {name: tensor_span(name, header[name], 8 + length) for name in entry.tensors}
            for name, tensor in entry.tensors.items():
                if (spans[name].dtype, spans[name].shape) != (tensor.dtype, tensor.shape):
                    raise ValueError(f"{name!r} does not have the manifest's dtype and shape")
            return spans
        except (struct.error, KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{self.location}: {entry.path}: not a usable safetensors header ({reason(error)})."
            ) from None


def cached_snapshot(location: HubLocation) -> Path | None:
    """The folder in the cache of `huggingface_hub` that holds a revision, as `hf download` leaves it; None if none."""
    found = try_to_load_from_cache(location.repo, MANIFEST_NAME, revision=location.revision, repo_type="dataset")
    return Path(found).parent if isinstance(found, str) else None
