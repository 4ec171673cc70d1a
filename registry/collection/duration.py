"""How long a collection takes, as far as its configuration tells."""

from __future__ import annotations

from itertools import pairwise

from ...rl import TASKS, usable_threads
from ..collection_config import CollectionConfig
from .collect import blocks

SIMULATION = {
    "InvertedPendulum": 16.0,
    "Reacher": 18.0,
    "HalfCheetah": 26.0,
    "Swimmer": 45.0,
    "InvertedDoublePendulum": 57.0,
    "Hopper": 66.0,
    "Walker2d": 93.0,
    "Ant": 170.0,
    "Humanoid": 200.0,
}
"""Microseconds that one core of an Intel Xeon at 2.6 GHz takes for a step of one of many trials, on batched physics."""
UNBATCHED = {"CartPole-v1": 27.0}
"""The same of environments at Gymnasium's own speed that shipped collections are of."""
UPDATE, UPDATE_PER_WEIGHT = 3.0, 1.0e-3
"""Microseconds for the ten epochs of updates on that step: alone, and for each weight of actor and critic."""
VERSION_1, TWO_THREADS = 1.2, 1.5
"""How much longer version 1 takes on one thread, and how much faster it is on several."""
VERSION_3 = 1.9
"""How much longer a weight's update takes by version 3."""


def expected_seconds(config: CollectionConfig, threads: int | None = None) -> float | None:
    """Seconds that training a collection's policies takes on such cores; None for an environment of unknown cost.

    Parameters
    ----------
    config
        The collection.
    threads
        Cores to use; all usable ones by default.
    """
    threads = threads or usable_threads()
    batched = SIMULATION[config.environment.rpartition("-v")[0]] if config.environment in TASKS else None
    simulation = batched or UNBATCHED.get(config.environment)
    if simulation is None:
        return None
    weights = 2 * sum(inputs * outputs for inputs, outputs in pairwise((16, *config.hidden_sizes)))
    per_weight = UPDATE_PER_WEIGHT * (VERSION_3 if config.any_processor else 1)
    updates = (UPDATE + per_weight * weights) * config.hyperparameters.epochs / 10
    one_core = 1e-6 * config.trials * config.trained_steps * (simulation + updates)
    if config.version == 1:
        return one_core * VERSION_1 / (TWO_THREADS if threads > 1 else 1.0)
    return one_core / min(threads, len(blocks(config, range(config.trials))))


def describe_seconds(seconds: float) -> str:
    """A duration as people say it: `about 1 minute`, `about 2 hours 20 minutes`."""
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes if minutes < 60 else 10 * round(minutes / 10), 60)
    parts = [(hours, "hour"), (minutes, "minute")]
    return "about " + " ".join(f"{n} {unit}{'s' if n > 1 else ''}" for n, unit in parts if n)
