"""Write docs/reproduction.md from what is kept of its runs: TIPL as published, the paper's way and the suite's.

    python scripts/reproduction.py
    python scripts/reproduction.py --fit DATASET --ablation DATASET --seeds 0-2 --kept FOLDER --out FOLDER

The first renders the page in seconds. The second presents, runs and ablates anew, which takes hours of two cores, and
keeps the results. It goes on where it was interrupted (`--runs`). `--fit` may be repeated.
"""

from __future__ import annotations

from pathlib import Path

import click
from tipl_bench.benchmark.paper import ablation
from tipl_bench.benchmark.paper.kept import keep_ablation, keep_section
from tipl_bench.benchmark.paper.page import render
from tipl_bench.benchmark.paper.presentation import Presentation, present
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.run import run
from tipl_bench.cli.runs.run import Seeds
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import TiplBenchError
from tipl_bench.utils.progress import ProgressLines

PREDICTORS = ("tipl", "tipl-pooled", "persistence")
"""What is run in the suite's protocol beside the presentation."""


@click.command()
@click.option("--fit", "shown", multiple=True, help="Present and run on this dataset first; repeatable.")
@click.option("--ablation", "ablated", help="Run the ablation on this dataset first.")
@click.option("--seeds", type=Seeds(), default="0", show_default=True, help="Seeds of the ablation: 0-2 or 0,1,2.")
@click.option("--limit", type=click.IntRange(1), help="Run so many missing runs of the ablation.")
@click.option("--budget", default="quick", show_default=True, help="Training budget of the TIPLs; `paper` needs CUDA.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--windows", type=click.IntRange(1), default=20, show_default=True, help="Origins of each test trial.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/reproduction"), show_default=True)
@click.option("--kept", type=click.Path(path_type=Path), default=Path("docs/reproduction"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(
    shown: tuple[str, ...],
    ablated: str | None,
    seeds: tuple[int, ...],
    limit: int | None,
    budget: str,
    device: str,
    windows: int,
    runs: Path,
    kept: Path,
    out: Path,
) -> None:
    """Render the page and its figures."""
    try:
        for name in shown:
            show(name, budget, device, windows, runs, kept)
        if ablated:
            dataset, progress = load_dataset(ablated), ProgressLines()
            folder = runs / dataset.name.replace("/", "--") / "ablation"
            ablation.ablate(dataset, folder, seeds, limit=limit, progress=progress)
            keep_ablation(ablation.finished(dataset, folder, seeds), kept)
        click.echo(render(kept, out))
    except TiplBenchError as error:
        raise click.ClickException(str(error)) from None


def show(name: str, budget: str, device: str, windows: int, runs: Path, kept: Path) -> None:
    """Present and run the models on one dataset, and keep the results."""
    dataset, progress = load_dataset(name), ProgressLines()
    folder = runs / dataset.name.replace("/", "--")
    presentation = Presentation(dataset, folder / f"paper-{budget}", budget, device=device, windows=windows)
    rows = present(presentation, progress)
    suite = {
        model: run(
            model,
            dataset,
            budget=budget,
            device=device,
            out=folder / f"{model}-{budget}{CURRENT.suffix}",
            progress=progress,
        )
        for model in PREDICTORS
    }
    keep_section(presentation, rows, suite, kept)


if __name__ == "__main__":
    main()
