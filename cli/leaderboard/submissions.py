"""`tipl-bench leaderboard add | check`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import complete_datasets
from ..groups import examples
from ..options import build_limits, engine_option, memory_option, timeout_option
from ..output import Bars, echo, quiet_option
from ..verification import (
    SHOWN,
    describe_returns,
    fresh_option,
    open_dataset_of,
    records_option,
    refuse_states,
    state_option,
)

if TYPE_CHECKING:
    from ...benchmark.worker.usage import Limits
    from ...leaderboard.submission.check import CheckResult
    from ...leaderboard.submission.on_cluster import ClusterExaminations
    from ...leaderboard.training.check import TrainingRunCheck
    from ...registry.dataset import Dataset
    from ...utils.engines.cluster import Cluster


@click.command(
    "add",
    short_help="Re-score runs and add them to the records.",
    epilog=examples("leaderboard add runs/A runs/B", "leaderboard add runs/* --engine ray"),
)
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@records_option
@quiet_option
@click.option(
    "--claimed", is_flag=True, help="Add the record unchecked, as claimed; not for this package's predictors."
)
@click.option("--reviewed", is_flag=True, help="Add it although `leaderboard check` says that it needs review.")
@click.option(
    "--rerun/--no-rerun",
    default=True,
    show_default=True,
    help="Run a predictor of this package again, or only re-score it: for a maintainer's own runs whose fit takes "
    "hours, or a GPU. Added again with a rerun, the row is reproduced. Of the training track: train all of it again, "
    "or a part.",
)
@click.option(
    "--fresh/--no-fresh",
    default=True,
    help="Evaluate every return now, or (for runs made here) look up those that this machine's store holds.",
    show_default=True,
)
@state_option
@timeout_option
@memory_option
@engine_option
def add_records(
    run_folders: tuple[Path, ...],
    records: Path | None,
    claimed: bool,
    reviewed: bool,
    rerun: bool,
    fresh: bool,
    states: tuple[Path, ...],
    timeout: float | None,
    memory: float | None,
    engine: str,
) -> None:
    """Check finished runs, re-score them, and add their records to the leaderboard's.

    Every return is evaluated now, also those that this machine's store holds,
    unless --no-fresh; the evidence says which. A run under the name of a
    predictor of this package is run again as well, unless --no-rerun. What can
    be added is added, in turn, up to the first that cannot.

    A run of the training track is trained again whole, and its row is then
    reproduced (with --no-rerun, some of its trials for ten iterations: it is
    replayed). It is added with its curves if they are the same bit for bit: runs
    of the test trials, and those of the tuning trials that settings were chosen by.

    With --engine, runs are re-scored and run again on the nodes of a cluster, all at
    the same time, or trained there; what may be added is decided and written here.
    """
    from ...benchmark.training.record import is_training_record
    from ...leaderboard.store.records import committed_folder
    from ...leaderboard.submission.acceptance import accept, accept_claim
    from ...leaderboard.verify.folder import check_files
    from ...utils.engines.cluster import open_cluster

    training = [run_folder for run_folder in run_folders if is_training_record(run_folder)]
    if training and claimed:
        raise click.UsageError("--claimed is not for runs of the training track, which are always trained again.")
    if claimed and not rerun:
        raise click.UsageError("Give --claimed or --no-rerun, not both: a claim is not checked at all.")
    for run_folder in run_folders:
        if run_folder not in training:
            check_files(run_folder)
    if not training:
        refuse_states(states)
    folder, limits = records or committed_folder(), rerun_limits(timeout, memory)
    if claimed:
        for run_folder in run_folders:
            echo(f"added {accept_claim(run_folder, folder)}")
        return
    others = [run_folder for run_folder in run_folders if run_folder not in training]
    cluster = open_cluster(engine)
    with _examined(cluster, others, fresh=fresh, rerun=rerun, limits=limits) as away:
        for run_folder in run_folders:
            if run_folder in training:
                echo(f"added {_add_training(run_folder, folder, states, rerun, cluster)}")
                continue
            checked = report_checked([run_folder], folder, fresh=fresh, rerun=rerun, limits=limits, away=away)
            path, changed = accept(checked[0], folder, reviewed=reviewed)
            echo(f"added {path}" if changed else f"{path} stays as it is; it was checked already.")


def _add_training(
    run_folder: Path, records: Path, states: tuple[Path, ...], whole: bool, cluster: Cluster | None
) -> Path:
    """Train a training run again, or a part of it, and add it if that gives the same."""
    from ...benchmark.training.record import read_training_record
    from ...leaderboard.training.check import accept
    from ...leaderboard.training.store import check_kept

    check_kept(read_training_record(run_folder), records)  # before the hours
    (checked,) = report_training([run_folder], None, states, whole=whole, cluster=cluster)
    return accept(checked, records)


@click.command(
    "check",
    short_help="Check a submission as the maintainers do.",
    epilog=examples(
        "leaderboard check runs/A",
        "leaderboard check hf://datasets/OWNER/NAME@refs/pr/3",
        "leaderboard check runs --engine ray",
    ),
)
@click.argument("submission")
@records_option
@click.option(
    "--dataset",
    "dataset_name",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder. [default: the records']",
)
@fresh_option
@quiet_option
@state_option
@timeout_option
@memory_option
@engine_option
def check_submission(
    submission: str,
    records: Path | None,
    dataset_name: str | None,
    fresh: bool,
    states: tuple[Path, ...],
    timeout: float | None,
    memory: float | None,
    engine: str,
) -> None:
    """Check a submission: form, sizes, identity, re-scoring, and the rows that are there.

    A run under the name of a predictor of this package is run again; no other code is. Runs of the training track are
    trained again whole, with what is installed. With --engine, all that is done on the nodes of a cluster, for all runs
    of the forecast track at the same time; the outcome is the same.

    SUBMISSION is a run folder, a folder of run folders, or a pull request (hf://datasets/OWNER/NAME@refs/pr/N, or its
    address). Exits with 1 if a run is refused, needs review, or could not be examined on the cluster.
    """
    import tempfile

    from ...benchmark.training.record import is_training_record
    from ...leaderboard.store.records import find_committed_folder
    from ...leaderboard.submission.check import run_folders
    from ...leaderboard.submission.pull_request import fetch, parse_pull_request
    from ...utils.engines.cluster import open_cluster

    limits, cluster = rerun_limits(timeout, memory), open_cluster(engine)
    request = parse_pull_request(submission)
    if request:
        request = request.pinned()
        echo(f"{request.location}, pull request {request.number} at commit {request.commit}")
    with tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch:
        folders = fetch(request, Path(scratch)) if request else run_folders(Path(submission))
        known = records or find_committed_folder()
        training = [folder for folder in folders if is_training_record(folder)]
        others = [folder for folder in folders if folder not in training]
        if not training:
            refuse_states(states)
        with _examined(cluster, others, dataset_name, fresh=fresh, limits=limits) as away:
            passed = True
            if training:
                passed = all(one.passed for one in report_training(training, known, states, cluster=cluster))
            if others or not training:
                checked = report_checked(others, known, dataset_name, fresh=fresh, limits=limits, away=away)
                passed = passed and all(one.passed for one in checked)
    if not passed:
        sys.exit(1)


@contextlib.contextmanager
def _examined(
    cluster: Cluster | None,
    folders: list[Path],
    dataset_name: str | None = None,
    *,
    fresh: bool,
    rerun: bool = True,
    limits: Limits,
) -> Iterator[ClusterExaminations | None]:
    """Begin to examine runs on the nodes of a cluster; None without one."""
    if cluster is None:
        yield None
        return
    from ...leaderboard.submission.on_cluster import ClusterExaminations

    with ClusterExaminations(cluster, fresh=fresh, limits=limits) as away:
        away.begin(folders, lambda name: open_dataset_of(dataset_name or name), rerun=rerun)
        yield away


def report_training(
    folders: list[Path],
    records: Path | None,
    states: tuple[Path, ...],
    *,
    whole: bool = True,
    cluster: Cluster | None = None,
) -> list[TrainingRunCheck]:
    """Check runs of the training track, and print what is wrong with each."""
    from ...leaderboard.training.check import check_training

    with Bars() as bars:
        results = check_training(folders, records, states, bars.stage, whole=whole, cluster=cluster)
    for one in results:
        echo(f"{_verdict(one)}: {one.folder.name}")
        for problem in one.problems[:SHOWN]:
            echo(f"  {problem}")
        if one.not_examined:
            echo(f"  {one.not_examined}")
        if one.found and one.passed:
            again = "all trials trained again" if whole else "some trials trained again, for some iterations"
            echo(f"  {one.found.numbers:,} numbers recomputed from the curves, {again}; all agree")
    return results


def rerun_limits(timeout: float | None, memory: float | None) -> Limits:
    """Limits of a predictor of this package that is run again; half an hour of fitting by default."""
    from ...leaderboard.submission.check import RERUN_SECONDS

    return build_limits(RERUN_SECONDS if timeout is None else timeout, memory)


def report_checked(
    folders: list[Path],
    records: Path | None,
    dataset_name: str | None = None,
    *,
    fresh: bool = False,
    rerun: bool = True,
    limits: Limits | None = None,
    away: ClusterExaminations | None = None,
) -> list[CheckResult]:
    """Check runs, beside the records of a leaderboard if there are any, and print what is wrong with each.

    `away` is where they are examined, if not here.
    """
    from ...leaderboard.submission.check import check

    def dataset(name: str) -> Dataset:
        return open_dataset_of(dataset_name or name)

    with Bars() as bars:
        results = check(
            folders,
            records,
            dataset,
            bars.stage,
            fresh=fresh,
            rerun=rerun,
            limits=limits,
            examine_run=away.examine if away else None,
        )
    for one in results:
        echo(f"{_verdict(one)}: {one.folder.name}")
        for problem in one.problems:
            echo(f"  {problem}")
        for flag in one.review_flags:
            echo(f"  needs review: {flag}")
        if one.not_examined:
            echo(f"  {one.not_examined}")
        for achievement in one.rescored.above_span_ceiling if one.rescored else ():
            echo(f"  {achievement}")
        if one.rescored and one.rescored.agrees:
            echo(f"  {one.rescored.numbers:,} numbers recomputed from the forecasts; all agree")
        if one.rescored:
            echo(f"  {describe_returns(one.rescored)}")
        for note in one.rescored.notes if one.rescored else ():
            echo(f"  {note}")
        if one.reproduced and not one.problems:
            echo(f"  run again, as a predictor of this package: {one.reproduced.grade}")
    return results


def _verdict(checked: CheckResult | TrainingRunCheck) -> str:
    if checked.problems:
        return "REFUSED"
    if checked.not_examined:
        return "NOT EXAMINED"
    return "ok" if checked.passed else "NEEDS REVIEW"
