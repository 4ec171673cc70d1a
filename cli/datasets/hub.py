"""`tipl-bench datasets download | publish | yank`."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import click

from ...utils.progress import Progress
from ..completion import complete_datasets
from ..groups import examples
from ..output import Bars, echo, quiet_option

MOST_TRIALS = 10**6
"""Trials that a range may name; an end that was mistyped must not fill the memory."""


def downloading(bars: Bars) -> Progress:
    """A progress report that adds size and rate to a download."""
    started, first = time.monotonic(), -1

    def report(stage: str, done: int, total: int, word: str) -> None:
        nonlocal first
        if stage != "download":
            bars.stage(stage, done, total, word)
            return
        first = done if first < 0 else first
        rate = (done - first) / max(1e-3, time.monotonic() - started)
        bars.stage(stage, done, total, f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB, {rate / 1e6:,.1f} MB/s, {word}")

    return report


def _trials(context: click.Context, option: click.Parameter, text: str | None) -> list[int] | None:
    """Parse `0:10`, `7` and lists of these."""
    if text is None:
        return None
    chosen: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", part)
        if found is None or (found[2] is not None and int(found[2]) <= int(found[1])):
            raise click.BadParameter(
                f"{text!r} does not name trials; write numbers, or FIRST:LAST+1, with commas between: 3,7 or 0:10,20."
            )
        first, end = int(found[1]), int(found[2] or int(found[1]) + 1)
        if end - first > MOST_TRIALS:
            raise click.BadParameter(f"{part} is {end - first:,} trials, more than any dataset has.")
        chosen += range(first, end)
    if len({*chosen}) < len(chosen):
        raise click.BadParameter(f"{text!r} names a trial twice.")
    return chosen


def _names(context: click.Context, option: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else list(dict.fromkeys(text.split(",")))


@click.command(
    "download",
    short_help="Download a dataset, or a part of it, and verify it.",
    epilog=examples(
        "datasets download hopper/ppo-mini-v1",
        "datasets download hopper/ppo-mini-v1 --trials 0:10",
        "datasets download hopper/ppo-mini-v1 --trials 3 --tensors weights",
    ),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
@click.option("--trials", callback=_trials, metavar="LIST", help="Only these trials: 3,7,11 or 0:10, the first ten.")
@click.option("--tensors", callback=_names, metavar="LIST", help="Only these tensors of them, such as weights,epoch.")
@click.option("--to", type=click.Path(path_type=Path), help="A folder to download into. [default: the store]")
def download_dataset(name: str, trials: list[int] | None, tensors: list[str] | None, to: Path | None) -> None:
    """Download a dataset and verify every byte; an interrupted download is continued.

    DATASET is a catalogued name (hopper/ppo-mini-v1, hopper/ppo-mini@v1 or hopper/ppo-mini-v1@COMMIT), or an
    address on the Hub: hf://datasets/OWNER/NAME[@REVISION].

    With --tensors, only these come, by byte ranges; `tipl_bench.stream_dataset` reads them, and a run does not.
    """
    from ...registry.catalog import identity_of
    from ...registry.loading import download_dataset, parse_reference

    if tensors is not None:
        if to:
            raise click.BadParameter("tensors are kept in the store, not in a folder.", param_hint="--to")
        _download_tensors(name, trials, tensors)
        return
    with Bars() as bars:
        dataset = download_dataset(parse_reference(name), trials=trials, to=to, progress=downloading(bars))
    size = sum(entry.size for entry in dataset.contents(trials))
    count = len(dataset) if trials is None else len(trials)
    echo(
        f"{dataset.name}: {count} trials, {size:,} bytes in {dataset.folder}, all intact; digest {identity_of(dataset)}"
    )


def _download_tensors(name: str, trials: list[int] | None, tensors: list[str]) -> None:
    """Fetch some tensors of some trials into the store."""
    from ...registry.hub.stream import fetch_tensors
    from ...registry.loading import stream_dataset

    selection = stream_dataset(name)
    whole = sum(entry.size for member in selection.members[:1] for entry in member.manifest.files)
    chosen = selection if trials is None else selection.select(trials)
    with Bars() as bars:
        fetched = fetch_tensors(chosen, tensors, downloading(bars))
    size = sum(member.entry.tensors[tensor].size for member in chosen.members for tensor in tensors)
    echo(
        f"{chosen.described}: {', '.join(tensors)}, {size:,} bytes, all intact; {fetched:,} bytes of the dataset's "
        f"{whole:,} were fetched now"
    )


@click.command(
    "publish",
    short_help="Publish a dataset on the Hub.",
    epilog=examples("datasets publish my-env/ppo-v1 --repo OWNER/NAME --dry-run"),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
@click.option(
    "--repo", required=True, metavar="OWNER/NAME", help="Dataset repository on the Hub; created if it does not exist."
)
@click.option("--dry-run", is_flag=True, help="Print what would change, without changing it.")
def publish_dataset(name: str, repo: str, dry_run: bool) -> None:
    """Publish a dataset as a version of a Hub repository: shards, manifest, index, card, and a tag.

    A version is never overwritten and a tag never moved. Repeat the command to continue an interrupted upload.
    """
    from ...registry.hub.publish import catalog_lines, publish
    from ...registry.loading import load_dataset

    dataset = load_dataset(name, download=False)
    with Bars() as bars:
        plan, location = publish(dataset, repo, dry_run=dry_run, progress=bars.stage)
    for line in plan.lines():
        echo(line)
    if location is None:
        echo("Dry run; nothing was changed.")
    else:
        echo(f"\nPublished at {location}. The catalog entry:\n")
        click.echo(catalog_lines(dataset, location), nl=False)


@click.command(
    "yank",
    epilog=examples("datasets yank my-env/ppo-v1 --reason 'wrong seeds'"),
    short_help="Withdraw a version of a dataset.",
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@click.option("--reason", required=True, help="The reason, in one line.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def yank_dataset(name: str, reason: str, as_json: bool) -> None:
    """Withdraw a version: using it warns, and leaderboard rows that used it are greyed. Nothing is deleted."""
    from ...registry.hub.yank import yank
    from ...registry.loading import parse_reference

    yanked, path, commit = yank(parse_reference(name), reason)
    if as_json:
        click.echo(json.dumps({"name": yanked, "catalog": str(path), "commit": commit}))
        return
    echo(f"{yanked} is yanked in {path}; commit that file.")
    if commit:
        echo(f"The dataset card on the Hub was updated too (commit {commit}).")
