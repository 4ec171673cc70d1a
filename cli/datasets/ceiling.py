"""`tipl-bench datasets ceiling`."""

from __future__ import annotations

from pathlib import Path

import click

from ..completion import complete_datasets
from ..groups import examples
from ..options import protocol_option
from ..output import Bars, console, echo, quiet_option


@click.command(
    "ceiling",
    short_help="Measure the best forecast anyone could make.",
    epilog=examples(
        "datasets ceiling inverted-pendulum/ppo-head-v1", "datasets ceiling hopper/ppo-mini-v2 --phase all"
    ),
)
@click.argument("name", metavar="DATASET", shell_complete=complete_datasets)
@quiet_option
@protocol_option
@click.option(
    "--phase",
    type=click.Choice(["learning", "converged", "all"]),
    default="learning",
    show_default=True,
    help="Windows to branch.",
)
@click.option("--copies", type=int, default=32, show_default=True, help="Continuations of each window.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of their random streams.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Branch N windows, spread evenly, instead of all.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the document to this file.")
def dataset_ceiling(
    name: str, version: int | None, phase: str, copies: int, seed: int, limit: int | None, out: Path | None
) -> None:
    """Measure the branching ceiling of a dataset, or continue an interrupted measurement.

    From the origin of every window of the test trials, with the whole training state, training is continued --copies
    times with fresh random streams. The mean of the continuations is the best forecast that anyone could make; the
    ceiling is its skill. One that ships with the package is printed at once. That of a board is of all windows of the
    learning phase.
    """
    from ...benchmark.ceiling.compute import branching_ceiling
    from ...benchmark.ceiling.table import render
    from ...benchmark.forecast.windows import PHASES
    from ...benchmark.protocol import CURRENT, protocol
    from ...registry.loading import load_dataset
    from ...utils.files import write_text

    if out and not out.absolute().parent.is_dir():  # before an hour's work
        raise click.BadParameter(f"there is no folder {out.absolute().parent}.", param_hint="--out")
    chosen = protocol(CURRENT if version is None else version)
    phases = [one for one in PHASES if phase in (one, "all")]
    dataset = load_dataset(name)
    with Bars() as bars:
        found = branching_ceiling(
            dataset, chosen, phases=phases, copies=copies, seed=seed, limit=limit, progress=bars.stage
        )
    console().print(render(found))
    if out:
        write_text(out, found.to_json())
        echo(f"wrote {out}")
