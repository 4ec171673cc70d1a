"""Write docs/scaling.md from what is kept of its runs: skill against training trials, steps and learned parameters.

    python scripts/scaling.py
    python scripts/scaling.py --fit [--limit=4]
    python scripts/scaling.py --fit --predictors mlp,tipl-neuron --trials 30,480 --seeds 0 --kept FOLDER --out FOLDER

The first renders the page in seconds. The second first makes the runs that are not kept yet, which all together takes
hours, and keeps what they came to; it goes on where it was interrupted (`--runs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from tipl_bench.benchmark.paper.scaling import PREDICTORS, Study, keep, missing, scale
from tipl_bench.benchmark.paper.scaling_page import render
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.cli.runs.run import Seeds
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import TiplBenchError
from tipl_bench.utils.progress import ProgressLines
from tipl_bench.utils.text import first_error


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
@click.option("--fit", is_flag=True, help="Make the runs that are missing first.")
@click.option("--dataset", default="inverted-pendulum/ppo-head-v1", show_default=True)
@click.option("--fit-on", default="inverted-pendulum/ppo-head-500-v2", show_default=True)
@click.option("--predictors", default=",".join(PREDICTORS), show_default=True)
@click.option("--trials", type=Numbers(), default="30,100,300,480", show_default=True, help="Training trials.")
@click.option("--steps", type=Numbers(), default="1,4", show_default=True, help="Factors of the budget's steps.")
@click.option("--widths", type=Numbers(), default="1,2", show_default=True, help="Factors of the usual width.")
@click.option("--seeds", type=Seeds(), default="0-2", show_default=True)
@click.option("--budget", default="quick", show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--protocol", "version", default=CURRENT.version, show_default=True, help="Version.")
@click.option("--limit", type=click.IntRange(1), help="Make so many of the missing runs, as --limit=4.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/scaling"), show_default=True)
@click.option("--kept", type=click.Path(path_type=Path), default=Path("docs/scaling"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(
    fit: bool,
    fit_on: str,
    predictors: str,
    device: str,
    limit: int | None,
    runs: Path,
    kept: Path,
    out: Path,
    **varied: Any,
) -> None:
    """Make runs and render."""
    try:
        if fit:
            dataset, fit_set = load_dataset(varied["dataset"]), load_dataset(fit_on)
            study = Study(
                fit_set=fit_on,
                predictors=tuple(predictors.split(",")),
                digest=dataset.digest,
                fit_digest=fit_set.digest,
                **varied,
            )
            scale(study, dataset, fit_set, runs, kept, device=device, limit=limit, progress=ProgressLines())
            keep(study, runs, kept)
            left = len([*missing(study, runs, kept)])
            click.echo(f"{left} runs are missing" if left else "all runs are there", err=True)
        click.echo(render(kept, out))
    except ValidationError as error:
        raise click.ClickException(first_error(error, "study")) from None
    except TiplBenchError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
