"""The tasks with batched physics; Gymnasium's own classes are their oracle: same seed, same actions, equal bits."""

from __future__ import annotations

from ...utils.errors import UnknownNameError
from .locomotion import HalfCheetah, Hopper, Swimmer, Walker2d
from .pendulums import InvertedDoublePendulum, InvertedPendulum
from .task import Task

_ALL: tuple[Task, ...] = (
    InvertedPendulum(),
    InvertedDoublePendulum(),
    HalfCheetah(),
    Hopper(),
    Swimmer(),
    Walker2d(),
)

TASKS: dict[str, Task] = {task.environment_id: task for task in _ALL}


def task(environment_id: str) -> Task:
    """The batched task of an environment id; raises `UnknownNameError` if there is none."""
    if environment_id not in TASKS:
        raise UnknownNameError("batched environment", environment_id, TASKS)
    return TASKS[environment_id]


__all__ = ["TASKS", "task"]
