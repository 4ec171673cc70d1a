"""The machine and package versions that a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

VERSIONED = ("gymnasium", "mujoco", "numpy", "torch", "numba")
"""The packages that decide a trajectory's bits."""


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that decide a trajectory's bits."""
    return {name: version(name) for name in VERSIONED}


def cpu_name() -> str:
    """The processor's name, as the operating system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
