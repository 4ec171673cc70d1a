"""Blocks of trials trained side by side, each in a process on a thread of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from ...registry.collection.collect import blocks
from ...utils.engines.child import ChildProcess
from ...utils.engines.cluster import Cluster
from ...utils.engines.work import Message, Process, Start, into
from ...utils.errors import PredictorError, ProcessEndedError, ProtocolError
from ...utils.progress import Progress, silent
from .block import SECONDS, STATE_BYTES, curves_of
from .curves import Curves
from .record import TrainingCost, TrainingKey
from .request import TrainingRequest


def evaluated(key: TrainingKey) -> list[int]:
    """Iterations after which a run evaluates J."""
    return key.protocol.evaluated_until(key.iterations)


def blocks_of(key: TrainingKey) -> list[list[int]]:
    """The places of a run's trials, block by block: trials of a block are trained together."""
    return blocks(key.protocol.collection(key.split), range(key.trials))


def train_blocks(
    request: TrainingRequest,
    key: TrainingKey,
    folder: Path,
    *,
    only: Collection[int] | None = None,
    threads: int,
    cluster: Cluster | None = None,
    progress: Progress = silent,
    observe: Callable[[list[int], list[float], int], None] = lambda places, returns, iteration: None,
) -> tuple[Curves, TrainingCost]:
    """Train the blocks of a run that are not finished in its folder.

    Parameters
    ----------
    request, key
        What to train.
    folder
        Where blocks leave their files.
    only
        The blocks wanted; all by default.
    threads
        Processes at once.
    cluster
        Where blocks are trained instead, each on a core of its own.
    progress
        Receives the progress.
    observe
        Called with the places of trials in the run, their J, and after which iteration that was.

    Returns
    -------
    Curves, TrainingCost
        Of the trials of these blocks, and what they took; without the time that passed.

    Raises
    ------
    PredictorError
        If the method fails; finished blocks are kept.
    ProcessEndedError
        If a process is killed or lost; finished blocks are kept.
    """
    seeds = key.protocol.seeds(key.split)
    groups = {n: [seeds[one] for one in group] for n, group in enumerate(blocks_of(key)) if only is None or n in only}
    pending = [(n, group) for n, group in groups.items() if not is_finished(curves_of(folder, n), key, len(group))]
    done = {n: key.iterations * len(group) for n, group in groups.items()}
    total = sum(done.values())
    done |= dict.fromkeys(dict(pending), 0)
    messages: SimpleQueue[tuple[int, Message | None]] = SimpleQueue()
    running = dict[int, Process]()
    with contextlib.ExitStack() as stack:
        start: Start = cluster.start if cluster else ChildProcess
        processes = len(pending) if cluster else min(threads, len(pending))
        for place in range(processes):
            work = request.work(key, folder, pending[place::processes])
            running[place] = stack.enter_context(start(work, into(messages, place)))
        while running:
            place, message = messages.get()
            if message is None:
                if how := running.pop(place).failure():
                    raise ProcessEndedError(f"The process that trained {how}. Finished trials are kept.")
            elif error := message.get("error"):
                raise PredictorError(f"{key.label}: {error} Finished trials are kept.")
            else:
                done[message["block"]] = message["done"] * len(groups[message["block"]])
                if message["returns"] is not None:
                    observe(blocks_of(key)[message["block"]], message["returns"], message["done"])
                progress("train", sum(done.values()), total, message["word"])
    found = [Curves.read(curves_of(folder, n), len(group), evaluated(key)) for n, group in groups.items()]
    training, evaluation = np.sum([beside[SECONDS] for _, beside in found], axis=0)
    cost = TrainingCost(
        training_seconds=training,
        evaluation_seconds=evaluation,
        wall_seconds=0,
        state_bytes=int(found[0][1][STATE_BYTES][0]),
    )
    return Curves.join([curves for curves, _ in found]), cost


def is_finished(path: Path, key: TrainingKey, trials: int) -> bool:
    """Whether a block's file is there and whole; a damaged one is made again."""
    try:
        beside = Curves.read(path, trials, evaluated(key))[1]
    except ProtocolError:
        return False
    return {SECONDS, STATE_BYTES} <= {*beside}
