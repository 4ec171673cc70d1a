"""Final training returns of collected datasets, as a table row each: `python docs/cleanrl_table.py NAME...`."""

from __future__ import annotations

import sys

import numpy as np
from tipl_bench.registry.loading import load_dataset

ITERATIONS = 50  # of about two episodes each: the last 100


def main(names: list[str]) -> None:
    """Print mean and standard deviation over trials, and every trial's own."""
    for name in names:
        dataset = load_dataset(name, download=False)
        collection = dataset.manifest.configuration
        rows = ITERATIONS * collection.hyperparameters.epochs // collection.checkpoint_every_epochs
        finals = np.array([np.nanmean(trial.columns["episodic_return"][-rows:]) for trial in dataset.trials()])
        each = ", ".join(f"{value:.0f}" for value in np.sort(finals))
        print(f"| {dataset.environment} | {finals.mean():.2f} ± {finals.std(ddof=1):.2f} ({each}) |")


main(sys.argv[1:])
