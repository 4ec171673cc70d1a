"""`tipl-bench datasets`: the catalog and the store."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..completion import complete_datasets
from ..groups import Commands, examples
from ..options import engine_option
from ..output import Bars, console, echo, print_fields, quiet_option
from .ceiling import dataset_ceiling
from .hub import download_dataset, publish_dataset, yank_dataset
from .importing import import_dataset
from .show import as_runs, show_dataset
from .stored import print_store

if TYPE_CHECKING:
    from ...registry.cleanup import Removal

LIST_WIDTH = 76
"""Characters that the list of datasets takes beside each other."""


@click.group(cls=Commands, short_help="List, show, verify, collect, import, share datasets.")
def datasets() -> None:
    """List, show, verify, collect, import, download and publish trajectory datasets."""


@datasets.command("list", epilog=examples("datasets list", "datasets list --store"))
@click.option("--store", "stored", is_flag=True, help="What the store holds, with sizes, digests and what is verified.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_datasets(stored: bool, as_json: bool) -> None:
    """List the catalog and the local store."""
    from ...registry.catalog import catalog
    from ...registry.store import local_names

    if stored:
        print_store(as_json=as_json)
        return
    rows = [_listed(name) for name in sorted({*catalog(), *local_names()})]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif console().width < LIST_WIDTH:
        _print_stacked(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ...utils.tables import RULE

    table = Table(box=RULE, show_edge=False, header_style="bold", pad_edge=False, expand=True)
    table.add_column("dataset", ratio=1, overflow="fold")
    for title in ("trials", "T", "P", "MB"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    for row in rows:
        summary, yanked = _summary(row)
        lines = Text.assemble(row["name"], "\n", (summary, "dim"), (f"\n{yanked}" if yanked else "", "red"))
        table.add_row(lines, *_sizes(row), row["where"])
    console().print(table)
    console().print(
        Text("\nT: checkpoints a trial. P: parameters of a policy. MB: 10^6 bytes of all its files.", "dim")
    )


def _print_stacked(rows: list[dict[str, Any]]) -> None:
    """The list for a narrow terminal: a few lines a dataset."""
    from rich.padding import Padding
    from rich.text import Text

    for row in rows:
        console().print(Text(row["name"], "bold"), soft_wrap=True)
        trials, checkpoints, parameters, size = _sizes(row)
        numbers = f": {trials} trials of {checkpoints} checkpoints, {parameters} parameters, {size} MB"
        summary, yanked = _summary(row)
        lines = [Text(row["where"] + (numbers if "bytes" in row else "")), Text(summary, "dim"), Text(yanked, "red")]
        console().print(Padding(Text("\n").join(line for line in lines if line), (0, 0, 0, 2)))


def _sizes(row: dict[str, Any]) -> list[str]:
    """A dataset's trials, checkpoints, parameters and megabytes, with dashes for what is not known here."""
    counts = [f"{row[key]:,}" if key in row else "-" for key in ("trials", "checkpoints", "parameters")]
    return [*counts, f"{row['bytes'] / 1e6:,.1f}" if "bytes" in row else "-"]


def _summary(row: dict[str, Any]) -> tuple[str, str]:
    """What a dataset is, and why it was withdrawn if it was, on one line each."""
    from ...utils.text import one_line

    default = f" (default of {row['environment']})" if row["default"] else ""
    return one_line(f"{row['summary']}{default}"), one_line(f"yanked: {row['yanked']}") if row["yanked"] else ""


def _listed(name: str) -> dict[str, Any]:
    """One dataset's row of the list."""
    from ...registry.catalog import catalog
    from ...registry.loading import open_local, parse_reference
    from ...registry.store import local_names
    from ...utils.errors import DatasetError

    entry, described = catalog().get(name), "collected here"
    try:
        dataset = open_local(parse_reference(name))
        config = dataset.manifest.collection
        described = f"imported: {config.description}" if config.algorithm == "external" else described
        where = "bundled" if entry and entry.bundled else "local"
        if (here := len(dataset.trials_here)) < len(dataset):
            where = f"local, {here} of {len(dataset)} trials"
        fields: dict[str, Any] = {
            "environment": dataset.environment,
            "trials": len(dataset),
            "checkpoints": dataset.manifest.checkpoints,
            "parameters": dataset.layout.parameter_count,
            "bytes": sum(file.size for file in dataset.contents()),
        }
    except DatasetError as error:
        where = "broken" if name in local_names() else "on the Hub" if entry and entry.repo else "not here"
        fields = {"environment": entry.environment if entry else "?"}
        if where == "broken":
            echo(f"warning: {error}", err=True)
    return {
        "name": name,
        **fields,
        "default": bool(entry and entry.default),
        "where": where,
        "repo": entry.repo if entry else None,
        "yanked": entry.yanked if entry else None,
        "summary": entry.summary if entry else described,
    }


