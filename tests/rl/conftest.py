"""Fixtures of the engine's tests."""

from helpers.mujoco_warnings import quiet_mujoco

__all__ = ["quiet_mujoco"]
