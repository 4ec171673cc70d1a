"""Where a run was made: code, packages, machine."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from .._version import __version__
from ..baselines.sources import MethodCode
from ..utils.git import git
from ..utils.machine import VERSIONED, cpu_name
from .record import Provenance
from .worker import sandbox

PACKAGES = (*VERSIONED, "safetensors", "scipy", "pandas")


def provenance(
    device: str, isolation: str, code: MethodCode | None = None, validation_runs: int | None = None
) -> Provenance:
    """This process's circumstances, the isolation (`worker.sandbox`), and the predictor's code and tuning."""
    commit, dirty = _git_state(Path(__file__).parents[1])
    return Provenance(
        tipl_bench=__version__,
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_name(),
        gpu=torch.cuda.get_device_name() if device.startswith("cuda") else None,
        torch_threads=torch.get_num_threads(),
        isolation=isolation,
        packages={name: version(name) for name in PACKAGES},
        code=code,
        validation_runs=validation_runs,
    )


def peak_memory() -> int:
    """The largest resident size so far of this process, or of one that it started and that has ended, in bytes."""
    return max(sandbox.peak_memory(), sandbox.peak_memory(resource.RUSAGE_CHILDREN))


def _git_state(package: Path) -> tuple[str | None, bool | None]:
    """The package's commit and whether its files differ from it; a wheel carries both (see setup.py), if it can."""
    if not (package / ".git").exists():
        try:
            built = json.loads((package / "commit.json").read_text(encoding="utf-8"))
            return built["git_commit"], built["git_dirty"]
        except FileNotFoundError:
            return None, None

    try:
        return git(package, "rev-parse", "HEAD"), bool(git(package, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
