"""Pieces of work that need nothing heavy: what a child process or a node of a cluster is given in tests."""

from __future__ import annotations

import inspect
import os
import signal
import time
from pathlib import Path
from typing import Any

from tipl_bench.utils.engines.work import Send

COUNTED = 6


def count(task: dict[str, Any], send: Send) -> None:
    """Count from the snapshot on, and leave a file; once, the process is killed after `killed_at`."""
    folder = Path(task["folder"])
    snapshot = folder / "count.snapshot"
    begun = int(snapshot.read_text()) if snapshot.exists() else 0
    for done in range(begun + 1, COUNTED + 1):
        (folder / "rows.partial").write_text(str(done))
        (folder / "new").write_text(str(done))
        (folder / "new").replace(snapshot)
        send({"done": done})
        if done == task.get("killed_at"):
            time.sleep(0.5)  # so that what was sent arrives
            os.kill(os.getpid(), signal.SIGKILL)
    (folder / "record").write_text("counted")
    (folder / "rows.partial").replace(folder / "rows")
    (folder / "empty").touch()
    snapshot.unlink()


def break_off(task: dict[str, Any], send: Send) -> None:
    """Send a message, and be killed in the middle of the next one."""
    send({"done": 1})
    answers = inspect.getclosurevars(send).nonlocals["answers"]
    print('{"done": ', end="", file=answers, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def linger(task: dict[str, Any], send: Send) -> None:
    """Say that it has begun, and go on for longer than a test waits."""
    send({"begun": True})
    time.sleep(600)


def refuse(task: dict[str, Any], send: Send) -> None:
    """Tell of an error in a file."""
    send({"error": f"{task['folder']}/snapshot cannot be resumed"})


def fail(task: dict[str, Any], send: Send) -> None:
    """Raise what no message tells."""
    raise ValueError("a mistake")


def copy(task: dict[str, Any], send: Send) -> None:
    """Copy a file that the task names itself and by its folder."""
    read = Path(task["setting"].partition("=")[2])
    send({"read": str(read), "beside": sorted(path.name for path in Path(task["runs"]).iterdir())})
    (Path(task["folder"]) / "copy").write_bytes(read.read_bytes())
