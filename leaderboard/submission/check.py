"""Check a submission before it gets onto the leaderboard, as continuous integration does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ...benchmark.record import RECORD_NAME, Record, read_record
from ...benchmark.worker.usage import Limits
from ...registry.dataset import Dataset
from ...utils.errors import ProtocolError, TiplBenchError
from ...utils.progress import Progress, silent
from ...utils.text import join_first
from ..store.records import differing_fields, file_name, load
from ..verify.folder import open_record, open_run
from ..verify.reproduce import ReproductionResult, rerun_request
from ..verify.rescore import RescoreResult
from .examination import Examine, NotExaminedError, examine
from .identity import find_identity_problems, find_near_copies, find_near_names, is_in_tree
from .review_flags import find_review_flags

MAX_RUNS = 100
"""Runs in one submission; several seeds of several predictors on all datasets are fewer."""
RERUN_SECONDS = 1800.0
"""How long fitting a predictor of this package again may take: a `paper` budget would take days of a processor."""
MAX_SHOWN = 20
"""Differences that a report spells out."""

OpenDataset = Callable[[str], Dataset]


@dataclass
class CheckResult:
    """What is wrong with one run of a submission; nothing, if it may be accepted.

    Parameters
    ----------
    folder
        The run folder.
    record
        Its record, if that could be read.
    problems
        Why it cannot be accepted.
    review_flags
        What a maintainer must review before it is accepted.
    rescored
        What re-scoring found, if it came to that.
    reproduced
        What running it again gave: of every run under the name of a predictor of this package that got so far.
    machine
        Processor and platform of the machine that examined it; empty for this one.
    not_examined
        Why a cluster could not examine it, which says nothing of the run; empty otherwise.
    """

    folder: Path
    record: Record | None = None
    problems: list[str] = field(default_factory=list)
    review_flags: list[str] = field(default_factory=list)
    rescored: RescoreResult | None = None
    reproduced: ReproductionResult | None = None
    machine: Mapping[str, str] = field(default_factory=dict)
    not_examined: str = ""

    @property
    def passed(self) -> bool:
        """Whether it may be accepted as it is."""
        return not (self.problems or self.review_flags or self.not_examined)


def run_folders(folder: Path) -> list[Path]:
    """The run folders of a submission: the folder itself, or those in it; raises `ProtocolError` if there is none."""
    if not folder.is_dir():
        raise ProtocolError(f"{folder}: not a folder. Give a run folder, or a folder of run folders.")
    if (folder / RECORD_NAME).exists():
        return [folder]
    inside = sorted(folder.iterdir())
    if len(inside) > MAX_RUNS:
        raise ProtocolError(f"{folder}: holds {len(inside)} entries; a submission has at most {MAX_RUNS} runs.")
    for path in inside:
        if path.is_symlink() or not path.is_dir() or not path.name.isprintable():
            raise ProtocolError(f"{folder}: {path.name!r} is not a run folder.")
    if not inside:
        raise ProtocolError(f"{folder}: holds no run.")
    return inside


def check(
    folders: Sequence[Path],
    records: Path | None,
    open_dataset: OpenDataset,
    progress: Progress = silent,
    *,
    fresh: bool = False,
    rerun: bool = True,
    limits: Limits | None = None,
    examine_run: Examine | None = None,
) -> list[CheckResult]:
    """Check the runs of a submission, each by itself and against each other and the board.

    Parameters
    ----------
    folders
        The run folders.
    records
        Folder of the records that are there; None to check the runs by themselves.
    open_dataset
        Opens a dataset by its name; it is held against the record's digest.
    progress
        Progress of the re-scoring.
    fresh
        Evaluate every return now, also those that the store holds.
    rerun
        Run predictors of this package again. Without it, that is one more thing to review.
    limits
        Time and memory of a predictor of this package that is run again; `RERUN_SECONDS` for fitting by default.
    examine_run
        Examines a run, as `ClusterExaminations.examine` does; by default it is done here, as `fresh` and `limits` say.
    """
    limits = limits or Limits(RERUN_SECONDS)
    results: list[CheckResult] = []
    taken: dict[str, Path] = {}
    board = load(records) if records and any(records.glob("*.json")) else {}
    for number, folder in enumerate(folders):
        checked = CheckResult(folder)
        name = f"run {number + 1} of {len(folders)}"
        try:
            checked.record = record = open_record(folder)
            if record.why_not_submittable:
                raise ProtocolError(f"This run cannot be submitted: {record.why_not_submittable}")
            _against_others(checked, record, records, taken)
            checked.problems += find_identity_problems(record, board)
            run = open_run(folder, open_dataset(record.key.dataset.name))
            rerun_request(record, run.dataset)  # refuses what a run may not be fitted on
            others = {**board, **{one.folder: one.rescored.recomputed for one in results if one.rescored}}
            run_again_too = rerun and is_in_tree(record)
            wanted = run_again_too and not checked.problems
            if examine_run:
                found = examine_run(run, progress, rerun=wanted)
            else:
                found = examine(run, partial(_report, progress, name), rerun=wanted, fresh=fresh, limits=limits)
            checked.machine = found.machine
            _check_numbers(checked, board, others, found.rescored, is_known=run_again_too)
            if is_in_tree(record) and not rerun:
                checked.review_flags.append(
                    f"{record.key.method.name} is a predictor of this package and is not run again: only for a run of "
                    "your own"
                )
            if run_again_too and not checked.problems:
                checked.reproduced = found.reproduced
                checked.problems += [found.problem] if found.problem else []
        except NotExaminedError as error:
            checked.not_examined = str(error)
        except TiplBenchError as error:
            checked.problems.append(str(error))
        results.append(checked)
    return results


def _report(progress: Progress, name: str, stage: str, done: int, total: int, word: str) -> None:
    progress(f"{name}: {stage}", done, total, word)


def _check_numbers(
    checked: CheckResult,
    board: Mapping[Path, Record],
    others: Mapping[Path, Record],
    found: RescoreResult,
    *,
    is_known: bool,
) -> None:
    """What re-scoring found, beside the board, and beside the runs before it in the submission.

    A run whose identity is known by running it again (`is_known`) need not be compared with other rows.
    """
    checked.rescored = found
    checked.problems += [str(difference) for difference in found.differences[:MAX_SHOWN]]
    more = len(found.differences) - MAX_SHOWN
    checked.problems += [f"{more} more numbers differ"] if more > 0 else []
    checked.review_flags += [*found.leakage_flags, *find_review_flags(found.recomputed, board)]
    if not is_in_tree(found.record):
        checked.review_flags += find_near_names(found.record.key.method.name, others)
    if not is_known:
        checked.review_flags += find_near_copies(found.recomputed, others)


def _against_others(checked: CheckResult, record: Record, records: Path | None, taken: dict[str, Path]) -> None:
    """One entry per predictor version and configuration, and no silent change of a row."""
    name = file_name(record)
    if name in taken:
        checked.problems.append(
            f"the same dataset, predictor, configuration and seed as {taken[name].name}; one of them has to go."
        )
    taken.setdefault(name, checked.folder)
    if records is None or not (records / name).exists():
        return
    there = read_record(records / name)
    other = differing_fields(there, record)
    if there.artifacts != record.artifacts:
        checked.problems.append(
            f"the board has other forecasts of the same dataset, predictor, configuration and seed ({name}); rows are "
            "never changed silently. Raise the predictor's version, or ask for the row to be disputed."
        )
    elif other:
        checked.problems.append(
            f"the board has these forecasts already ({name}), with another {join_first(other)}; rows are never changed "
            "silently. Another run of the same is a reproduction (`tipl-bench reproduce`), not a submission."
        )
