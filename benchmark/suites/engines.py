"""Engines by name."""

from __future__ import annotations

from ...utils.engines.cluster import LOCAL, open_cluster
from ...utils.errors import OptionError
from .engine import Engine, LocalEngine
from .ray_engine import RayEngine


def build_engine(name: str, jobs: int = 1) -> Engine:
    """An engine by name: `local`, `ray` for the cluster that Ray finds, or the address of one.

    Raises
    ------
    OptionError
        For several jobs of another engine than the local one.
    UnknownNameError, TiplBenchError
        See `open_cluster`.
    """
    if jobs != 1 and name != LOCAL:
        raise OptionError(f"The number of jobs is the local engine's; {name} performs a task on each node.")
    cluster = open_cluster(name)
    return RayEngine(cluster) if cluster else LocalEngine(jobs)
