"""Write docs/paper-budget.md from what is kept of the training that it shows.

    python scripts/paper_budget.py
    python scripts/paper_budget.py --fit DATASET --device cuda --kept FOLDER

The first renders the page in seconds. The second trains and presents the model anew, ten minutes on an H200 and as
much again of a processor for the returns; it goes on where it was interrupted.
"""

from __future__ import annotations

from pathlib import Path

import click
from tipl_bench.benchmark.paper.budget import make, render
from tipl_bench.benchmark.request import resolve_device
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import TiplBenchError


@click.command()
@click.option("--fit", "dataset", help="Fit and present the model on this dataset first: a name, or a folder.")
@click.option("--device", default="cuda", show_default=True, help="Of the fit.")
@click.option(
    "--kept", type=click.Path(path_type=Path), default=Path("docs/reproduction/paper-budget"), show_default=True
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(dataset: str | None, device: str, kept: Path, out: Path) -> None:
    """Render the page and its figure."""
    try:
        if dataset:
            make(load_dataset(dataset), kept, resolve_device(device))
        click.echo(render(kept, out))
    except TiplBenchError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
