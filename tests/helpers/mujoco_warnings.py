"""A fixture that keeps MuJoCo's warnings out of the working folder."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import pytest


@pytest.fixture(autouse=True, scope="session")
def quiet_mujoco() -> Iterator[None]:
    """Gymnasium's model files make MuJoCo warn of deprecated attributes, into a file in the working directory."""
    previous = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    yield
    mujoco.set_mju_user_warning(previous)
