"""MuJoCo models of the batched tasks, loaded once a process and without MuJoCo's own log file."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mujoco

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


def model_path(model_file: str) -> Path:
    """Where Gymnasium keeps a MuJoCo model."""
    # Found from the package's folder: importing gymnasium.envs.mujoco would pull in the renderers.
    import gymnasium

    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / model_file


@cache
def load_model(model_file: str) -> mujoco.MjModel:
    """A model among Gymnasium's assets, loaded once a process."""
    with compiler_warnings_logged(model_file):
        return mujoco.MjModel.from_xml_path(str(model_path(model_file)))
