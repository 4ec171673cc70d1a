"""Several meta-seeds side by side: in processes of one thread each, or as tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

from ...baselines.optimizers.optim4rl.settings import MetaOptions
from ...registry.collection.processes import ONE_THREAD
from ...rl import usable_threads
from ...utils.engines.child import ChildProcess
from ...utils.engines.cluster import LOCAL, open_cluster
from ...utils.engines.work import Message, Process, Send, Start, Work, into, program_of
from ...utils.errors import OptionError, TiplBenchError
from ...utils.progress import Progress, silent
from ..record import KEY_NAME, RECORD_NAME
from ..request import check_whole
from .run import SNAPSHOT_NAME, MetaRequest, MetaRun, meta_train, read_meta_record


def meta_train_seeds(
    optimizer: str = MetaOptions.name,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    budget: str = "quick",
    options: Mapping[str, object] | Sequence[str] = (),
    device: str = "cpu",
    out: str | Path | None = None,
    threads: int | None = None,
    engine: str = LOCAL,
    progress: Progress = silent,
) -> list[MetaRun]:
    """Meta-train a learned optimizer with several meta-seeds side by side, or go on where their runs were.

    Each seed's files are those of `meta_train`, bit for bit on the same kind of processor.

    Parameters
    ----------
    optimizer, budget, options, device
        As for `meta_train`.
    seeds
        The meta-seeds, each once.
    out
        The run folder of one seed, or of several the folder of theirs, `seed<N>`; those of `meta_train` by default.
    threads
        Processes of this machine at once, of one thread each; all usable cores by default.
    engine
        Where it is done: "local", these processes; "ray", the Ray cluster that Ray finds; a cluster's `HOST:PORT`; or
        from outside it `ray://HOST:PORT`. Each seed takes one core there.
    progress
        Receives the progress of all together.

    Returns
    -------
    list of MetaRun
        In the order of the seeds.

    Raises
    ------
    UnknownNameError, OptionError
        If a name, a setting or a number is not known or not valid, a seed is given twice, or the device is not `cpu`
        on a cluster.
    ProtocolError
        If a folder holds another run.
    TiplBenchError
        If no cluster answers, a snapshot is damaged, or a process is killed; the others' finished runs are kept, and
        all snapshots.
    """
    if not seeds or len({*seeds}) < len(seeds):
        raise OptionError(f"Invalid seeds {', '.join(map(str, seeds)) or '(none)'}: give one or more, each once.")
    processes = usable_threads() if threads is None else threads
    check_whole("number of threads", processes, 1)
    places = {seed: Path(out) / f"seed{seed}" if out and len(seeds) > 1 else out for seed in seeds}
    requests = {seed: MetaRequest.of(optimizer, budget, seed, options, device, places[seed]) for seed in seeds}
    if engine != LOCAL and any(one.key.device != "cpu" for one in requests.values()):
        raise OptionError("Meta-training on a cluster is computed on processors: leave out the device, or choose cpu.")
    for one in requests.values():
        one.claim()
    if pending := {seed: one for seed, one in requests.items() if one.finished() is None}:
        cluster = open_cluster(engine)
        start: Start = cluster.start if cluster else ChildProcess
        _train(pending, len(requests), start, cluster.cores if cluster else processes, progress)
    return [MetaRun(one.folder, read_meta_record(one.folder / RECORD_NAME)) for one in requests.values()]


def _train(pending: Mapping[int, MetaRequest], seeds: int, start: Start, at_once: int, progress: Progress) -> None:
    """Train the seeds that are not finished, so many at once."""
    length = next(iter(pending.values())).options.iterations
    done = dict.fromkeys(pending, 0)
    waiting, running = list(pending), dict[int, tuple[Process, contextlib.ExitStack]]()
    messages: SimpleQueue[tuple[int, Message | None]] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < at_once:
                seed = waiting.pop(0)
                own = stack.enter_context(contextlib.ExitStack())  # left when it ends: a process holds open files
                running[seed] = own.enter_context(start(_work(pending[seed]), into(messages, seed))), own
            seed, message = messages.get()
            if message is None:
                process, own = running.pop(seed)
                how = process.failure()
                own.close()
                if how:
                    raise TiplBenchError(
                        f"The process of meta-seed {seed} {how}. Finished runs and snapshots are kept."
                    )
            elif error := message.get("error"):
                raise TiplBenchError(f"Meta-seed {seed}: {error}")
            else:
                done[seed] = message["done"]
                finished = (seeds - len(pending)) * length
                progress("meta-train", finished + sum(done.values()), seeds * length, f"seed {seed}: {message['word']}")


def _work(request: MetaRequest) -> Work:
    """A seed as a piece of work: it goes on from the last snapshot that came back."""
    key = request.key
    task = {
        "optimizer": key.optimizer,
        "budget": request.budget,
        "seed": key.seed,
        "options": request.settings,
        "device": key.device,
        "folder": str(request.folder.absolute()),
    }
    folder = request.folder
    inputs, snapshot = (folder / KEY_NAME,), (SNAPSHOT_NAME,)
    return Work(program_of(meta_train_seed), task, ONE_THREAD, folder, inputs, snapshot, RECORD_NAME)


def meta_train_seed(task: Message, send: Send) -> None:
    """Meta-train with one seed: what a worker process does. It sends its progress, or an `error`."""

    def report(stage: str, done: int, total: int, word: str) -> None:
        send({"done": done, "word": word})

    try:
        meta_train(
            task["optimizer"],
            budget=task["budget"],
            seed=task["seed"],
            options=task["options"],
            device=task["device"],
            out=task["folder"],
            progress=report,
        )
    except TiplBenchError as error:
        send({"error": str(error)})
