"""`tipl-bench datasets show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..completion import complete_datasets
from ..groups import examples
from ..output import console, echo, print_fields

if TYPE_CHECKING:
    from ...registry.collection_config import CollectionConfig, ImportedCollection
    from ...registry.loading import DatasetView
    from ...registry.manifest import Manifest

CURVE_WIDTH, LABEL_WIDTH = 64, 10
"""Characters that training returns take, and those that are left for numbers beside them."""
CURVES = 10
"""Trials whose training returns are drawn; remote ones cost a request each."""


@click.command(
    "show",
    short_help="Show a dataset and its training returns.",
    epilog=examples("datasets show inverted-pendulum/ppo-head-v1", "datasets show hf://datasets/OWNER/NAME"),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and digest as JSON.")
def show_dataset(name: str, as_json: bool) -> None:
    """Show a dataset's manifest, digests and training returns, without downloading it.

    Of a dataset on the Hub, only the manifest and the training returns are read, by range requests.
    """
    from ...registry.loading import parse_reference, view_dataset
    from ...registry.views.statistics import return_statistics, terminal_curves

    view = view_dataset(parse_reference(name))
    manifest = view.manifest
    if as_json:
        document = {"digest": view.identity.digest, "former_digest": view.identity.former_digest, "where": view.where}
        document |= {"manifest": json.loads(manifest.to_json())}
        click.echo(json.dumps(document, indent=1))
        return
    print_fields(_described(view))
    count = len(manifest.trials)
    drawn = min(CURVES, count)
    chosen = [round(i * (count - 1) / max(1, drawn - 1)) for i in range(drawn)]
    returns = {trial: columns["episodic_return"] for trial, columns in view.columns(chosen).items()}
    width = min(CURVE_WIDTH, console().width - LABEL_WIDTH)
    lines = terminal_curves(list(returns.values()), width=width) if returns else []
    if lines:
        statistics = return_statistics(returns)
        title = f"training return, {len(returns)} of {count} trials: mean █, range ·; "
        title += f"final {statistics.final_mean:,.1f} ± {statistics.final_deviation:,.1f}"
        echo(f"\n{title}")
        click.echo("\n".join(lines))


def _described(view: DatasetView) -> dict[str, str]:
    """The dataset's fields, as they are printed."""
    manifest = view.manifest
    split, config = manifest.split, manifest.collection
    size, here = sum(file.size for file in view.files), view.trials_here
    partly = "" if here is None or len(here) == len(manifest.trials) else f"; {as_runs(here)} of the trials are here"
    imported = config.algorithm == "external"
    derived_from = {"truncated from": manifest.cut_from, "extends": manifest.extends}
    return {
        "dataset": manifest.name,
        "digest": str(view.identity),
        "where": view.where,
        "environment": manifest.environment,
        "licence": manifest.licence,
        "trials": f"{len(split.train)} train, {len(split.validation)} validation, {len(split.test)} test",
        "checkpoints": f"{manifest.checkpoints} a trial, {_spacing(config)}",
        "policy": f"{' x '.join(map(str, manifest.layout.sizes))}, {manifest.activation}, {manifest.distribution}, P = "
        f"{manifest.layout.parameter_count:,}",
        "tensors": ", ".join(f"{name} {list(t.shape)} {t.dtype}" for name, t in manifest.trials[0].tensors.items()),
        **_training(manifest),
        **{what: f"{origin.name} ({origin.digest[:12]})" for what, origin in derived_from.items() if origin},
        "made from": "; ".join(
            f"trials {as_runs([*s.trials])} of {s.name} ({s.digest[:12]})" for s in manifest.made_from
        ),
        "size": f"{size:,} bytes ({size / 1e6:,.1f} MB) in {len(view.files)} files{partly}",
        f"{'imported' if imported else 'collected'} with": ", ".join(f"{k} {v}" for k, v in manifest.versions.items())
        + f" on {manifest.cpu}",
    }


def _spacing(config: CollectionConfig | ImportedCollection) -> str:
    """How often a checkpoint was stored."""
    if config.algorithm == "external":
        return "as recorded"
    return f"one every {config.checkpoint_every_epochs} of {config.hyperparameters.epochs} epochs of an iteration"


def _training(manifest: Manifest) -> dict[str, str]:
    """How the policies were trained, as far as it is known."""
    config = manifest.collection
    seeds = f"seeds {manifest.trial_seeds[0]} to {manifest.trial_seeds[-1]}"
    if config.algorithm == "external":
        clip = config.observation_clip
        return {
            "trained by": f"{config.description}; up to {config.trained_steps:,} environment steps"
            + ("" if "seed" in config.absent else f", {seeds}"),
            "observations": "not cut" if clip is None else f"normalised ones cut to +-{clip:g}",
            "not recorded": ", ".join(name.replace("_", " ") for name in config.absent) or "-",
        }
    method = f" with {config.method.label}" if config.method else ""
    return {
        "algorithm": f"{config.algorithm}{method}, {config.trained_steps:,} environment steps, {seeds}",
        "hyperparameters": ", ".join(f"{k}={v}" for k, v in config.hyperparameters.model_dump().items()),
    }


def as_runs(numbers: list[int]) -> str:
    """Numbers as runs: `0-49, 52`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)
