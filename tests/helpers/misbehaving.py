"""Predictors that do what a process of its own is for: crash, hang, devour memory, look where they should not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from tipl_bench.baselines.predictor import Array, Contexts, FitTask, NoOptions, Predictor, Weights


class Wayward(Predictor[NoOptions]):
    name, version, summary = "wayward", 1, "A predictor that misbehaves."

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        note("process", str(os.getpid()))

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1)


def note(name: str, text: str) -> None:
    """Tell the test, on standard error: a predictor writes nowhere else outside."""
    os.write(2, f"{json.dumps({'note': name, 'text': text})}\n".encode())


class Notes:
    """What predictors have noted so far.

    Parameters
    ----------
    errors
        Gives what came on standard error since it was last asked.
    """

    def __init__(self, errors: Callable[[], str]) -> None:
        self.errors, self.seen = errors, ""

    def __contains__(self, name: str) -> bool:
        return name in self._all()

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def _all(self) -> dict[str, str]:
        self.seen += self.errors()
        whole = [line for line in self.seen.splitlines(keepends=True) if line.endswith("\n")]
        found = [json.loads(line) for line in whole if line.startswith('{"note"')]
        return {each["note"]: each["text"] for each in found}


class Crashing(Wayward):
    name = "crashing"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError


class Exiting(Wayward):
    name = "exiting"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os._exit(7)


class Hanging(Wayward):
    name = "hanging"

    def fit(self, task: FitTask) -> None:
        while True:
            time.sleep(1)


class Dawdling(Wayward):
    """Takes a second for everything."""

    name = "dawdling"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        time.sleep(1)
        return super().predict(contexts, horizon)


class Devouring(Wayward):
    name = "devouring"

    def fit(self, task: FitTask) -> None:
        eaten = []
        while True:
            eaten.append(np.ones(1 << 27))


def sockets() -> list[int]:
    """The process's open sockets."""
    places = [place for place in Path("/proc/self/fd").iterdir() if place.is_socket()]
    return [int(place.name) for place in places if place.readlink().name.startswith("socket:")]


class Flooding(Wayward):
    """Answers past the worker: it finds the socket and announces a terabyte."""

    name = "flooding"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        for descriptor in sockets():
            os.write(descriptor, (2).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little") + b"{}")
        return super().predict(contexts, horizon)


class Forging(Wayward):
    """Answers past the worker, as it is told to."""

    name = "forging"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        text = os.environ["WAYWARD_ANSWER"].encode()
        for descriptor in sockets():
            os.write(descriptor, len(text).to_bytes(4, "little") + (0).to_bytes(8, "little") + text)
        return super().predict(contexts, horizon)


class Chattering(Wayward):
    name = "chattering"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        print("chatter", flush=True)
        os.write(1, b"more chatter\n")
        return super().predict(contexts, horizon)


class Reading(Wayward):
    """Opens all that it can find of the dataset and of the store."""

    name = "reading"

    def fit(self, task: FitTask) -> None:
        opened, refused = [], []
        folders = (os.environ["WAYWARD_STORE"], os.environ["WAYWARD_DATASET"])
        for path in (path for folder in folders for path in Path(folder).rglob("*") if path.is_file()):
            try:
                path.read_bytes()
                opened.append(str(path))
            except PermissionError:
                refused.append(str(path))
        note("opened", "\n".join(opened))
        note("refused", "\n".join(sorted(refused)))


class Peeking(Wayward):
    """Gives a window a part of the next one's weights."""

    name = "peeking"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + 0.1 * np.roll(contexts.weights[:, -1:], 1, axis=0)


class Averaging(Wayward):
    """Centres a batch by its mean."""

    name = "averaging"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = super().predict(contexts, horizon)
        return forecast - 0.1 * forecast.mean(axis=0, keepdims=True)


class Restless(Wayward):
    """Draws from a stream that goes on."""

    name = "restless"

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.stream = np.random.default_rng(0)

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        forecast = super().predict(contexts, horizon)
        return forecast + self.stream.normal(size=forecast.shape).astype(np.float32)


class Learning(Wayward):
    """Adds a number to the last weights that it learned in `fit`."""

    name = "learning"
    learned = 0.0

    def fit(self, task: FitTask) -> None:
        self.learned = 1.0

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + np.float32(self.learned)


class Forgetful(Learning):
    """Has no state to save."""

    name = "forgetful"


class Seedless(Learning):
    """Learns something else each time."""

    name = "seedless"

    def fit(self, task: FitTask) -> None:
        self.learned = float(np.random.default_rng().normal())

    def state(self) -> dict[str, Array]:
        return {"learned": np.float32([self.learned])}

    def load_state(self, state: Mapping[str, Array]) -> None:
        self.learned = float(state["learned"][0])


class Shortsighted(Wayward):
    """Forecasts h = 1 otherwise when less is asked for."""

    name = "shortsighted"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        return super().predict(contexts, horizon) + np.float32(horizon)


class Dialling(Wayward):
    name = "dialling"

    def fit(self, task: FitTask) -> None:
        try:
            socket.create_connection(("127.0.0.1", int(os.environ["WAYWARD_PORT"])), timeout=5).close()
            note("dialled", "answered")
        except OSError as error:
            note("dialled", type(error).__name__)


class Writing(Wayward):
    """Changes or adds whatever it can of what is named to it, and leaves notes wherever others might read them."""

    name = "writing"

    def fit(self, task: FitTask) -> None:
        here, there = Path("note"), Path(os.environ["WAYWARD_TARGETS"])
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
            "null": lambda: Path(os.devnull).write_text("nothing"),
        }
        note("written", " ".join(name for name, attempt in tries.items() if _done(attempt)))


def _done(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


class Begetting(Wayward):
    """Leaves a process behind, in a session of its own and nobody's child."""

    name = "begetting"

    def fit(self, task: FitTask) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                note("heir", str(os.getpid()))
                time.sleep(600)
            os._exit(0)
        os.wait()


class Deserting(Begetting):
    """Leaves it alone."""

    name = "deserting"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        os._exit(7)


class Lingering(Begetting):
    """Waits with it."""

    name = "lingering"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        time.sleep(600)
        raise AssertionError


class Rebelling(Wayward):
    """Kills its parent, if it may."""

    name = "rebelling"

    def fit(self, task: FitTask) -> None:
        with contextlib.suppress(PermissionError):
            os.kill(os.getppid(), signal.SIGKILL)
            note("killed", "parent")


PREDICTORS = (
    *(Begetting, Deserting, Lingering, Rebelling),
    *(Crashing, Exiting, Hanging, Dawdling, Devouring, Flooding, Forging, Chattering, Reading, Writing, Dialling),
    *(Peeking, Averaging, Restless, Forgetful, Seedless, Shortsighted),
)
"""Those that `conftest.wayward` announces by entry points."""
