"""Checking runs of the training track before they become rows: trained again, and a table that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...benchmark.training.record import read_training_record
from ...benchmark.training.verify import REPLAYED, TrainingCheck, verify_training
from ...utils.engines.cluster import Cluster
from ...utils.errors import ProcessEndedError, ProtocolError, TiplBenchError
from ...utils.progress import Progress, silent
from ...utils.text import one_line
from .evidence import attest
from .store import add, check_kept, check_whole, file_name, load
from .table import table


@dataclass(frozen=True)
class TrainingRunCheck:
    """What checking a run gave.

    Parameters
    ----------
    folder
        The run.
    problems
        Why it is refused, a sentence each.
    found
        What verifying it gave, if it could be verified.
    not_examined
        Why it could not be trained again, which says nothing of the run; empty otherwise.
    """

    folder: Path
    problems: tuple[str, ...]
    found: TrainingCheck | None = None
    not_examined: str = ""

    @property
    def passed(self) -> bool:
        """Whether it may be accepted."""
        return not (self.problems or self.not_examined)


def check_training(
    folders: Sequence[Path],
    records: Path | None,
    states: Iterable[Path | str] = (),
    progress: Progress = silent,
    *,
    whole: bool = True,
    cluster: Cluster | None = None,
) -> list[TrainingRunCheck]:
    """Train runs again, and see whether a table could be made of them and the rows that are there.

    Parameters
    ----------
    folders
        Run folders, as one submission: a tuned run with the runs that it was tuned by.
    records
        The leaderboard's records; without rows of the training track there, or None, no table is tried.
    states
        Run folders of fitted states, and files of weights, that do not ship with the package.
    progress
        Receives the progress.
    whole
        Train all trials to their ends; otherwise a part of each run, as `verify_training` draws it.
    cluster
        What trains the blocks; processes here without one.
    """
    found, known = [], load(records) if records else {}
    taken = {path.stem: record for path, record in known.items()}
    places, states = {}, tuple(states)
    for folder in folders:
        try:
            record = read_training_record(folder)
            check_whole(folder, record)
            if records:
                check_kept(record, records)
            iterations = None if whole else REPLAYED
            checked = verify_training(folder, iterations=iterations, states=states, progress=progress, cluster=cluster)
        except ProcessEndedError as error:
            found.append(TrainingRunCheck(folder, (), not_examined=one_line(error, 500)))
            continue
        except TiplBenchError as error:
            found.append(TrainingRunCheck(folder, (one_line(error, 500),)))
            continue
        name, problems = file_name(checked.record).removesuffix(".json"), tuple(checked.differences)
        if name in taken and taken[name].artifacts != checked.record.artifacts:
            problems += ("the submission has another result of the same run",)
        found.append(TrainingRunCheck(folder, problems, checked))
        if not problems:
            places[name] = len(found) - 1
            taken[name] = checked.record
    for environment in {taken[name].key.protocol.environment for name in places} if known else ():
        group = {name: one for name, one in taken.items() if one.key.protocol.environment == environment}
        try:
            table(environment, group)
        except TiplBenchError as error:
            for name in places.keys() & group.keys():
                one = found[places[name]]
                found[places[name]] = TrainingRunCheck(one.folder, (one_line(error, 500),), one.found)
    return found


def accept(checked: TrainingRunCheck, records: Path) -> Path:
    """Add a run with the evidence of its check to the records; returns the record's file.

    Raises
    ------
    ProtocolError
        If the check found a problem, or another result of the run is there.
    ProcessEndedError
        If it could not be trained again.
    """
    if checked.not_examined:
        raise ProcessEndedError(checked.not_examined)
    if checked.problems or checked.found is None:
        problems = "; ".join(checked.problems[:3])
        raise ProtocolError(f"{checked.folder} is rejected; the leaderboard is unchanged: {problems}")
    path = add(checked.folder, records)
    attest(checked.found, records)
    return path
