"""Many episodes of one MuJoCo task stepped together on `mujoco.batch`."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import numpy.typing as npt
from mujoco.batch import Batch

from .models import load_model
from .task import Bool, Float32, Float64, State, Task

Index = npt.NDArray[np.intp]


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
        model = load_model(task.model_file)
        data = mujoco.MjData(model)
        self._initial = (data.qpos.copy(), data.qvel.copy())
        self._model, self._data = model, data
        # Only a persistent batch gives away the whole of a simulation's data, of which contact forces are computed.
        self._batch = Batch(model, len(seeds), nthread=threads, persistent=task.contact_forces)
        self._qpos, self._qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self._control = self._batch.bind("ctrl")
        self._state: dict[str, Float64] = {name: self._batch.bind(name) for name in task.state_fields}
        if task.contact_forces:
            self._state["cfrc_ext"] = np.zeros((len(seeds), model.nbody, 6))
        self._kept = {name: np.zeros_like(self._state[name]) for name in task.before_fields if name != "qpos"}
        self._dt = model.opt.timestep * task.frame_skip
        self.elapsed_steps = np.zeros(len(seeds), dtype=np.int64)
        # What gymnasium.utils.seeding.np_random builds from a seed.
        self.streams = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(int(s)))) for s in seeds]
        limits = model.actuator_ctrlrange.astype(np.float32)
        self.action_low, self.action_high = limits[:, 0].copy(), limits[:, 1].copy()
        self.action_size = int(model.nu)
        self.observation_size = task.observe(self._rows(np.arange(1))).shape[1]
        self.discrete = False
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
        if self.task.contact_forces:
            self._state["cfrc_ext"][ids] = 0.0  # of a step only, as in Gymnasium
        self._keep(ids)
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
            before = {name: self._before(name).copy() for name in self.task.before_fields}
            self._control[:] = action
            self._batch.step(nstep=self.task.frame_skip)
            self.elapsed_steps += 1
            self._finish(self._all)
            state: State = self._state
            elapsed = self.elapsed_steps
        else:
            before = {name: self._before(name)[ids] for name in self.task.before_fields}
            self._control[ids] = action
            self._batch.step(ids, nstep=self.task.frame_skip)
            self.elapsed_steps[ids] += 1
            self._finish(ids)
            state, elapsed = self._rows(ids), self.elapsed_steps[ids]
        observation = self.task.observe(state)
        terminated = self.task.terminated(state, observation)
        reward = self.task.reward(before, state, action, self._dt, terminated)
        return observation, reward, terminated, elapsed >= self.task.time_limit

    def _before(self, name: str) -> Float64:
        return self._qpos if name == "qpos" else self._kept[name]

    def _finish(self, ids: Index) -> None:
        """Compute what `mj_step` does not, and keep what the next step's reward reads."""
        if self.task.contact_forces:
            for i in ids:
                self._batch.get_data(int(i), self._data)
                mujoco.mj_rnePostConstraint(self._model, self._data)
                self._state["cfrc_ext"][i] = self._data.cfrc_ext
        self._keep(ids)

    def _keep(self, ids: Index) -> None:
        for name, kept in self._kept.items():
            kept[ids] = self._state[name][ids]

    def _rows(self, ids: Index) -> State:
        """The state fields of the simulations `ids`."""
        return {name: field[ids] for name, field in self._state.items()}

    def state(self) -> dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]]:
        """Everything but the random streams that later steps depend on, to hand to `restore`.

        Derived fields such as `site_xpos` are no part of it where a step computes them before they are read; those of
        which a reward reads the values before the step are.
        """
        kept = {name: array.copy() for name, array in self._kept.items()}
        return {"physics": self._batch.state.copy(), "elapsed_steps": self.elapsed_steps.copy(), **kept}

    def restore(self, physics: Float64, elapsed_steps: npt.NDArray[np.int64], **kept: Float64) -> None:
        """Take up a `state` of the same task and number of episodes."""
        self._batch.state[:] = physics
        self.elapsed_steps[:] = elapsed_steps
        for name, array in kept.items():
            self._kept[name][:] = array
