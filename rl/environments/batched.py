"""Many episodes of one MuJoCo task stepped together on `mujoco.batch`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from functools import cache

import mujoco
import numpy as np
import numpy.typing as npt
from mujoco.batch import Batch

from .task import Bool, Float32, Float64, State, Task, model_path

Index = npt.NDArray[np.intp]

logger = logging.getLogger(__name__)


_loading = threading.Lock()


@contextlib.contextmanager
def compiler_warnings_logged(what: str) -> Iterator[None]:
    """Send MuJoCo's warnings on loading a model to the log, not to the terminal and a file in the working folder.

    One thread at a time: the handler is the process's, and MuJoCo aborts if it is replaced while it is called.
    """
    with _loading:
        previous = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda text: logger.info("%s: %s", what, text))
        try:
            yield
        finally:
            mujoco.set_mju_user_warning(previous)


@cache
def load_model(task: Task) -> mujoco.MjModel:
    """The task's MuJoCo model, loaded once a process."""
    with compiler_warnings_logged(task.model_file):
        return mujoco.MjModel.from_xml_path(str(model_path(task)))


class BatchedEnvironment:
    """N episodes of one task, bit-equal to N Gymnasium environments stepped one by one.

    Episodes are never reset on their own: the caller sees every final observation and says which to reset.

    Parameters
    ----------
    task
        The task, an entry of `rl.environments.tasks.TASKS`.
    seeds
        One seed an episode stream; stream i draws what `gymnasium.make(id).reset(seed=seeds[i])` and the
        resets after it draw.
    threads
        Physics threads; results do not depend on it.
    """

    def __init__(self, task: Task, seeds: Sequence[int], *, threads: int = 1) -> None:
        self.task = task
        model = load_model(task)
        data = mujoco.MjData(model)
        self._initial = (data.qpos.copy(), data.qvel.copy())
        self._batch = Batch(model, len(seeds), nthread=threads)
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._control = self._batch.bind("ctrl")
        self._state: State = {name: self._batch.bind(name) for name in task.state_fields}
        self._dt = model.opt.timestep * task.frame_skip
        self.elapsed_steps = np.zeros(len(seeds), dtype=np.int64)
        # What gymnasium.utils.seeding.np_random builds from a seed.
        self.streams = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(s)))) for s in seeds]
        limits = model.actuator_ctrlrange.astype(np.float32)
        self.action_low, self.action_high = limits[:, 0].copy(), limits[:, 1].copy()
        self.action_size = int(model.nu)
        self.observation_size = task.observe(self._rows(np.arange(1))).shape[1]
        self._all: Index = np.arange(len(seeds))

    def __len__(self) -> int:
        return len(self.streams)

    def reset(self, ids: Index | None = None) -> Float64:
        """Start new episodes of the simulations `ids` (all by default); returns their observations [n, O]."""
        ids = self._all if ids is None else ids
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        for i in ids:
            self._qpos[i], self._qvel[i] = self.task.initial_state(self.streams[i], *self._initial)
        self._batch.forward(ids)
        self.elapsed_steps[ids] = 0
        return self.task.observe(self._rows(ids))

    def step(self, action: Float32, ids: Index | None = None) -> tuple[Float64, Float64, Bool, Bool]:
        """Advance the simulations `ids` (all by default) by one environment step.

        Parameters
        ----------
        action
            Controls [n, A], float32, already inside the action bounds.
        ids
            The simulations to step, [n], ascending.

        Returns
        -------
        observation, reward, terminated, truncated
            Shapes [n, O], [n], [n], [n], as Gymnasium's `step` gives them behind its time limit.
        """
        if ids is None:
            # Whole-batch views and copies are several times cheaper than fancy indexing.
            before = self._qpos.copy()
            self._control[:] = action
            self._batch.step(nstep=self.task.frame_skip)
            self.elapsed_steps += 1
            state, elapsed = self._state, self.elapsed_steps
        else:
            before = self._qpos[ids]
            self._control[ids] = action
            self._batch.step(ids, nstep=self.task.frame_skip)
            self.elapsed_steps[ids] += 1
            state, elapsed = self._rows(ids), self.elapsed_steps[ids]
        observation = self.task.observe(state)
        reward = self.task.reward(before, state, action, self._dt)
        return observation, reward, self.task.terminated(state, observation), elapsed >= self.task.time_limit

    def _rows(self, ids: Index) -> State:
        """The state fields of the simulations `ids`."""
        return {name: field[ids] for name, field in self._state.items()}

    def state(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        """Everything but the random streams that later steps depend on, to hand to `restore`.

        Derived fields such as `site_xpos` are no part of it: a step computes them before they are read.
        """
        return {"physics": self._batch.state.copy(), "elapsed_steps": self.elapsed_steps.copy()}

    def restore(self, physics: Float64, elapsed_steps: npt.NDArray[np.int64]) -> None:
        """Take up a `state` of the same task and number of episodes."""
        self._batch.state[:] = physics
        self.elapsed_steps[:] = elapsed_steps
