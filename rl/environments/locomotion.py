"""Locomotion tasks: reward for velocity along x, less a control cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .task import Bool, Float32, Float64, State, TaskDefaults


def forward_velocity(before: Float64, after: Float64, dt: float) -> Float64:
    """Mean velocities [N] along x, the first coordinate of positions [N, nq], over `dt` seconds."""
    velocity: Float64 = (after[:, 0] - before[:, 0]) / dt
    return velocity


def control_cost(weight: float, action: Float32) -> Float32:
    """Costs [N] of actions [N, A]: `weight` times the sum of squares, in float32 as Gymnasium's under NumPy 2."""
    cost: Float32 = weight * np.sum(np.square(action), axis=1)
    return cost


def uniform_around(stream: np.random.Generator, qpos: Float64, qvel: Float64, scale: float) -> tuple[Float64, Float64]:
    """Positions [nq], then velocities [nv], each uniform within `scale` of the given ones."""
    return (
        qpos + stream.uniform(low=-scale, high=scale, size=qpos.size),
        qvel + stream.uniform(low=-scale, high=scale, size=qvel.size),
    )


@dataclass(frozen=True)
class HalfCheetah(TaskDefaults):
    """HalfCheetah: run forward; reward is forward velocity less a control cost; episodes never end early."""

    environment_id: str = "HalfCheetah-v4"
    model_file: str = "half_cheetah.xml"
    frame_skip: int = 5

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(low=-0.1, high=0.1, size=qpos.size),
            qvel + 0.1 * stream.standard_normal(qvel.size),
        )

    def observe(self, state: State) -> Float64:
        return np.concatenate([state["qpos"][:, 1:], state["qvel"]], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        reward: Float64 = forward_velocity(before["qpos"], state["qpos"], dt) - control_cost(0.1, action)
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        return np.zeros(len(observation), dtype=np.bool_)


@dataclass(frozen=True)
class Swimmer(TaskDefaults):
    """Swimmer: swim forward in a plane; reward is velocity less a control cost; episodes never end early."""

    environment_id: str = "Swimmer-v4"
    model_file: str = "swimmer.xml"
    frame_skip: int = 4

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return uniform_around(stream, qpos, qvel, 0.1)

    def observe(self, state: State) -> Float64:
        return np.concatenate([state["qpos"][:, 2:], state["qvel"]], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        reward: Float64 = forward_velocity(before["qpos"], state["qpos"], dt) - control_cost(1e-4, action)
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        return np.zeros(len(observation), dtype=np.bool_)


@dataclass(frozen=True)
class _Upright(TaskDefaults):
    """What Hopper and Walker2d share: velocities observed within ±10, and a reward of 1 a step.

    In version 4 the failing step is worth its 1 too.
    """

    failing_step_rewarded: bool = True

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return uniform_around(stream, qpos, qvel, 5e-3)

    def observe(self, state: State) -> Float64:
        return np.concatenate([state["qpos"][:, 1:], np.clip(state["qvel"], -10, 10)], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        alive = 1.0 if self.failing_step_rewarded else (~terminated).astype(np.float64)
        reward: Float64 = forward_velocity(before["qpos"], state["qpos"], dt) + alive - control_cost(1e-3, action)
        return reward


@dataclass(frozen=True)
class Hopper(_Upright):
    """Hopper: hop forward on one leg; reward 1 a step and forward velocity less a control cost.

    An episode ends when the torso is at most 0.7 high or leans by 0.2 rad or more, or when a coordinate other than
    the position, or an unclipped velocity, reaches 100.
    """

    environment_id: str = "Hopper-v4"
    model_file: str = "hopper.xml"
    frame_skip: int = 4

    def terminated(self, state: State, observation: Float64) -> Bool:
        qpos, qvel = state["qpos"], state["qvel"]
        height, angle = qpos[:, 1], qpos[:, 2]
        # Comparisons that hold when healthy: a NaN fails them, and so ends the episode.
        healthy = (height > 0.7) & (height < np.inf) & (np.abs(angle) < 0.2)
        healthy &= (np.abs(qpos[:, 2:]) < 100).all(axis=1) & (np.abs(qvel) < 100).all(axis=1)
        ended: Bool = ~healthy
        return ended


@dataclass(frozen=True)
class Walker2d(_Upright):
    """Walker2d: walk forward on two legs; reward 1 a step and forward velocity less a control cost.

    An episode ends when the torso's height leaves (0.8, 2) or its angle (-1, 1).
    """

    environment_id: str = "Walker2d-v4"
    model_file: str = "walker2d.xml"
    frame_skip: int = 4

    def terminated(self, state: State, observation: Float64) -> Bool:
        height, angle = state["qpos"][:, 1], state["qpos"][:, 2]
        # Comparisons that hold when healthy: a NaN fails them, and so ends the episode.
        ended: Bool = ~((height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0))
        return ended
