"""What `tipl-bench datasets list --store` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..output import console, echo

if TYPE_CHECKING:
    from ...registry.loading import StoredDataset

DIGEST_PREFIX = 12
"""Characters of a digest that are printed."""


def print_store(*, as_json: bool) -> None:
    """Print the datasets in the store, and how many returns of policies it holds."""
    from ...benchmark.forecast.policy_returns import cached_returns
    from ...registry.loading import stored_datasets
    from ...registry.locations import cache_root

    found, root, returns = stored_datasets(), str(cache_root()), cached_returns()
    if as_json:
        document = {"store": root, "cached_returns": returns, "datasets": [_fields(one) for one in found]}
        click.echo(json.dumps(document, indent=1))
        return
    if found:
        _print_table([_fields(one) for one in found])
        echo("\nT: checkpoints a trial. P: parameters of a policy. MB: 10^6 bytes on the disk.")
    else:
        echo("No dataset is in the store.")
    echo(f"{returns:,} returns of policies are cached. The store is {root}")


def _fields(stored: StoredDataset) -> dict[str, Any]:
    """A dataset as JSON has it."""
    about: dict[str, Any] = {
        "reference": stored.reference,
        "bytes": stored.bytes,
        "disk_bytes": stored.disk_bytes,
        "damage": stored.damage or None,
    }
    if dataset := stored.dataset:
        about |= {
            "name": dataset.name,
            "version": dataset.manifest.version,
            "environment": dataset.environment,
            "trials": len(dataset),
            "trials_here": len(dataset.trials_here),
            "checkpoints": dataset.manifest.checkpoints,
            "parameters": dataset.layout.parameter_count,
            "digest": dataset.digest,
            "verified": stored.verified,
            "derived": [*stored.derived],
        }
    return about


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ...utils.tables import RULE

    table = Table(box=RULE, show_edge=False, header_style="bold", pad_edge=False, expand=True)
    table.add_column("dataset", ratio=1, overflow="fold")
    for title in ("trials", "T", "P", "MB"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        what = Text.assemble(row["reference"], "\n", (_described(row), "red" if row["damage"] else "dim"))
        table.add_row(what, *_counts(row), f"{row['disk_bytes'] / 1e6:,.1f}")
    console().print(table)


def _counts(row: dict[str, Any]) -> list[str]:
    if row["damage"]:
        return ["-", "-", "-"]
    here = "" if row["trials_here"] == row["trials"] else f"{row['trials_here']} of "
    return [f"{here}{row['trials']}", f"{row['checkpoints']:,}", f"{row['parameters']:,}"]


def _described(row: dict[str, Any]) -> str:
    """The line below a dataset's name."""
    from ...utils.text import one_line

    if row["damage"]:
        return one_line(f"damaged: {row['damage']}", 300)
    verified = "verified" if row["verified"] else "not verified here"
    derived = f"returns of protocol {' and '.join(map(str, row['derived']))}" if row["derived"] else "no cached returns"
    name = "" if row["reference"] == row["name"] else f"{row['name']}, "
    return f"{name}digest {row['digest'][:DIGEST_PREFIX]}, {verified}, {derived}"
