"""Predictors that crash, hang, exhaust memory, leave processes behind, or access what the sandbox denies."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Mapping
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from tipl_bench.baselines.predictor import Array, Contexts, FitTask, NoOptions, Predictor, Weights

SETTINGS = "settings.json"


class Misbehaving(Predictor[NoOptions]):
    name, version, summary = "misbehaving", 1, "A predictor that misbehaves."

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        note("process", str(os.getpid()))

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


def note(name: str, text: str) -> None:
    """Report to the test on standard error, the only output of a sandboxed process."""
    os.write(2, f"{json.dumps({'note': name, 'text': text})}\n".encode())


def setting(name: str) -> str:
    """What the test has set; it stands in the package's description, since the environment is not passed on."""
    return json.loads(distribution("misbehaving").read_text(SETTINGS) or "{}")[name]


class Notes:
    """What predictors have reported so far, by name.

    Parameters
    ----------
    errors
        Returns what was written to standard error since the last call.
    site
        Where the predictors are installed.
    """

    def __init__(self, errors: Callable[[], str], site: Path) -> None:
        self.errors, self.seen, self.site = errors, "", site

    def set(self, **values: object) -> None:
        """Tell the predictors what they find as `setting`."""
        described = next(self.site.glob("*.dist-info"))
        (described / SETTINGS).write_text(json.dumps({name: str(value) for name, value in values.items()}))

    def __contains__(self, name: str) -> bool:
        return name in self._all()

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def _all(self) -> dict[str, str]:
        self.seen += self.errors()
        whole = re.sub(r"\n[\w-]+ : ", "", self.seen[: self.seen.rfind("\n") + 1])  # a line of several rows
        printed = [line.partition(" | ")[2] for line in whole.splitlines()]
        notes = [json.loads(line) for line in printed if line.startswith('{"note"')]
        return {each["note"]: each["text"] for each in notes}


class Crashing(Misbehaving):
    name = "crashing"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class Exiting(Misbehaving):
    name = "exiting"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os._exit(7)


class Hanging(Misbehaving):
    name = "hanging"

    def fit(self, task: FitTask) -> None:
        while True:
            time.sleep(1)


class Slow(Misbehaving):
    """Takes a second for each batch."""

    name = "slow"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        time.sleep(1)
        return super().predict(contexts, horizon)


class OutOfMemory(Misbehaving):
    name = "out-of-memory"

    def fit(self, task: FitTask) -> None:
        arrays = []
        while True:
            arrays.append(np.ones(1 << 27))


def sockets() -> list[int]:
    """The process's open sockets."""
    places = [place for place in Path("/proc/self/fd").iterdir() if place.is_socket()]
    return [int(place.name) for place in places if place.readlink().name.startswith("socket:")]


