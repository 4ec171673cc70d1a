"""Run a suite: perform what its folder lacks, and say how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ...utils.errors import OptionError, TiplBenchError
from ...utils.progress import Progress, clock_time, silent
from ..protocol import CURRENT
from ..training.record import TrainingRecord
from .engine import Engine, LocalEngine
from .remote import RemoteResults
from .suite import read_suite
from .tasks import Progressed, Task, message_of, progressed, tasks_of


@dataclass(frozen=True)
class SuiteStatus:
    """The tasks of a suite, each with how far it is.

    Parameters
    ----------
    name
        The suite's.
    folder
        Where its runs are.
    tasks
        The tasks, in their order.
    states
        How far each is, by its name.
    """

    name: str
    folder: Path
    tasks: tuple[Task, ...]
    states: dict[str, Progressed]

    def counts(self) -> Counter[str]:
        """How many tasks are in each state."""
        return Counter(self.states[task.name].state for task in self.tasks)

    def pending(self) -> list[Task]:
        """Tasks that are not finished: failed ones are tried again."""
        return [task for task in self.tasks if self.states[task.name].state != "finished"]

    def work(self, elapsed: Mapping[str, float]) -> tuple[int, int]:
        """Seconds that tasks took so far, and that all take; one of a kind not timed yet counts as the mean.

        Parameters
        ----------
        elapsed
            Seconds since tasks at work began, by name. They count up to what such a task takes; as long as none was
            timed, nothing counts, and nobody can say how long the rest takes.
        """
        known = [one.seconds for one in self.states.values() if one.seconds is not None]
        if not known:
            return 0, max(1, len(self.tasks))
        done, usual = sum(known), sum(known) / len(known)
        rests = {name: usual if one is None else one for name, one in self._expected().items()}
        begun = sum(min(elapsed.get(name, 0.0), rest) for name, rest in rests.items())
        return round(done + begun), max(1, round(done + sum(rests.values())))

    def time_left(self) -> tuple[float, int]:
        """Seconds that pending tasks take, one after another, by those of their groups; how many have none timed."""
        rests = self._expected().values()
        return sum(one for one in rests if one is not None), sum(one is None for one in rests)

    def _expected(self) -> dict[str, float | None]:
        """Seconds that each pending task takes, by those of its group; None if none of them was timed."""
        known: dict[str, list[float]] = defaultdict(list)
        for task in self.tasks:
            if (seconds := self.states[task.name].seconds) is not None:
                known[task.group].append(seconds)
        means = {group: sum(seconds) / len(seconds) for group, seconds in known.items()}
        return {task.name: means.get(task.group) for task in self.pending()}


def suite_status(suite: str | Path, folder: Path | None = None, only: Sequence[str] = ()) -> SuiteStatus:
    """How far a suite is.

    Parameters
    ----------
    suite
        Its name, or its file.
    folder
        Where its runs are; `runs/suites/<name>` by default.
    only
        Patterns of task names, such as `*tipl*`; all tasks by default.

    Raises
    ------
    UnknownNameError, OptionError
        See `read_suite`; or if no task's name fits the patterns.
    """
    name, found = read_suite(suite)
    folder = folder or Path("runs") / "suites" / name
    try:
        tasks = tasks_of(found)
    except OptionError as error:
        raise OptionError(f"{suite}, {error}") from None
    chosen = [task for task in tasks if not only or any(fnmatch(task.name, pattern) for pattern in only)]
    if chosen:
        wanted = _with_needs(chosen, {task.name: task for task in tasks})
        chosen = [task for task in tasks if task.name in wanted]
    else:
        raise OptionError(
            f"{name}: no task's name fits {', '.join(only)}; one is {tasks[0].name}." if tasks else f"{name} is empty."
        )
    return SuiteStatus(name, folder, tuple(chosen), {task.name: progressed(task, folder) for task in chosen})


def _with_needs(chosen: Iterable[Task], known: Mapping[str, Task]) -> set[str]:
    """The names of tasks, and of those that they need."""
    found: set[str] = set()
    for task in chosen:
        found |= {task.name} | _with_needs((known[name] for name in task.needs), known)
    return found


def run_suite(
    suite: str | Path,
    folder: Path | None = None,
    *,
    only: Sequence[str] = (),
    engine: Engine | None = None,
    results: str | None = None,
    progress: Progress = silent,
) -> SuiteStatus:
    """Perform the tasks of a suite that are not finished; what fails is recorded, and the others go on.

    Repeating it goes on where it was: a finished run is not repeated, an interrupted one continues, a failed one is
    tried again.

    Parameters
    ----------
    suite, folder, only
        As for `suite_status`.
    engine
        What performs the tasks; one at a time on this machine by default.
    results
        An address that fsspec knows, such as `s3://bucket/board`: finished runs are sent there too, and those that are
        there and not here are fetched instead of run.
    progress
        Receives the seconds that are done and all that are expected, with the task at work.

    Raises
    ------
    UnknownNameError, OptionError
        As for `suite_status`, or see `RemoteResults`.
    TiplBenchError
        If the address cannot be read, before anything is run; if some runs could not be sent there, after all are.
    """
    status = suite_status(suite, folder, only)
    remote = RemoteResults(results) if results else None
    if remote:
        status = _fetched(status, remote)
    states, pending = dict(status.states), status.pending()
    by_name = {task.name: task for task in pending}
    unsent: dict[str, str] = {}
    begun: dict[str, float] = {}

    def send(name: str) -> None:
        if remote and states[name].record is not None:
            try:
                remote.send(name, status.folder / name)
            except TiplBenchError as error:
                unsent[name] = str(error)

    def now() -> SuiteStatus:
        return SuiteStatus(status.name, status.folder, status.tasks, states)

    def work() -> tuple[int, int]:
        return now().work({name: time.monotonic() - start for name, start in begun.items()})

    def report(name: str, message: dict[str, object]) -> None:
        begun.setdefault(name, time.monotonic())
        unknown = now().time_left()[1]
        beside = f"; tasks whose time is not known: {unknown}" if unknown else ""
        progress("suite", *work(), f"{name}: {message['stage']}{beside}")

    for task in status.tasks:
        send(task.name)
    progress("suite", *work(), "")
    chosen = engine or LocalEngine()
    for outcome in chosen.perform([(task.name, message_of(task, status.folder)) for task in pending], report):
        found = progressed(by_name[outcome.name], status.folder)
        if outcome.error and found.state != "finished":
            found = Progressed("failed", reason=outcome.error)
        states[outcome.name] = found
        begun.pop(outcome.name, None)
        send(outcome.name)
        progress("suite", *work(), outcome.name)
    if unsent:
        raise TiplBenchError(
            f"{next(iter(unsent.values()))} Finished runs that are in {status.folder} alone: {len(unsent)}. Repeat the "
            "command to send them."
        )
    return now()


def _fetched(status: SuiteStatus, remote: RemoteResults) -> SuiteStatus:
    """The suite with the runs that had not begun here and are finished there."""
    states = dict(status.states)
    for task in status.tasks:
        if states[task.name].state == "waiting" and task.name in remote.names:
            remote.fetch(task.name, status.folder / task.name)
            states[task.name] = progressed(task, status.folder)
    return SuiteStatus(status.name, status.folder, status.tasks, states)


def describe_time_left(status: SuiteStatus) -> str:
    """The time left in words; where runs of some kind were never timed, the least it can be."""
    seconds, unknown = status.time_left()
    if not unknown:
        return f"{clock_time(seconds)} left"
    return (
        f"{clock_time(seconds)} left and {unknown} of a kind not timed yet" if seconds else f"{unknown} not timed yet"
    )


@dataclass(frozen=True)
class ReportRow:
    """Runs of one method on one board.

    Parameters
    ----------
    board, method
        The dataset and phase, or the environment and trials; and what was run.
    seeds
        How many runs.
    measure
        What `values` are: skill, mean over horizons, or AUC.
    values
        One of each run.
    """

    board: str
    method: str
    seeds: int
    measure: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the runs."""
        return sum(self.values) / len(self.values)


