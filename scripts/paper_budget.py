"""Write docs/paper-budget.md from what is kept of a training that took a GPU.

    python scripts/paper_budget.py

docs/reproduction/paper-budget/ holds the fitted model and the rows of its presentation; on a CUDA device,
`python scripts/reproduction.py inverted-pendulum/ppo-v2 --budget paper --device cuda` fits and presents it anew.
"""

from __future__ import annotations

from pathlib import Path

import click
from tipl_bench.benchmark.paper.budget import PaperBudget, render


@click.command()
@click.option("--kept", type=click.Path(path_type=Path), default=Path("docs/reproduction/paper-budget"))
@click.option("--environment", default="InvertedPendulum-v4", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
def main(kept: Path, environment: str, out: Path) -> None:
    """Render the page and its figure."""
    click.echo(render(PaperBudget(kept), environment, out))


if __name__ == "__main__":
    main()