class Flooding(Misbehaving):
    """Writes to the worker's socket itself, announcing an array of a terabyte."""

    name = "flooding"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        for descriptor in sockets():
            os.write(descriptor, (2).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little") + b"{}")
        return super().predict(contexts, horizon)


class Forging(Misbehaving):
    """Writes an answer of its own to the worker's socket."""

    name = "forging"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        text = setting("answer").encode()
        for descriptor in sockets():
            os.write(descriptor, len(text).to_bytes(4, "little") + (0).to_bytes(8, "little") + text)
        return super().predict(contexts, horizon)


class Printing(Misbehaving):
    name = "printing"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        print("chatter", flush=True)
        os.write(1, b"more chatter\n")
        return super().predict(contexts, horizon)


class Reading(Misbehaving):
    """Opens every file of the dataset and of the store."""

    name = "reading"

    def fit(self, task: FitTask) -> None:
        opened, refused = [], []
        folders = (setting("store"), setting("dataset"))
        for path in (path for folder in folders for path in Path(folder).rglob("*") if path.is_file()):
            try:
                path.read_bytes()
                opened.append(str(path))
            except PermissionError:
                refused.append(str(path))
        note("opened", "\n".join(opened))
        note("refused", "\n".join(sorted(refused)))


class MixesWindows(Misbehaving):
    """Adds a part of another window's weights to each forecast."""

    name = "mixes-windows"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + 0.1 * np.roll(contexts.weights[:, -1:], 1, axis=0)


class CentresBatch(Misbehaving):
    """Subtracts the batch's mean."""

    name = "centres-batch"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = super().predict(contexts, horizon)
        return forecast - 0.1 * forecast.mean(axis=0, keepdims=True)


class Nondeterministic(Misbehaving):
    """Draws from a generator whose state goes on from call to call."""

    name = "nondeterministic"

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.rng = np.random.default_rng(0)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = super().predict(contexts, horizon)
        return forecast + self.rng.normal(size=forecast.shape).astype(np.float32)


class Learning(Misbehaving):
    """Adds a number to the last weights that `fit` learned."""

    name = "learning"
    learned = 0.0

    def fit(self, task: FitTask) -> None:
        self.learned = 1.0

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + np.float32(self.learned)


class SavesNothing(Learning):
    """Has no state to save, though it learned something."""

    name = "saves-nothing"


class IgnoresSeed(Learning):
    """Learns something else at each fit."""

    name = "ignores-seed"

    def fit(self, task: FitTask) -> None:
        self.learned = float(np.random.default_rng().normal())

    def state(self) -> dict[str, Array]:
        return {"learned": np.float32([self.learned])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.learned = float(state["learned"][0])


class DependsOnHorizon(Misbehaving):
    """Its forecast for h = 1 depends on the horizon."""

    name = "depends-on-horizon"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + np.float32(horizon)


class Connecting(Misbehaving):
    """Tries to reach servers on this machine: TCP, UDP, and Unix sockets, an abstract one and a file."""

    name = "connecting"

    def fit(self, task: FitTask) -> None:
        here = ("127.0.0.1", int(setting("port")))
        tries = {
            "tcp": lambda: socket.create_connection(here, timeout=5).close(),
            "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"a context", here),
            "abstract": lambda: socket.socket(socket.AF_UNIX).connect("\0" + setting("abstract")),
            "file": lambda: socket.socket(socket.AF_UNIX).connect(setting("file")),
            "datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"1", setting("datagram")),
            "pair": lambda: socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b"1", setting("datagram")),
        }
        note("reached", " ".join(name for name, attempt in tries.items() if _done(attempt)))


class Writing(Misbehaving):
    """Tries every way of changing a file, and every place where other processes could read what it writes."""

    name = "writing"

    def fit(self, task: FitTask) -> None:
        here, there = Path("note"), Path(setting("targets"))
        here.write_text("within the scratch folder")
        Path("folder").mkdir()
        here.rename("folder/note")
        for variable in ("TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR"):
            (Path(os.environ[variable]) / variable).write_text("a cache")
        file = there / "file"
        tries = {
            "open": lambda: file.open("r+b").close(),
            "append": lambda: file.open("ab").close(),
            "truncate": lambda: os.truncate(file, 0),
            "remove": file.unlink,
            "replace": lambda: Path("folder/note").replace(file),
            "take": lambda: file.rename("taken"),
            "link": lambda: os.link(file, "linked"),
            "add": lambda: (there / "added").touch(),
            "folder": lambda: (there / "added").mkdir(),
            "symbolic": lambda: (there / "added").symlink_to(file),
            "pipe": lambda: os.mkfifo(there / "added"),
            "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(there / "added")),
            "remove-folder": (there / "empty").rmdir,
            "code": lambda: Path(__file__).with_name("added.py").touch(),
            "trial": lambda: task.train[0].path.open("r+b").close(),
            "shared": lambda: Path("/dev/shm/tipl-bench-note").touch(),
            "temporary": lambda: Path("/tmp/tipl-bench-note").touch(),
            "thread-name": lambda: Path(f"/proc/self/task/{os.getpid()}/comm").write_text("named"),
            "null": lambda: Path(os.devnull).write_text("nothing"),
        }
        note("written", " ".join(name for name, attempt in tries.items() if _done(attempt)))


class Hoarding(Misbehaving):
    """Tries to leave something for the next process: in a file's attributes and times, in System V memory, in a key."""

    name = "hoarding"

    def fit(self, task: FitTask) -> None:
        libc, trial = ctypes.CDLL(None), task.train[0].path
        tries = {
            "attribute": lambda: os.setxattr(trial, "user.note", b"test contexts"),
            "mode": lambda: trial.chmod(0o600),
            "times": lambda: os.utime(trial, (1, 1)),
        }
        note("left", " ".join(name for name, attempt in tries.items() if _done(attempt)))
        found = {"memory": libc.shmget(MEMORY, 4096, 0o600) >= 0}
        libc.shmget(MEMORY, 4096, 0o1600)  # created, if it is not there
        if os.uname().machine == "x86_64":
            found["key"] = libc.syscall(KEYCTL, SEARCH, SESSION, b"user", b"note", 0) >= 0
            libc.syscall(ADD_KEY, b"user", b"note", b"data", 4, SESSION)
        note("found", " ".join(name for name, there in found.items() if there))


MEMORY = 0x71707462
ADD_KEY, KEYCTL, SEARCH, SESSION = 248, 250, 10, -3


class Listing(Misbehaving):
    """Reports the names of its environment variables, and where its home is."""

    name = "listing"

    def fit(self, task: FitTask) -> None:
        note("variables", " ".join(os.environ))
        note("home", str(Path.home().samefile(Path.cwd())))


def _done(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


class LeavesChild(Misbehaving):
    """Leaves an orphaned process behind, in a session of its own."""

    name = "leaves-child"

    def fit(self, task: FitTask) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note("child", str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        os.wait()


class LeavesChildAndExits(LeavesChild):
    """Exits, leaving the process behind."""

    name = "leaves-child-and-exits"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os._exit(7)


class LeavesChildAndHangs(LeavesChild):
    """Hangs, with the process behind it."""

    name = "leaves-child-and-hangs"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        time.sleep(600)
        raise AssertionError


class KillsParent(Misbehaving):
    """Kills its parent, if the sandbox permits it."""

    name = "kills-parent"

    def fit(self, task: FitTask) -> None:
        with contextlib.suppress(PermissionError):
            os.kill(os.getppid(), signal.SIGKILL)
            note("killed", "parent")


PREDICTORS = (
    *(LeavesChild, LeavesChildAndExits, LeavesChildAndHangs, KillsParent),
    *(Crashing, Exiting, Hanging, Slow, OutOfMemory, Flooding, Forging, Printing),
    *(Reading, Writing, Connecting, Hoarding, Listing),
    *(MixesWindows, CentresBatch, Nondeterministic, SavesNothing, IgnoresSeed, DependsOnHorizon),
)
"""Installed by the fixture `misbehaving_predictors`."""
