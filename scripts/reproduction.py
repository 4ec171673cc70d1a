"""Write docs/reproduction.md: TIPL as published, in the paper's presentation and in the suite's protocol.

    python scripts/reproduction.py DATASET... [--budget paper --device cuda]
    python scripts/reproduction.py DATASET... --ablation DATASET --seeds 0,1,2

Everything is kept in a folder (`--runs`) and made once: the same command goes on after an interruption, and renders the
page again in seconds when all is there.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.tipl import TIPLPooled
from tipl_bench.benchmark.paper import ablation
from tipl_bench.benchmark.paper.page import render, section
from tipl_bench.benchmark.paper.presentation import CONTEXT, Presentation, present
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.protocol import protocol as protocol_of
from tipl_bench.benchmark.run import run
from tipl_bench.cli.runs.run import Seeds
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.progress import ProgressLines

PREDICTORS = ("tipl", "tipl-pooled", "persistence")
"""What is run in the suite's protocol beside the presentation."""


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--budget", default="quick", show_default=True, help="Training budget of the TIPLs; `paper` needs CUDA.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--windows", default=20, show_default=True, help="Origins of each test trial, uniform in time.")
@click.option("--protocol", "version", default=CURRENT.version, show_default=True, help="Version.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/reproduction"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs"), show_default=True)
@click.option("--ablation", "ablated", help="Dataset of the ablation tables.")
@click.option("--seeds", type=Seeds(), default="0", show_default=True, help="Seeds of the ablation: 0-2 or 0,1,2.")
@click.option("--run-ablation/--no-run-ablation", default=True, help="Run what the tables lack, or leave it out.")
@click.option("--limit", type=int, help="Run so many missing runs of the ablation.")
def main(
    datasets: tuple[str, ...],
    budget: str,
    device: str,
    windows: int,
    version: int,
    runs: Path,
    out: Path,
    ablated: str | None,
    seeds: tuple[int, ...],
    run_ablation: bool,
    limit: int | None,
) -> None:
    """Present, run and render."""
    progress, rules = ProgressLines(), protocol_of(version)
    updates = build_options(TIPLPooled, budget, (), CONTEXT).steps
    sections = []
    for name in datasets:
        dataset = load_dataset(name)
        folder = runs / dataset.name.replace("/", "--")
        rows = present(
            Presentation(dataset, folder / f"paper-{budget}", budget, device=device, windows=windows), progress
        )
        suite = {}
        for model in PREDICTORS:
            place = folder / f"{model}-{budget}{rules.suffix}"
            suite[model] = run(
                model, dataset, budget=budget, device=device, out=place, protocol=rules, progress=progress
            )
        sections.append(section(dataset, rows, suite, budget=budget, updates=updates, folder=out / "reproduction"))
    tables = {}
    if ablated:
        dataset = load_dataset(ablated)
        folder = runs / dataset.name.replace("/", "--") / "ablation"
        if run_ablation:
            ablation.ablate(dataset, folder, seeds, protocol=rules, limit=limit, progress=progress)
        tables = ablation.finished(dataset, folder, seeds, protocol=rules)
    kept = [word for word in sys.argv[1:] if word not in ("--no-run-ablation",)]
    click.echo(render(sections, tables, shlex.join(["python", "scripts/reproduction.py", *kept]), out))


if __name__ == "__main__":
    main()
