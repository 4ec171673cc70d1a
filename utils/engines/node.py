"""What a node of a cluster does: a piece of work in a child process, its messages and files given back part by part."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import platform
import queue
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..._version import __version__
from ..errors import TiplBenchError
from ..files import is_being_written
from ..machine import cpu_name, package_versions
from .child import ChildProcess
from .work import Message, Work

PROGRESS_SECONDS = 1.0
"""How often a node sends what a piece of work tells."""
PART_BYTES = 16 << 20
RESUMABLE_BYTES = 256 << 20
"""Most bytes of the files that interrupted work goes on from: larger ones stay on their node, and are lost with it."""

CODE = ("baselines", "benchmark", "leaderboard", "registry", "rl", "utils")
"""Folders of this package that decide what a piece of work gives."""

Part = dict[str, Any]
"""One of: `messages`; a piece of a file (`name`, `bytes`); the sha256 of the `files` that came before, and whether they
are all there is (`whole`); how the process was `lost`, killed by a signal, or `failed`, which it would again."""


def machine_versions() -> dict[str, str]:
    """The versions that all machines of a cluster must share, and the digest of this package's sources."""
    return {"tipl-bench": __version__, "tipl-bench's sources": _sources(), **package_versions()}


@functools.cache
def _sources() -> str:
    """Of what trains, forecasts and scores: a version stays the same between two commits."""
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(path for folder in CODE for path in (root / folder).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def perform_away(
    work: Work,
    versions: Mapping[str, str],
    inputs: Mapping[Path, Any],
    resumed: Mapping[Path, Any],
    prepare: Callable[[], None] | None = None,
) -> Iterator[Part]:
    """Do a piece of work on this node.

    Parameters
    ----------
    work
        What to do.
    versions
        Those of the machine that asks.
    inputs, resumed
        References to the bytes of files in Ray's object store, by where that machine has them.
    prepare
        Called before.
    """
    here = {**machine_versions(), "cpu": cpu_name()}
    other = [f"{name} {here.get(name)} there, {own} here" for name, own in versions.items() if here.get(name) != own]
    if other:
        why = f"The node {platform.node()} has other versions: {', '.join(other)}."
        yield {"messages": [{"error": f"{why} Install the same on all nodes (constraints.txt)."}]}
        return
    with scratch_folder() as scratch:
        try:
            local = relocate(work, scratch)
            if local.folder:
                local.folder.mkdir(parents=True)
            for path, reference in {**inputs, **resumed}.items():
                copy = below(path, scratch)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(_bytes_of(reference))
            if prepare:
                prepare()
        except (TiplBenchError, OSError) as error:
            yield {"messages": [{"error": f"Its data could not be received: {error}"}]}
            return
        for part in _follow(local):
            for message in part.get("messages", ()):
                if "error" in message:  # a path that it names is the asking machine's without this
                    message["error"] = message["error"].replace(str(scratch), "")
            yield part


class WorkActor:
    """An actor of Ray that does a piece of work on its node and gives the parts of `perform_away` one by one.

    A method that gives the next part works over any connection to a cluster; Ray's client has no generators.
    """

    def begin(
        self,
        work: Work,
        versions: Mapping[str, str],
        inputs: Mapping[Path, Any],
        resumed: Mapping[Path, Any],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Take the work; see `perform_away`."""
        self._parts = perform_away(work, versions, inputs, resumed, prepare)

    def next_part(self) -> Part | None:
        """Work until there is another part; None at the end."""
        return next(self._parts, None)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder of this process; those of killed ones are removed."""
    prefix, suffix = ".tipl-bench-", ".partial"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*{suffix}"):
        if not is_being_written(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(suffix=f".{os.getpid()}{suffix}", prefix=prefix) as folder:
        yield Path(folder)


def below(path: Path, root: Path) -> Path:
    """Where a node has what another machine has at a path."""
    return root / path.absolute().relative_to(path.absolute().anchor)


def relocate(work: Work, root: Path) -> Work:
    """The same work with its folder, and the folders of its inputs, below another root."""
    folders = {path.absolute() for path in (work.folder, *(one.parent for one in work.inputs)) if path}
    places = {json.dumps(str(path))[1:-1]: json.dumps(str(below(path, root)))[1:-1] for path in folders}
    task = json.dumps(work.task)
    if places:
        known = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        task = re.sub(rf'(?:{known})(?=[/\\"])', lambda found: places[found[0]], task)
    return dataclasses.replace(work, task=json.loads(task), folder=below(work.folder, root) if work.folder else None)


def _bytes_of(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content


def _follow(work: Work) -> Iterator[Part]:
    """What a child process tells, its files from time to time, and at the end all of them."""
    messages: queue.Queue[Message | None] = queue.Queue()
    saved, running = None, True
    with ChildProcess(work, messages.put) as child:
        while running:
            batch = _batch(messages)
            running = None not in batch
            if told := [message for message in batch if message is not None]:
                yield {"messages": told}
            if running and (now := _resumable(work)) != saved:
                saved = now
                yield from _resumable_parts(work)
        how = child.failure()
    if how:
        yield {"lost" if child.killed else "failed": how}
    elif work.folder:
        names = [path.name for path in sorted(work.folder.iterdir()) if path.is_file()]
        if not _resumable(work):
            names = [name for name in names if name not in work.resumed_from]
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context((work.folder / name).open("rb")) for name in names}
            yield from _parts(files, whole=True)


def _batch(messages: queue.Queue[Message | None]) -> list[Message | None]:
    """What is told in a second, or until the end."""
    batch: list[Message | None] = []
    until = time.monotonic() + PROGRESS_SECONDS
    with contextlib.suppress(queue.Empty):
        while None not in batch[-1:]:
            batch.append(messages.get(timeout=max(0.0, until - time.monotonic())))
    return batch


def _resumable(work: Work) -> int | None:
    """When the files that interrupted work goes on from were last complete; None if there are none, or too many."""
    if work.folder is None or not work.resumed_from:
        return None
    paths = [work.folder / name for name in work.resumed_from]
    try:
        sizes = sum(path.stat().st_size for path in paths)
        return paths[-1].stat().st_mtime_ns if sizes <= RESUMABLE_BYTES else None
    except FileNotFoundError:
        return None


def _resumable_parts(work: Work) -> Iterator[Part]:
    """Those files, as they are now; none if the work ends in this moment.

    The last one is read first: what the others have more than it does no harm.
    """
    if work.folder is None or _resumable(work) is None:
        return
    *others, last = work.resumed_from
    with contextlib.ExitStack() as stack:
        try:
            content = io.BytesIO((work.folder / last).read_bytes())
            files: dict[str, IO[bytes]] = {
                name: stack.enter_context((work.folder / name).open("rb")) for name in others
            }
        except FileNotFoundError:
            return
        yield from _parts({**files, last: content}, whole=False)


def _parts(files: Mapping[str, IO[bytes]], *, whole: bool) -> Iterator[Part]:
    digests = {}
    for name, file in files.items():
        digest = hashlib.sha256()
        yield {"name": name, "bytes": b""}  # an empty file arrives too
        while content := file.read(PART_BYTES):
            digest.update(content)
            yield {"name": name, "bytes": content}
        digests[name] = digest.hexdigest()
    yield {"files": digests, "whole": whole}


def resumable_files(work: Work) -> Sequence[Path]:
    """The files here that the work goes on from; none if one is missing, or they are too large to be sent."""
    if work.folder is None or _resumable(work) is None:
        return ()
    return [work.folder / name for name in work.resumed_from]
