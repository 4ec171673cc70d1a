"""Write the numbers of docs/optim4rl.md from what is kept of meta-training, of gridworlds and of the training track.

    python scripts/optim4rl.py
    python scripts/optim4rl.py --run [--worlds small_dense_long,small_dense_short]

The first renders the page in seconds. The second first makes the results that are not kept yet, which takes minutes a
gridworld, and keeps them; it goes on where it was interrupted.
"""

from __future__ import annotations

from pathlib import Path

import click
from tipl_bench.benchmark.meta_training.page import TRAINING, TRANSFER, complete, render
from tipl_bench.utils.errors import TiplBenchError


@click.command()
@click.option("--run", is_flag=True, help="Make the results that are missing first.")
@click.option("--worlds", default=",".join((TRAINING, *TRANSFER)), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@click.option(
    "--training",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("leaderboard/results/training"),
    show_default=True,
    help="Records of the training track.",
)
def main(run: bool, worlds: str, out: Path, training: Path) -> None:
    """Make results and render."""
    try:
        for done in complete(out, worlds.split(",")) if run else ():
            click.echo(done, err=True)
        click.echo(render(out, training))
    except TiplBenchError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
