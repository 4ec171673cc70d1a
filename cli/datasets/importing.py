"""`tipl-bench datasets import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..groups import examples
from ..output import Bars, echo, quiet_option


@click.command(
    "import",
    short_help="Import policies trained elsewhere as a dataset.",
    epilog=examples("datasets import DIR --name my/ppo-v1 --env Hopper-v4 --about SB3"),
)
@click.argument("folder", type=click.Path(path_type=Path))
@quiet_option
@click.option("--name", required=True, metavar="ENV/COLLECTION-vN", help="The dataset's name.")
@click.option("--environment", "--env", required=True, metavar="ID", help="Gymnasium id of the environment.")
@click.option("--description", "--about", required=True, metavar="TEXT", help="How they were trained, in words.")
@click.option("--licence", default="unknown", show_default=True, metavar="SPDX", help="Licence of the policies.")
@click.option("--no-normaliser", is_flag=True, help="The policies act on raw observations.")
@click.option(
    "--observation-clip",
    type=float,
    metavar="X",
    help="Normalised observations are cut to +-X; inf: nowhere. [default: 10, raw ones: inf]",
)
@click.option(
    "--learning-rate", type=float, metavar="RATE", help="The learning rate, if constant and not in the files."
)
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME", help="A layer of the policy; repeat, input to output."
)
@click.option("--log-std", metavar="NAME", help="The policy's log-std, with --layer. [default: log_std]")
@click.option("--checkpoints", type=click.IntRange(1), metavar="N", help="Only the first N of each trial.")
@click.option("--to", type=click.Path(path_type=Path), help="A folder to write. [default: the store]")
def import_dataset(folder: Path, name: str, no_normaliser: bool, to: Path | None, **stated: Any) -> None:
    """Import policies that were trained elsewhere as a dataset.

    FOLDER holds one safetensors file a trial, as tipl_bench.TrajectoryRecorder writes it, or one folder a trial with
    one safetensors file a checkpoint, named by its environment steps. Parameters are found by the names that CleanRL
    and Stable-Baselines3 give them, or by --layer. What is not in the files and not stated is declared absent.
    """
    from ...benchmark.collection import import_dataset

    with Bars() as bars:
        dataset = import_dataset(folder, name, normaliser=not no_normaliser, to=to, progress=bars.stage, **stated)
    layers, absent = " x ".join(map(str, dataset.layout.sizes)), dataset.manifest.collection.absent
    echo(
        f"{dataset.name}: {len(dataset)} trials of {dataset.manifest.checkpoints} checkpoints, {layers} tanh policies, "
        f"in {dataset.folder}; digest {dataset.digest}"
    )
    if absent:
        echo(f"Declared absent: {', '.join(name.replace('_', ' ') for name in absent)}.")
