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


def _trials(context: click.Context, option: click.Parameter, text: str | None) -> range | None:
    """Parse `0:10` or `7`."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}))?", text)
    if found is None or (found[2] is not None and int(found[2]) <= int(found[1])):
        raise click.BadParameter(f"{text!r} is not a range of trials; write FIRST:LAST+1, such as 0:10, or one number.")
    first = int(found[1])
    return range(first, int(found[2]) if found[2] is not None else first + 1)


@click.command(
    "download",
    short_help="Download a dataset and verify every byte.",
    epilog=examples("datasets download hopper/ppo-mini-v1", "datasets download hopper/ppo-mini-v1 --trials 0:10"),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
@click.option("--trials", callback=_trials, metavar="FIRST:END", help="Only these trials; 0:10 is the first ten.")
@click.option("--to", type=click.Path(path_type=Path), help="A folder to download into. [default: the store]")
def download_dataset(name: str, trials: range | None, to: Path | None) -> None:
    """Download a dataset and verify every byte; an interrupted download is continued.

    DATASET is a catalogued name (hopper/ppo-mini-v1, hopper/ppo-mini@v1 or hopper/ppo-mini-v1@COMMIT), or an
    address on the Hub: hf://datasets/OWNER/NAME[@REVISION].
    """
    from ...registry.catalog import identity_of
    from ...registry.loading import download_dataset, parse_reference

    with Bars() as bars:
        dataset = download_dataset(parse_reference(name), trials=trials, to=to, progress=downloading(bars))
    size = sum(entry.size for entry in dataset.contents(trials))
    count = len(dataset) if trials is None else len(trials)
    echo(
        f"{dataset.name}: {count} trials, {size:,} bytes in {dataset.folder}, all intact; digest {identity_of(dataset)}"
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


@click.command("yank", short_help="Withdraw a version of a dataset.")
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