def report_rows(status: SuiteStatus) -> list[ReportRow]:
    """What finished runs found, the best first on each board."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for task in status.tasks:
        record = status.states[task.name].record
        if isinstance(record, TrainingRecord):
            where = f"{record.key.protocol.environment} ({record.key.split})"
            label = " ".join(filter(None, (record.key.label, record.key.scope)))
            if (auc := record["auc"].value) is not None:
                found[where, label, "AUC"].append(auc)
        elif record is not None:
            given = task.arguments
            parts = [given["model"], *given["settings"], given["budget"]]
            parts += [f"on {given['fit_on']}"] if given["fit_on"] else []
            parts += [f"protocol {given['protocol']}"] if given["protocol"] != CURRENT.version else []
            label = " ".join(parts)
            for phase in ("learning", "converged"):
                skills = [one.estimates["skill"].value for one in record.results if one.phase == phase]
                known = [value for value in skills if value is not None]
                if known:
                    found[f"{given['dataset']}, {phase}", label, "skill"].append(sum(known) / len(known))
    rows = [ReportRow(board, method, len(v), what, tuple(v)) for (board, method, what), v in found.items()]
    order = {board: place for place, (board, *_) in enumerate(found)}
    return sorted(rows, key=lambda row: (order[row.board], -row.mean))


def finished_folders(status: SuiteStatus) -> Iterable[Path]:
    """The run folders of finished runs, for `leaderboard add`."""
    return [status.folder / task.name for task in status.tasks if status.states[task.name].record is not None]
