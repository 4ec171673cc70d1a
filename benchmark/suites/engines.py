"""Engines by name."""

from __future__ import annotations

from ...utils.errors import OptionError, UnknownNameError
from .engine import Engine, LocalEngine
from .ray_engine import RayEngine


def build_engine(name: str, jobs: int = 1) -> Engine:
    """An engine by name: `local`, `ray` for the cluster that Ray finds, or the address of one.

    Raises
    ------
    UnknownNameError
        If it is none of these.
    OptionError
        For several jobs of another engine than the local one.
    TiplBenchError
        See `RayEngine`.
    """
    if name == "local":
        return LocalEngine(jobs)
    if jobs != 1:
        raise OptionError(f"The number of jobs is the local engine's; {name} performs a task on each node.")
    if name != "ray" and ":" not in name:
        raise UnknownNameError("engine", name, ["local", "ray", "HOST:PORT", "ray://HOST:PORT"])
    return RayEngine(None if name == "ray" else name)
