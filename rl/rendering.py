"""Episodes of a policy in plain Gymnasium, rendered frame by frame."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from ..utils.errors import TiplBenchError, reason
from ..utils.text import one_line
from .environments import TASKS
from .environments.models import compiler_warnings_logged
from .network import PolicyNetwork

Frame = npt.NDArray[np.uint8]
HEADLESS = ("egl", "osmesa")
"""MuJoCo's renderers that need no display, the faster one first."""
PROBE = (
    "import mujoco; model = mujoco.MjModel.from_xml_string('<mujoco/>'); renderer = mujoco.Renderer(model, 16, 16); "
    "renderer.update_scene(mujoco.MjData(model)); renderer.render()"
)
"""A picture of nothing; a context alone says little, as GLFW makes one without a display."""
BACK = 1.3
"""How much further away the camera is than Gymnasium has it."""


@dataclass(frozen=True)
class Step:
    """A step of an episode: its reward, and the picture [H, W, 3] after it."""

    reward: float
    frame: Frame


def gymnasium_environment(environment_id: str, **arguments: Any) -> gymnasium.Env[Any, Any]:
    """An environment as `gymnasium.make` makes it, with flat observations and without the note on its version."""
    with warnings.catch_warnings(), compiler_warnings_logged(environment_id):
        warnings.simplefilter("ignore", DeprecationWarning)
        return gymnasium.wrappers.FlattenObservation(gymnasium.make(environment_id, **arguments))


def rendered_episode(policy: PolicyNetwork, seed: int) -> Generator[Step]:
    """Let a policy act from a seed's reset to the end of the episode; its rewards add up to that episode's return.

    Parameters
    ----------
    policy
        The policy.
    seed
        Of the reset.

    Raises
    ------
    TiplBenchError
        If there is no renderer.
    """
    if policy.environment in TASKS:
        choose_renderer()
    environment = gymnasium_environment(policy.environment, render_mode="rgb_array")
    try:
        observation, _ = environment.reset(seed=seed)
        _step_back(environment)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, _ = environment.step(policy.act(observation))
            ended = terminated or truncated
            yield Step(float(reward), _rendered(environment))
    finally:
        environment.close()


def frames_per_second(environment_id: str) -> float:
    """Steps of an environment that one second of its time has."""
    environment = gymnasium_environment(environment_id)
    try:
        return float(environment.metadata.get("render_fps", 30))
    finally:
        environment.close()


def choose_renderer() -> None:
    """Choose what MuJoCo renders with, a display if one works, unless the environment variable MUJOCO_GL does.

    Raises
    ------
    TiplBenchError
        If none of the renderers works here, or the one that MUJOCO_GL names does not.
    """
    if sys.platform != "linux":
        return
    if chosen := os.environ.get("MUJOCO_GL"):
        if not _renders(chosen, PROBE):
            raise TiplBenchError(
                f"MuJoCo cannot render here with MUJOCO_GL={one_line(chosen, 80)}. Set it to one of "
                f"{', '.join(HEADLESS)}, or leave it unset."
            )
        return
    displays = [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]
    for name in [*(["glfw"] if displays else []), *HEADLESS]:  # a display may be named that is gone
        if _renders(name, PROBE):
            os.environ["MUJOCO_GL"] = name
            return
    raise TiplBenchError(
        "Nothing here can render: there is no display, and MuJoCo can use neither EGL nor OSMesa. Install one, on "
        "Debian and Ubuntu by `apt-get install libegl1` or `apt-get install libosmesa6`."
    )


@functools.cache
def _renders(name: str, probe: str) -> bool:
    """Whether MuJoCo can render with this; tried in another process, as a process chooses once."""
    environment = {**os.environ, "MUJOCO_GL": name}
    return (
        subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, check=False).returncode == 0
    )


def _viewer(environment: gymnasium.Env[Any, Any]) -> Any:
    """MuJoCo's viewer of an environment that was rendered, None for others."""
    return getattr(getattr(environment.unwrapped, "mujoco_renderer", None), "viewer", None)


def _step_back(environment: gymnasium.Env[Any, Any]) -> None:
    """Move the camera back, so that a cart at its rail's end is in the picture."""
    _rendered(environment)  # there is no camera before
    viewer = _viewer(environment)
    if viewer is not None:
        viewer.cam.distance *= BACK


def _rendered(environment: gymnasium.Env[Any, Any]) -> Frame:
    viewer = _viewer(environment)
    try:
        if viewer is not None:  # Gymnasium leaves current what another environment drew last
            viewer.make_context_current()
        found = environment.render()
    except Exception as error:  # of OpenGL, which raises many kinds, or for want of pygame
        mujoco = hasattr(environment.unwrapped, "mujoco_renderer")
        way_out = f"set MUJOCO_GL to one of {', '.join(HEADLESS)}" if mujoco else "pip install 'tipl-bench[video]'"
        raise TiplBenchError(
            f"{environment.spec.id if environment.spec else 'The environment'} cannot be rendered here "
            f"({reason(error)}). A way out: {way_out}."
        ) from None
    return np.asarray(found, np.uint8)
