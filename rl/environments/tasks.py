"""The tasks with batched physics; Gymnasium's own classes are their oracle: same seed, same actions, equal bits."""

from __future__ import annotations

from ...utils.errors import UnknownNameError
from .bodies import Ant, Humanoid, Reacher
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
    Reacher(),
    Ant(),
    Humanoid(),
    InvertedPendulum("InvertedPendulum-v5", failing_step_rewarded=False),
    InvertedDoublePendulum("InvertedDoublePendulum-v5", failing_step_rewarded=False, forces_observed=1),
    HalfCheetah("HalfCheetah-v5"),
    Hopper(environment_id="Hopper-v5", failing_step_rewarded=False),
    Swimmer("Swimmer-v5"),
    Walker2d(environment_id="Walker2d-v5", failing_step_rewarded=False, model_file="walker2d_v5.xml"),
    Reacher("Reacher-v5", distance_after_step=True, vector_observed=2),
    Ant("Ant-v5", contact_forces=True),
    Humanoid("Humanoid-v5", failing_step_rewarded=False, first_body=1, first_actuated=6, contact_weight=5e-7),
)

TASKS: dict[str, Task] = {task.environment_id: task for task in _ALL}


def task(environment_id: str) -> Task:
    """The batched task of an environment id; raises `UnknownNameError` if there is none."""
    if environment_id not in TASKS:
        raise UnknownNameError("batched environment", environment_id, TASKS)
    return TASKS[environment_id]


__all__ = ["TASKS", "task"]
