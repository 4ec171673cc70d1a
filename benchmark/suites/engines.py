"""Engines by name."""

from __future__ import annotations

from ...utils.errors import UnknownNameError
from .engine import Engine, LocalEngine
from .ray_engine import RayEngine


def build_engine(name: str, jobs: int = 1) -> Engine:
    """An engine by name: `local`, `ray` for the cluster that Ray finds, or the address of one.

    Raises
    ------
    UnknownNameError
        If it is none of these.
    TiplBenchError
        See `RayEngine`.
    """
    if name == "local":
        return LocalEngine(jobs)
    if name != "ray" and ":" not in name:
        raise UnknownNameError("engine", name, ["local", "ray", "HOST:PORT", "ray://HOST:PORT"])
    return RayEngine(None if name == "ray" else name)
