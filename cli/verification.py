"""`tipl-bench verify | reproduce`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .completion import complete_datasets, complete_devices
from .groups import examples
from .options import build_limits, memory_option, timeout_option
from .output import Bars, echo, quiet_option

if TYPE_CHECKING:
    from ..leaderboard.verify.folder import RunFolder
    from ..leaderboard.verify.rescore import RescoreResult
    from ..registry.dataset import Dataset

SHOWN = 20
run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
dataset_option = click.option(
    "--dataset",
    "dataset_name",
    metavar="DATASET",
    shell_complete=complete_datasets,
    help="Dataset name, hf:// address or folder. [default: the record's]",
)
attest_option = click.option("--attest", is_flag=True, help="Store the result as evidence for the leaderboard's row.")
fresh_option = click.option(
    "--fresh", is_flag=True, help="Evaluate every return now, also those that this machine's store holds."
)
records_option = click.option(
    "--records",
    type=click.Path(path_type=Path),
    help="Folder of records. [default: the clone's leaderboard/results]",
)


state_option = click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Of the training track: run folder of a fitted state, or file of weights, that the run uses; repeatable.",
)


def refuse_records(records: Path | None, attest: bool) -> None:
    """Refuse --records where no evidence is stored."""
    if records is not None and not attest:
        raise click.UsageError("--records is where --attest stores the result; give both.")


def refuse_states(states: tuple[Path, ...]) -> None:
    """Refuse --state for a run of the forecast track."""
    if states:
        raise click.UsageError("--state is only for runs of the training track.")


def open_dataset_of(name: str) -> Dataset:
    """A dataset by name, downloaded if need be."""
    from ..registry.loading import load_dataset
    from .datasets.hub import downloading

    with Bars() as bars:
        return load_dataset(name, progress=downloading(bars))


def open_checked(run_folder: Path, dataset_name: str | None) -> RunFolder:
    """A run folder with its dataset, checked."""
    from ..leaderboard.verify.folder import open_record, open_run

    record = open_record(run_folder)
    return open_run(run_folder, open_dataset_of(dataset_name or record.key.dataset.name))


def rescore_with_bars(run: RunFolder, fresh: bool) -> RescoreResult:
    """Re-score with a progress bar."""
    from ..leaderboard.verify.rescore import rescore

    with Bars() as bars:
        return rescore(run, bars.stage, fresh=fresh)


@click.command(
    short_help="Recompute every number of a run.",
    epilog=examples("verify runs/A", "verify runs/A --json"),
)
@run_argument
@dataset_option
@quiet_option
@attest_option
@records_option
@fresh_option
@state_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def verify(
    run_folder: Path,
    dataset_name: str | None,
    attest: bool,
    records: Path | None,
    fresh: bool,
    states: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Recompute every number of a run from its forecasts and the dataset, and name each that differs.

    A run of the training track is recomputed from its curves, and a random block of its trials is trained again for
    ten iterations; `tipl-bench reproduce` trains all of them to the end.

    RUN is a run folder, your own or somebody else's. Works offline if the dataset is on this machine. Exits with 1 if a
    number differs, or if forecasts nearly equal their targets.
    """
    from ..benchmark.training.record import is_training_record
    from ..leaderboard.store import evidence
    from ..leaderboard.store.records import find
    from ..leaderboard.verify.rescore import compare_numbers

    refuse_records(records, attest)
    if is_training_record(run_folder):
        if dataset_name or fresh:
            raise click.UsageError("--dataset and --fresh are not for runs of the training track.")
        _verify_training(run_folder, states, as_json, attest=attest, records=records)
        return
    refuse_states(states)
    run = open_checked(run_folder, dataset_name)
    if attest:
        record_path, kept = find(run.record, records)
    found = rescore_with_bars(run, fresh or attest)  # evidence rests on no look-up
    if as_json:
        differences = [{"where": d.where, "claimed": d.claimed, "recomputed": d.recomputed} for d in found.differences]
        facts = {"numbers": found.numbers, "exact": found.exact, "notes": found.notes, "differences": differences}
        facts |= {"returns_evaluated": found.returns_evaluated, "returns_looked_up": found.returns_looked_up}
        facts |= {"leakage_flags": found.leakage_flags, "above_span_ceiling": found.above_span_ceiling}
        click.echo(json.dumps(facts, indent=1))
    else:
        _report(found)
    if not found.agrees or found.leakage_flags:
        sys.exit(1)
    if attest:
        others = compare_numbers(kept, found.recomputed)
        if others:
            raise click.ClickException(f"The leaderboard's row is not attested: {others[0]} ({record_path}).")
        echo(f"kept in {evidence.append(record_path, kept, evidence.rescored(found, kept))}", err=as_json)


