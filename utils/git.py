"""The git command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints in a folder; it writes nothing there.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If git is not there, fails or takes a minute.
    """
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    return done.stdout.strip()


def commit_and_dirty(folder: Path, *, untracked: str | None = None) -> tuple[str | None, bool | None]:
    """The commit of a folder's working tree, and whether tracked files differ from it; None for both if unknown.

    Parameters
    ----------
    folder
        A folder in the working tree.
    untracked
        Files that count as a difference too where they are not tracked, as a pattern.
    """
    try:
        changed = git(folder, "status", "--porcelain", "--untracked-files=no")
        if untracked:
            changed += git(folder, "ls-files", "--others", "--exclude-standard", "--", untracked)
        return git(folder, "rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return None, None
