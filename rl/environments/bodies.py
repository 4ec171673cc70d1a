"""Tasks whose rewards are read off the positions of bodies: Reacher, Ant and Humanoid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .locomotion import control_cost, uniform_around
from .models import load_model
from .task import Bool, Float32, Float64, State, TaskDefaults

FINGERTIP, TARGET, TORSO = 3, 4, 1
"""Bodies of the models of Reacher (the first two) and Ant."""


@dataclass(frozen=True)
class Reacher(TaskDefaults):
    """Reacher: bring the fingertip of a two-link arm to a target in a plane; episodes never end early.

    Reward is less the distance to the target, and less the sum of squares of the action. In version 4 the distance is
    that before the step, and its third component, which stays 0, is observed.
    """

    environment_id: str = "Reacher-v4"
    distance_after_step: bool = False
    vector_observed: int = 3
    model_file: str = "reacher.xml"
    frame_skip: int = 2
    time_limit: int = 50
    state_fields: tuple[str, ...] = ("qpos", "qvel", "xpos")
    before_fields: tuple[str, ...] = ("xpos",)

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        position = stream.uniform(low=-0.1, high=0.1, size=qpos.size) + qpos
        goal = stream.uniform(low=-0.2, high=0.2, size=2)
        while not np.linalg.norm(goal) < 0.2:
            goal = stream.uniform(low=-0.2, high=0.2, size=2)
        velocity = qvel + stream.uniform(low=-0.005, high=0.005, size=qvel.size)
        position[-2:], velocity[-2:] = goal, 0.0
        return position, velocity

    def observe(self, state: State) -> Float64:
        qpos, qvel = state["qpos"], state["qvel"]
        vector = _to_fingertip(state)[:, : self.vector_observed]
        return np.concatenate([np.cos(qpos[:, :2]), np.sin(qpos[:, :2]), qpos[:, 2:], qvel[:, :2], vector], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        vectors = _to_fingertip(state if self.distance_after_step else before)
        # The last bit of a norm is that of the library's dot product, which Gymnasium calls for one vector.
        distance = np.array([np.linalg.norm(vector) for vector in vectors])
        reward: Float64 = -distance - np.square(action).sum(axis=1)
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        return np.zeros(len(observation), dtype=np.bool_)


def _to_fingertip(state: State) -> Float64:
    vector: Float64 = state["xpos"][:, FINGERTIP] - state["xpos"][:, TARGET]
    return vector


@dataclass(frozen=True)
class Ant(TaskDefaults):
    """Ant: walk forward on four legs; reward 1 a step and the torso's velocity less a control cost.

    An episode ends when the torso's height leaves [0.2, 1] or a coordinate is not finite. Version 5 also shows the
    contact forces on the bodies, cut to [-1, 1], charges for them, and gives no 1 for the failing step.
    """

    environment_id: str = "Ant-v4"
    contact_forces: bool = False
    model_file: str = "ant.xml"
    frame_skip: int = 5
    state_fields: tuple[str, ...] = ("qpos", "qvel", "xpos")
    before_fields: tuple[str, ...] = ("xpos",)

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return (
            qpos + stream.uniform(low=-0.1, high=0.1, size=qpos.size),
            qvel + 0.1 * stream.standard_normal(qvel.size),
        )

    def observe(self, state: State) -> Float64:
        parts = [state["qpos"][:, 2:], state["qvel"]]
        if self.contact_forces:
            parts.append(_flat(np.clip(state["cfrc_ext"][:, 1:], -1.0, 1.0)))
        return np.concatenate(parts, axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        velocity = (state["xpos"][:, TORSO, 0] - before["xpos"][:, TORSO, 0]) / dt
        reward: Float64
        if not self.contact_forces:
            reward = velocity + 1.0 - control_cost(0.5, action)
            return reward
        contact = 5e-4 * np.square(_flat(np.clip(state["cfrc_ext"], -1.0, 1.0))).sum(axis=1)
        reward = velocity + (~terminated).astype(np.float64) - (control_cost(0.5, action) + contact)
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        qpos, qvel = state["qpos"], state["qvel"]
        healthy = np.isfinite(qpos).all(axis=1) & np.isfinite(qvel).all(axis=1)
        ended: Bool = ~(healthy & (qpos[:, 2] >= 0.2) & (qpos[:, 2] <= 1.0))
        return ended


@dataclass(frozen=True)
class Humanoid(TaskDefaults):
    """Humanoid: walk forward; reward 5 a step and 1.25 times the centre of mass's velocity less a control cost.

    An episode ends when the torso's height leaves (1, 2). Version 4 observes the unmoving world too; version 5 leaves
    it out, charges for contact forces, and gives no 5 for the failing step.
    """

    environment_id: str = "Humanoid-v4"
    failing_step_rewarded: bool = True
    first_body: int = 0
    first_actuated: int = 0
    contact_weight: float = 0.0
    model_file: str = "humanoid.xml"
    frame_skip: int = 5
    state_fields: tuple[str, ...] = ("qpos", "qvel", "xipos", "cinert", "cvel", "qfrc_actuator")
    before_fields: tuple[str, ...] = ("xipos",)
    contact_forces: bool = True

    def initial_state(self, stream: np.random.Generator, qpos: Float64, qvel: Float64) -> tuple[Float64, Float64]:
        return uniform_around(stream, qpos, qvel, 1e-2)

    def observe(self, state: State) -> Float64:
        bodies = (_flat(state[name][:, self.first_body :]) for name in ("cinert", "cvel", "cfrc_ext"))
        inertia, velocity, contact = bodies
        actuators = state["qfrc_actuator"][:, self.first_actuated :]
        return np.concatenate([state["qpos"][:, 2:], state["qvel"], inertia, velocity, actuators, contact], axis=1)

    def reward(self, before: State, state: State, action: Float32, dt: float, terminated: Bool) -> Float64:
        velocity = (self._centre(state) - self._centre(before)) / dt
        alive = 5.0 if self.failing_step_rewarded else 5.0 * ~terminated
        cost = 0.1 * np.square(action.astype(np.float64)).sum(axis=1)
        if self.contact_weight:
            contact = self.contact_weight * np.square(_flat(state["cfrc_ext"])).sum(axis=1)
            cost += np.minimum(contact, 10.0)
        reward: Float64 = 1.25 * velocity + alive - cost
        return reward

    def terminated(self, state: State, observation: Float64) -> Bool:
        height = state["qpos"][:, 2]
        ended: Bool = ~((height > 1.0) & (height < 2.0))
        return ended

    def _centre(self, state: State) -> Float64:
        """The centre of mass's positions [N] along x, in the order of Gymnasium's sum."""
        mass = load_model(self.model_file).body_mass
        sums = [np.einsum("b,bj->j", mass, positions)[0] for positions in state["xipos"]]
        centre: Float64 = np.array(sums) / mass.sum()
        return centre


def _flat(fields: Float64) -> Float64:
    """Fields [N, bodies, K] as rows [N, bodies * K]."""
    rows: Float64 = fields.reshape(len(fields), -1)
    return rows