def _verify_training(
    folder: Path, states: tuple[Path, ...], as_json: bool, *, whole: bool = False, attest: bool, records: Path | None
) -> None:
    """Verify a training run, or train all of it again, and print what differs; exits with 1 if anything does."""
    from ..benchmark.training.record import read_training_record
    from ..benchmark.training.verify import REPLAYED, verify_training
    from ..leaderboard.store.records import committed_folder
    from ..leaderboard.training import evidence
    from ..leaderboard.training.store import find

    if attest:
        find(read_training_record(folder), records := records or committed_folder())  # before the hours
    with Bars() as bars:
        iterations = None if whole else REPLAYED
        found = verify_training(folder, iterations=iterations, states=states, progress=bars.stage)
    if as_json:
        facts = {"numbers": found.numbers, "differences": found.differences, "trials": found.trials}
        click.echo(json.dumps(facts | {"iterations": found.iterations}, indent=1))
    else:
        for difference in found.differences[:SHOWN]:
            echo(difference)
        if len(found.differences) > SHOWN:
            echo(f"... and {len(found.differences) - SHOWN} more")
        again = f"{len(found.trials)} trials trained again for {found.iterations} iterations"
        how = "all agree, the trials bit for bit" if found.agrees else f"{len(found.differences):,} of them differ"
        echo(f"{found.numbers:,} numbers recomputed from the curves, {again}: {how}.")
    if not found.agrees:
        sys.exit(1)
    if attest and records:
        echo(f"kept in {evidence.attest(found, records)}", err=as_json)


def _report(found: RescoreResult) -> None:
    for difference in found.differences[:SHOWN]:
        echo(difference)
    if len(found.differences) > SHOWN:
        echo(f"... and {len(found.differences) - SHOWN} more")
    for flag in found.leakage_flags:
        echo(f"needs review: {flag}")
    for achievement in found.above_span_ceiling:
        echo(achievement)
    for note in found.notes:
        echo(note)
    echo(describe_returns(found))
    how = "to the last digit" if found.exact else "within the tolerances of another machine or other versions"
    if found.agrees:
        echo(f"{found.numbers:,} numbers recomputed from the forecasts; all agree, {how}.")
    else:
        echo(f"{len(found.differences):,} of {found.numbers:,} numbers are not what the record says.")


def describe_returns(found: RescoreResult) -> str:
    """How many returns were evaluated now, and how many were looked up."""
    looked_up, evaluated = found.returns_looked_up, found.returns_evaluated
    if not looked_up:
        return f"{evaluated:,} returns evaluated now"
    return (
        f"{evaluated:,} returns evaluated now, {looked_up:,} looked up: this machine's store holds them from an "
        "evaluation of the same policies (--fresh evaluates all)"
    )


@click.command(
    short_help="Run a run again from its record.",
    epilog=examples("reproduce runs/A", "reproduce leaderboard/results/RECORD.json --out runs/again"),
)
@run_argument
@dataset_option
@quiet_option
@attest_option
@records_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the new run. [default: RUN-reproduced]")
@click.option(
    "--device",
    metavar="NAME",
    shell_complete=complete_devices,
    help="Another device than the record's: auto, cpu or cuda.",
)
@timeout_option
@memory_option
@state_option
def reproduce(
    run_folder: Path,
    dataset_name: str | None,
    attest: bool,
    records: Path | None,
    out: Path | None,
    device: str | None,
    states: tuple[Path, ...],
    timeout: float | None,
    memory: float | None,
) -> None:
    """Run a run again from its record, and grade the agreement.

    RUN is a run folder or a record file. Grades: bitwise, within tolerance, drifted (exits with 1). A training run is
    trained again whole, and agrees bit for bit or not at all.
    """
    from ..benchmark.training.record import is_training_record
    from ..leaderboard.store import evidence
    from ..leaderboard.store.records import find
    from ..leaderboard.verify.folder import stated_record
    from ..leaderboard.verify.reproduce import TOLERANCE, reproduced_folder
    from ..leaderboard.verify.reproduce import reproduce as run_again

    refuse_records(records, attest)
    if is_training_record(run_folder):
        if dataset_name or out or device or timeout or memory:
            raise click.UsageError(
                "--dataset, --out, --device, --timeout and --memory are not for runs of the training track."
            )
        _verify_training(run_folder, states, as_json=False, whole=True, attest=attest, records=records)
        return
    refuse_states(states)
    limits = build_limits(timeout, memory)
    record = stated_record(run_folder)
    if attest and device not in (None, record.key.device):
        raise click.UsageError(
            f"--attest needs the record's own device, {record.key.device}: on another, other random numbers are drawn."
        )
    if attest:
        record_path, record = find(record, records)
    dataset = open_dataset_of(dataset_name or record.key.dataset.name)
    folder = out or reproduced_folder(run_folder)
    with Bars() as bars:
        found = run_again(record, dataset, folder, device=device, limits=limits, progress=bars.stage)
    echo(
        f"{found.grade}: the largest difference of a skill is {found.largest:.2g} ({found.where}; tolerance "
        f"{TOLERANCE}). The new run is in {folder}."
    )
    if attest:
        echo(f"kept in {evidence.append(record_path, record, evidence.reproduced(found))}")
    if found.grade == "drifted":
        sys.exit(1)
