"""Where a run was made, and what it took: code, packages, machine, seconds."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field

from .._version import __version__
from ..baselines.plugins.sources import MethodCode
from ..registry.reference import COMMIT_PATTERN
from ..utils.fields import Count, Document, Seconds, Text
from ..utils.git import commit_and_dirty
from ..utils.machine import VERSIONED, cpu_name
from .worker.sandbox import Isolation

PACKAGES = (*VERSIONED, "safetensors", "scipy", "pandas")
_MEANS = {
    "none": "nothing; the row needs review",
    "landlock": "Landlock: the kernel denied the predictor all files but those that it needs",
    "seccomp": "a filter of system calls",
    "namespaces": "namespaces of its own for network, shared memory and mounts",
}
ISOLATIONS: dict[str, str] = {
    kind: "; ".join(_MEANS[means] for means in kind.split("+")) for kind in get_args(Isolation)
}
"""What keeps a predictor from the held-out trials."""


class Provenance(Document):
    """Where and with what a run was made."""

    tipl_bench: Text
    """The version of tipl-bench."""
    git_commit: Annotated[str, Field(pattern=f"^{COMMIT_PATTERN}$")] | None
    """The commit of tipl-bench; None where that is unknown."""
    git_dirty: bool | None
    """Whether the code differed from that commit."""
    python: Text
    """Python's version."""
    platform: Text
    """The operating system."""
    cpu: Text
    """The processor."""
    gpu: Text | None
    """The GPU, if one was used."""
    torch_threads: Count
    """Threads of torch."""
    isolation: Isolation
    """What kept the predictor from the held-out trials while it ran."""
    packages: Annotated[dict[Text, Text], Field(max_length=100)]
    """Versions of the packages that numbers depend on."""
    validation_runs: Count | None = None
    """Validation runs of this predictor on this dataset, whatever their options, that the store knew of when the run
    began; None where that is unknown."""
    code: MethodCode | None = None
    """Of a method that is not this package's; older records lack it."""


class Cost(Document):
    """What a run took; the only part that differs between two runs of one key on one machine."""

    fit_seconds: Seconds
    """Seconds of fitting."""
    forecast_seconds: Seconds
    """Seconds of forecasting."""
    evaluation_seconds: Seconds
    """Seconds of evaluating returns."""
    peak_memory_bytes: Count
    """The largest resident memory."""


def provenance(
    device: str, isolation: str, code: MethodCode | None = None, validation_runs: int | None = None
) -> Provenance:
    """This process's circumstances, the isolation (`worker.sandbox`), and the predictor's code and tuning."""
    import torch  # only where something is run: reading a record need not wait for it

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


def _git_state(package: Path) -> tuple[str | None, bool | None]:
    """The package's commit and whether its files differ from it; a wheel carries both (see setup.py), if it can."""
    if not (package / ".git").exists():
        try:
            built = json.loads((package / "commit.json").read_text(encoding="utf-8"))
            return built["git_commit"], built["git_dirty"]
        except FileNotFoundError:
            return None, None
    return commit_and_dirty(package)
