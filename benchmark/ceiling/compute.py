"""Compute a dataset's branching ceiling, window by window, into the store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ...registry.catalog import catalog
from ...registry.collection.collect import blocks
from ...registry.collection.processes import ANY_PROCESSOR
from ...registry.dataset import Dataset
from ...registry.locations import cache_root
from ...registry.store import exclusive
from ...utils.engines.child import ChildProcess
from ...utils.engines.work import Message, Send, Work, program_of
from ...utils.errors import DatasetError, OptionError, TiplBenchError
from ...utils.files import private_files, write_text
from ...utils.machine import cpu_name, package_versions
from ...utils.progress import Progress, silent
from ..forecast.windows import PHASES, EvaluationWindow, Phase, evaluation_windows, spread_windows
from ..protocol import CURRENT, Protocol
from .branching import branch, check_branchable
from .document import BranchedWindow, CeilingDocument, published_ceiling, read_ceiling

COPIES = 32


def branching_ceiling(
    dataset: Dataset,
    protocol: Protocol = CURRENT,
    *,
    phases: Sequence[Phase] = ("learning",),
    copies: int = COPIES,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = silent,
) -> CeilingDocument:
    """The branching ceiling at a protocol's windows of the test trials: the one that ships, or computed now.

    Every window is kept in the store as it is done, in `stored_path`, where this user alone can read it; a computation
    that was interrupted continues there, and gives the same document as one that was not.

    Parameters
    ----------
    dataset, protocol
        Whose windows, under which protocol.
    phases
        The phases whose windows are branched.
    copies
        N, continuations of each origin.
    seed
        What their random streams are spawned from.
    limit
        How many windows are branched, spread evenly over trials and origins; none: all.
    progress
        Receives checkpoints trained and to be trained, over all trials and copies.

    Raises
    ------
    DatasetError
        If the training state cannot be had again at the origins, or the ceiling was begun with other package versions
        or on another processor.
    OptionError
        For fewer than two continuations.
    """
    if copies < 2:
        raise OptionError(f"copies is {copies}: a variance takes 2 continuations at least; the board's have {COPIES}.")
    check_branchable(dataset)
    config = dataset.manifest.configuration
    head = _head(dataset, protocol, copies, seed)
    windows = [window for window in evaluation_windows(dataset, protocol, progress=progress) if window.phase in phases]
    windows = windows if limit is None else spread_windows(windows, limit)
    published = published_ceiling(dataset.name, protocol.version, catalog().get(dataset.name))
    if published and (published.digest, published.copies, published.seed) == (head.digest, copies, seed):
        shipped = {one.window: one for one in published.windows}
        if shipped.keys() >= {*windows}:
            return _with_windows(published, [shipped[window] for window in windows])
    path = stored_path(head)
    if config.any_processor and not ANY_PROCESSOR.items() <= os.environ.items():
        settings = {"phases": [*phases], "copies": copies, "seed": seed, "limit": limit}
        _compute_elsewhere(dataset, protocol, settings, progress)
    with private_files(), exclusive(f"ceiling-{path.stem}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        known = _begun(path, head)
        _complete(known, dataset, windows, protocol, head, path, progress)
    return _with_windows(head, [known[window] for window in windows])


def _head(dataset: Dataset, protocol: Protocol, copies: int, seed: int) -> CeilingDocument:
    """The document of a ceiling that has no window yet."""
    return CeilingDocument(
        dataset=dataset.name,
        digest=dataset.digest,
        protocol=protocol.version,
        copies=copies,
        seed=seed,
        versions=package_versions(),
        cpu=cpu_name(),
        windows=(),
    )


def _compute_elsewhere(dataset: Dataset, protocol: Protocol, settings: Mapping[str, Any], progress: Progress) -> None:
    """Compute a ceiling into the store in a process that trains with the instructions of the collection."""
    messages: SimpleQueue[Message | None] = SimpleQueue()
    task = {
        "folder": str(dataset.folder.absolute()),
        "protocol": protocol.model_dump(mode="json"),
        "settings": settings,
    }
    with ChildProcess(Work(program_of(compute_task), task, ANY_PROCESSOR), messages.put) as child:
        while message := messages.get():
            if "error" in message:
                raise DatasetError(message["error"])
            progress(*message["progress"])
        if how := child.failure():
            raise DatasetError(f"The process that branched {dataset.name} {how}. The same command goes on from there.")


def compute_task(task: Message, send: Send) -> None:
    """What that process does: `branching_ceiling` with the task's arguments."""
    try:
        branching_ceiling(
            Dataset.open(Path(task["folder"])),
            Protocol.model_validate(task["protocol"]),
            **task["settings"],
            progress=lambda *report: send({"progress": report}),
        )
    except TiplBenchError as error:
        send({"error": str(error)})


def stored_path(head: CeilingDocument) -> Path:
    """The file in the store that a ceiling is computed into."""
    name = head.dataset.replace("/", "--")
    return cache_root() / "ceilings" / f"{name}-p{head.protocol}-n{head.copies}-s{head.seed}.json"


def _begun(path: Path, head: CeilingDocument) -> dict[EvaluationWindow, BranchedWindow]:
    """The windows that an earlier computation finished."""
    if not path.exists():
        return {}
    begun = read_ceiling(path)
    if _with_windows(begun, ()) != head:
        raise DatasetError(
            f"{path} was begun for other bytes of {head.dataset}, with other package versions or on another processor. "
            "Continue with those, or remove it to start over."
        )
    return {one.window: one for one in begun.windows}


def _complete(
    known: dict[EvaluationWindow, BranchedWindow],
    dataset: Dataset,
    windows: Sequence[EvaluationWindow],
    protocol: Protocol,
    head: CeilingDocument,
    path: Path,
    progress: Progress,
) -> None:
    """Branch the windows that are missing, and write the document after each."""
    missing = [window for window in windows if window not in known]
    cost = protocol.horizon * head.copies  # of one window, in checkpoints
    total = len(windows) * cost + _training_cost(dataset, missing)
    done = (len(windows) - len(missing)) * cost

    def report(checkpoints: int) -> None:
        nonlocal done
        done += checkpoints
        progress("branch", done, total, f"{sum(window in known for window in windows)} of {len(windows)} windows")

    for window, branches in branch(dataset, missing, protocol.horizon, head.copies, head.seed, report):
        known[window] = BranchedWindow.of(window, branches)
        write_text(path, _with_windows(head, _in_order(known)).to_json())


def _training_cost(dataset: Dataset, windows: Sequence[EvaluationWindow]) -> int:
    """Checkpoints that the trials are trained to before they are branched, with those of their blocks."""
    groups = blocks(dataset.manifest.configuration, range(len(dataset)))
    last = [max((w.origin for w in windows if w.trial in block), default=0) for block in groups]
    return sum(len(block) * origin for block, origin in zip(groups, last, strict=True))


def _in_order(known: Mapping[EvaluationWindow, BranchedWindow]) -> list[BranchedWindow]:
    return [known[w] for w in sorted(known, key=lambda w: (w.trial, PHASES.index(w.phase), w.origin))]


def _with_windows(document: CeilingDocument, windows: Sequence[BranchedWindow]) -> CeilingDocument:
    return document.model_copy(update={"windows": tuple(windows)})
