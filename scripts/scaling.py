"""Write docs/scaling.md: skill against training trials, training steps and learned parameters.

    python scripts/scaling.py [--predictors mlp,tipl-neuron --trials 30,480 --seeds 0 --limit=4]

Everything is kept in a folder (`--runs`) and made once: the same command goes on after an interruption, and renders the
page again in seconds when all is there.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click
from tipl_bench.benchmark.paper.scaling import PREDICTORS, Scaling, finished, missing, render, scale
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.protocol import protocol as protocol_of
from tipl_bench.cli.runs.run import Seeds
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.progress import ProgressLines


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers."""
        try:
            return tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers, as 1,4 is.", param, ctx)


@click.command()
@click.option("--dataset", "dataset_name", default="inverted-pendulum/ppo-head-v1", show_default=True)
@click.option("--fit-on", default="inverted-pendulum/ppo-head-500-v1", show_default=True)
@click.option("--predictors", default=",".join(PREDICTORS), show_default=True)
@click.option("--trials", type=Numbers(), default="30,100,300,480", show_default=True, help="Training trials.")
@click.option("--steps", type=Numbers(), default="1,4", show_default=True, help="Factors of the budget's steps.")
@click.option("--widths", type=Numbers(), default="1,2", show_default=True, help="Factors of the usual width.")
@click.option("--seeds", type=Seeds(), default="0-2", show_default=True)
@click.option("--budget", default="quick", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--protocol", "version", default=CURRENT.version, show_default=True, help="Version.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/scaling"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@click.option("--limit", type=int, help="Make so many of the missing runs, as --limit=4; 0 only renders.")
def main(
    dataset_name: str,
    fit_on: str,
    predictors: str,
    trials: tuple[int, ...],
    steps: tuple[int, ...],
    widths: tuple[int, ...],
    seeds: tuple[int, ...],
    budget: str,
    device: str,
    version: int,
    runs: Path,
    out: Path,
    limit: int | None,
) -> None:
    """Run and render."""
    study = Scaling(
        load_dataset(dataset_name),
        load_dataset(fit_on),
        trials,
        predictors.split(","),
        seeds,
        steps,
        widths,
        budget,
        device,
        protocol_of(version),
    )
    scale(study, runs, limit=limit, progress=ProgressLines())
    left = len([*missing(study, runs)])
    click.echo(f"{left} runs are missing" if left else "all runs are there", err=True)
    words = [word for word in sys.argv[1:] if not word.startswith("--limit")]
    click.echo(render(study, finished(study, runs), shlex.join(["python", "scripts/scaling.py", *words]), out))


if __name__ == "__main__":
    main()
