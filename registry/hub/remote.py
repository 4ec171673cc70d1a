"""A dataset on the Hub: its manifest, and its columns by range requests, all verified."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...utils.errors import DatasetError, HubError, MissingFileError
from ...utils.tensorfile import HEADER_LIMIT, Array, TensorSpan, tensor_span
from ..dataset import check_trials
from ..derived import DERIVED_NAME, DerivedManifest, listed_protocols, parse_derived
from ..files import FileEntry
from ..manifest import DERIVED_FOLDER, MANIFEST_LIMIT, MANIFEST_NAME, Identity, Manifest, parse_manifest
from ..reference import HubLocation
from ..trial import COLUMNS
from .client import api, current_name, read_bytes, with_retries

WORKERS = 8
"""Files requested at once."""


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
    """

    location: HubLocation
    manifest: Manifest
    protocols: tuple[int, ...] = ()

    @classmethod
    def open(cls, location: HubLocation, *, identity: Identity | None = None) -> RemoteDataset:
        """Look a revision up and read its manifest.

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
        info = with_retries(location, lambda: api().dataset_info(location.repo, revision=location.revision))
        commit = info.sha
        if commit is None or (location.pinned and commit != location.revision):
            raise HubError(f"{location}: the Hub answered with commit {commit}, not the requested one.")
        found = HubLocation(current_name(location, info.id), commit)
        try:
            text = read_bytes(found, MANIFEST_NAME, limit=MANIFEST_LIMIT).decode()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{found}: {MANIFEST_NAME} is not text ({error}).") from None
        except MissingFileError:
            raise DatasetError(f"{location}: no {MANIFEST_NAME}; this is not a trajectory dataset.") from None
        manifest = parse_manifest(text, f"{found}: {MANIFEST_NAME}")
        check_trials(manifest, str(found))
        remote = cls(found, manifest, tuple(listed_protocols(file.rfilename for file in info.siblings or ())))
        if identity and not manifest.identity.matches(identity) and not remote.identity().matches(identity):
            raise DatasetError(
                f"{found}: the manifest has digest {remote.identity()}, but the catalog pins {identity}. What is "
                "published there is not what the catalog vouches for; nothing was fetched."
            )
        return remote

    def identity(self) -> Identity:
        """Both digests, see `Dataset.identity`."""
        if self.manifest.format == 1 or 1 not in self.protocols:
            return self.manifest.identity
        _, derived = self.derived(1)
        return self.manifest.identity._replace(former_digest=self.manifest.format_1_digest(derived.files))

    def derived(self, protocol: int) -> tuple[bytes, DerivedManifest]:
        """The content of a protocol version's `derived.json`, and what it says; raises `DatasetError` if invalid."""
        path = f"{DERIVED_FOLDER}/p{protocol}/{DERIVED_NAME}"
        content = read_bytes(self.location, path, limit=MANIFEST_LIMIT)
        return content, parse_derived(content, f"{self.location}: {path}", self.manifest, protocol)

    def columns(self, trial: int, names: Iterable[str] = COLUMNS) -> dict[str, Array]:
        """Per-checkpoint scalars [T] of one trial, by range requests, checked against the manifest's digests.

        Raises
        ------
        DatasetError
            If the file's header or a column's bytes are not what the manifest says.
        """
        entry = self.manifest.trials[trial]
        header = self._header(entry)
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
            raw = read_bytes(self.location, entry.path, limit=end - begin, first=begin, last=end - 1)
            parts |= {name: raw[span.start - begin :][: span.size] for name, span in run}
        return parts

    def _header(self, entry: FileEntry) -> dict[str, TensorSpan]:
        """Where every tensor lies in the remote file."""
        probe = read_bytes(self.location, entry.path, limit=HEADER_LIMIT + 8, first=0, last=4095)
        try:
            (length,) = struct.unpack("<Q", probe[:8])
            if length > HEADER_LIMIT:
                raise ValueError(f"its header claims {length} bytes")
            if length + 8 > len(probe):
                probe = read_bytes(self.location, entry.path, limit=HEADER_LIMIT + 8, first=0, last=length + 7)
            header = json.loads(probe[8 : 8 + length])
            spans = {name: tensor_span(name, header[name], 8 + length) for name in entry.tensors}
            for name, tensor in entry.tensors.items():
                if (spans[name].dtype, spans[name].shape) != (tensor.dtype, tensor.shape):
                    raise ValueError(f"{name!r} does not have the manifest's dtype and shape")
            return spans
        except (struct.error, KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self.location}: {entry.path}: not a usable safetensors header ({error}).") from None