@datasets.command(
    "verify",
    epilog=examples("datasets verify inverted-pendulum/ppo-head-v1"),
    short_help="Hash every byte of a dataset.",
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
def verify_dataset(name: str) -> None:
    """Hash every byte of a dataset and compare with its manifest and the catalog.

    Of a dataset of which only some trials were downloaded, those are verified.
    """
    from ...registry.catalog import catalog, find_derived, identity_of
    from ...registry.derived import derived_protocols
    from ...registry.files import note_verified
    from ...registry.loading import open_local, parse_reference
    from ...registry.locations import cache_root

    dataset = open_local(parse_reference(name))
    here = dataset.trials_here
    sizes = [file.size for file in dataset.contents(here)]
    total, done = sum(sizes), 0
    with Bars() as bars:

        def report(path: str, size: int) -> None:
            nonlocal done
            done += size
            bars.stage("verify", done, total, path)

        dataset.verify(report, here)
    if dataset.folder.is_relative_to(cache_root()):  # what comes with the package, or is the user's, stays as it is
        note_verified(dataset.folder, dataset.contents(here))
    some = f"{len(here)} of {len(dataset)} trials are here ({as_runs(here)}); "
    partly = some if len(here) < len(dataset) else ""
    echo(f"{dataset.name}: {partly}{len(sizes)} files, {total:,} bytes, all intact; digest {identity_of(dataset)}")
    pinned = entry.derived if (entry := catalog().get(dataset.name)) else {}
    for protocol in derived_protocols(dataset.folder):
        if derived := find_derived(dataset, protocol):
            where = "as the catalog pins" if f"p{protocol}" in pinned else "not in the catalog"
            echo(f"derived by protocol {protocol}: sha256 {derived.manifest.sha256}, {where}")


@datasets.command(
    "collect",
    short_help="Collect a dataset by training its policies.",
    epilog=examples(
        "datasets collect hopper/ppo-mini-v1",
        "datasets collect my-env/ppo-v1 --config collection.toml",
        "datasets collect hopper/ppo-mini-v3 --engine ray",
    ),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with your own collection's configuration.")
@click.option("--threads", type=click.IntRange(1), help="Threads, or processes of one each. [default: all cores]")
@engine_option
def collect_dataset(name: str, config: Path | None, threads: int | None, engine: str) -> None:
    """Collect a dataset by training its policies, or continue an interrupted collection.

    DATASET is that of a shipped collection, or with --config a new name such as my-env/ppo-v1. A configuration with
    `extends = "my-env/ppo-v1"` and more `trials` makes a version that shares the old one's trials. On a Ray cluster
    each block of trials is a task on one core.
    """
    from ...benchmark.collection import collect_named
    from ...utils.engines.cluster import open_cluster

    with Bars() as bars:
        cluster = open_cluster(engine)
        dataset = collect_named(
            name, config, threads, bars.stage, announce=lambda text: echo(text, err=True), cluster=cluster
        )
    echo(f"{dataset.name}: {len(dataset)} trials in {dataset.folder}, digest {dataset.digest}")


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")


@datasets.command(
    "delete",
    epilog=examples("datasets delete hopper/ppo-mini-v1 --dry-run"),
    short_help="Delete a dataset from the store.",
)
@click.argument("name", shell_complete=complete_datasets)
@yes_option
@dry_run_option
def delete_dataset(name: str, yes: bool, dry_run: bool) -> None:
    """Delete a dataset from the store, with a collection of it that was not finished.

    NAME is a name or an address on the Hub. A dataset that another process downloads or collects is kept.
    """
    from ...registry.cleanup import find_dataset
    from ...registry.loading import parse_stored

    _remove(find_dataset(parse_stored(name)), yes, dry_run)


@datasets.command(
    "prune", epilog=examples("datasets prune --dry-run"), short_help="Remove from the store what nothing refers to."
)
@yes_option
@dry_run_option
def prune_datasets(yes: bool, dry_run: bool) -> None:
    """Remove from the store what nothing refers to.

    That is: what killed downloads, imports and writes left, snapshots of the Hub that no tag or branch stands for
    here, no catalog pins and nobody downloaded by their commit, and caches of earlier versions. Datasets with a name
    and unfinished collections are kept. What is damaged is listed with the way out, and kept.
    """
    from ...registry.cleanup import find_unreferenced

    found = find_unreferenced()
    for one in found:
        if one.damage:
            echo(f"- {one.path} (damaged {one.what}, {_megabytes(one.size)}; kept): {one.damage}")
    found = [one for one in found if not one.damage]
    if found:
        _remove(found, yes, dry_run)
    else:
        echo("Nothing to remove.")


def _remove(found: list[Removal], yes: bool, dry_run: bool) -> None:
    """Print what was found, ask, and remove it."""
    from ...registry.cleanup import remove

    for removal in found:
        shared = "" if removal.freed == removal.size else f", {_megabytes(removal.freed)} of it not shared with others"
        echo(f"- {removal.path} ({removal.what}, {_megabytes(removal.size)}{shared})")
    freed = _megabytes(sum(removal.freed for removal in found))
    if dry_run:
        echo(f"Dry run; nothing was removed. Removing it frees {freed}.")
        return
    if not yes:
        click.confirm(f"Remove this and free {freed}?", abort=True)
    removed, kept = remove(found)
    for reason in kept:
        echo(f"kept: {reason}", err=True)
    echo(f"Freed {_megabytes(sum(removal.freed for removal in removed))}.")
    if kept:
        raise click.exceptions.Exit(1)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


@datasets.command(
    "index",
    epilog=examples("datasets index inverted-pendulum/ppo-head-v1 --out index.parquet"),
    short_help="Write a dataset's index as parquet.",
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("index.parquet"), show_default=True, help="File to write."
)
def index_dataset(name: str, out: Path) -> None:
    """Write a dataset's index as parquet: one row per checkpoint, without weights; no weights are downloaded."""
    from ...registry.loading import parse_reference, view_dataset
    from ...registry.views.index import index_table, write_index

    view = view_dataset(parse_reference(name))
    table = index_table(view.manifest, view.columns(range(len(view.manifest.trials))))
    write_index(table, out)
    here, count = table.num_rows // view.manifest.checkpoints, len(view.manifest.trials)
    partly = "" if here == count else f" ({here} of {count} trials are on this machine)"
    echo(f"wrote {out}: {table.num_rows:,} checkpoints of {view.manifest.name}{partly}")


@datasets.command(
    "diff",
    epilog=examples("datasets diff hopper/ppo-mini-v1 hopper/ppo-mini-v2"),
    short_help="List what changed between two datasets.",
)
@click.argument("a", metavar="A", shell_complete=complete_datasets)
@click.argument("b", metavar="B", shell_complete=complete_datasets)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def diff_datasets(a: str, b: str, as_json: bool) -> None:
    """List what changed from dataset A to dataset B."""
    from ...registry.loading import parse_reference, view_dataset
    from ...registry.views.difference import difference

    old, new = (view_dataset(parse_reference(name)).manifest for name in (a, b))
    changes = difference(old, new)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(changes), indent=1))
        return
    fields = {name: f"{before} -> {after}" for name, (before, after) in changes.fields.items()}
    trials = {
        "same bytes": as_runs(changes.shared),
        "changed": as_runs(changes.changed),
        "added": as_runs(changes.added),
        "removed": as_runs(changes.removed),
        "with another seed": as_runs(changes.reseeded),
        "moved": ", ".join(f"{trial} ({before} to {after})" for trial, (before, after) in changes.moved.items()),
    }
    echo(f"{old.name} ({old.digest[:12]}) -> {new.name} ({new.digest[:12]})")
    print_fields(fields | {f"trials {what}": numbers for what, numbers in trials.items()})
    echo(f"{changes.shared_bytes:,} bytes are shared, {changes.new_bytes:,} are new")


for command in (dataset_ceiling, download_dataset, import_dataset, publish_dataset, show_dataset, yank_dataset):
    datasets.add_command(command)
