"""`tipl-bench optimizers train`: meta-training of a learned optimizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import complete_devices
from ..groups import examples
from ..options import Seeds, budget_option, engine_option, json_option
from ..output import Bars, console, echo, quiet_option

if TYPE_CHECKING:
    from ...benchmark.meta_training.run import MetaRun


@click.command(
    "train",
    short_help="Meta-train a learned optimizer.",
    epilog=examples(
        "optimizers train optim4rl --budget quick",
        "optimizers train optim4rl --set objective=reward --seed 1",
        "optimizers train optim4rl --seeds 0-2 --engine ray",
    ),
)
@click.argument("name")
@budget_option
@click.option("--seed", type=click.IntRange(0), help="Meta-seed. [default: 0]")
@click.option("--seeds", type=Seeds(), metavar="LIST", help="Several meta-seeds side by side: 0-2 or 0,1,2.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set an option; repeatable.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="NAME",
    shell_complete=complete_devices,
    help="Where it is computed: auto, cpu or cuda; cpu on a cluster.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder, or that of the runs seed<N> of several. [default: runs/meta-training/...]",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Processes at once. [default: all cores]")
@engine_option
@quiet_option
@json_option
def train_optimizer(
    name: str,
    budget: str,
    seed: int | None,
    seeds: tuple[int, ...] | None,
    settings: tuple[str, ...],
    device: str,
    out: Path | None,
    threads: int | None,
    engine: str,
    as_json: bool,
) -> None:
    """Meta-train a learned optimizer on gridworlds, from scratch, and keep what was best on validation agents.

    A process on one thread, or with a GPU, for each seed; on a Ray cluster each takes one core. Repeating the command
    resumes interrupted runs. `tipl-bench optimizers NAME` lists the options.
    """
    from ...benchmark.meta_training.seeds import meta_train_seeds

    if seed is not None and seeds:
        raise click.UsageError("Give --seed or --seeds, not both.")
    with Bars() as bars:
        runs = meta_train_seeds(
            name,
            seeds or (seed or 0,),
            budget=budget,
            options=settings,
            device=device,
            out=out,
            threads=threads,
            engine=engine,
            progress=bars.stage,
        )
    if as_json:
        found = [run.record.model_dump(mode="json") for run in runs]
        click.echo(json.dumps(found if seeds else found[0], indent=1))
        return
    for run in runs:
        _print(run)


def _print(run: MetaRun) -> None:
    record = run.record
    before, kept = map(record.validation, (0, record.selected))
    echo(
        f"reward of a step, validation agents of seed {record.key.seed}: {kept.mean:.4f} after {record.selected} "
        f"meta-iterations, {before.mean:.4f} before"
    )
    echo(f"{record.environment_steps:,} environment steps, {record.cpu_seconds:.0f} CPU seconds")
    console().print(f"weights: {run.parameters}\ncurve: {run.folder / 'curve.svg'}", style="dim", soft_wrap=True)
