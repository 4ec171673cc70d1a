"""Poles to balance on a cart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .task import Bool, Float32, Float64, State, TaskDefaults


@dataclass(frozen=True)
class InvertedPendulum(TaskDefaults):
    """InvertedPendulum: balance a pole on a cart; reward 1 a step, in version 4 on the failing one too."""

    environment_id: str = "InvertedPendulum-v4"
    failing_step_rewarded: bool = True
    model_file: str = "inverted_pendulum.xml"
    frame_skip: int = 2

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(size=qpos.size, low=-0.01, high=0.01),
            qvel + stream.uniform(size=qvel.size, low=-0.01, high=0.01),
        )

    def observe(self, state: State) -> Float64:
        return np.concatenate([state["qpos"], state["qvel"]], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        return np.ones(len(action)) if self.failing_step_rewarded else (~terminated).astype(np.float64)

    def terminated(self, state: State, observation: Float64) -> Bool:
        ended: Bool = ~np.isfinite(observation).all(axis=1) | (np.abs(observation[:, 1]) > 0.2)
        return ended


@dataclass(frozen=True)
class InvertedDoublePendulum(TaskDefaults):
    """InvertedDoublePendulum: balance two linked poles on a cart.

    Reward is 10 a step, less penalties on the tip's distance from (0, 2) and on the poles' velocities; an episode ends
    when the tip is no higher than 1. Tip and constraint forces are those of the last physics substep's evaluation,
    before the positions took their final value, as `mj_step` leaves them for Gymnasium to read. Version 5 gives no 10
    for the failing step, and shows the cart's constraint force alone, as the poles' are 0.
    """

    environment_id: str = "InvertedDoublePendulum-v4"
    failing_step_rewarded: bool = True
    forces_observed: int = 3
    model_file: str = "inverted_double_pendulum.xml"
    frame_skip: int = 5
    state_fields: tuple[str, ...] = ("qpos", "qvel", "site_xpos", "qfrc_constraint")

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(low=-0.1, high=0.1, size=qpos.size),
            qvel + 0.1 * stream.standard_normal(qvel.size),
        )

    def observe(self, state: State) -> Float64:
        cart, angles = state["qpos"][:, :1], state["qpos"][:, 1:]
        velocities = np.clip(state["qvel"], -10, 10)
        forces = np.clip(state["qfrc_constraint"][:, : self.forces_observed], -10, 10)
        return np.concatenate([cart, np.sin(angles), np.cos(angles), velocities, forces], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        x, height = state["site_xpos"][:, 0, 0], state["site_xpos"][:, 0, 2]
        first, second = state["qvel"][:, 1], state["qvel"][:, 2]
        distance = 0.01 * _squared(x) + _squared(height - 2)
        velocity = 1e-3 * _squared(first) + 5e-3 * _squared(second)
        alive = 10.0 if self.failing_step_rewarded else 10.0 * ~terminated
        reward: Float64 = alive - distance - velocity
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        ended: Bool = state["site_xpos"][:, 0, 2] <= 1
        return ended


def _squared(values: Float64) -> Float64:
    # Gymnasium squares NumPy scalars, which calls the C library's pow; arrays' ** 2 multiplies, and the last bit may
    # differ. `float_power` calls pow for every element.
    squared: Float64 = np.float_power(values, 2)
    return squared
