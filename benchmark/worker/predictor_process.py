"""The run's side of a predictor's process: whatever goes wrong over there is reported as that predictor's fault."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...baselines import predictor_names
from ...baselines.predictor import Contexts, FitTask
from ...registry.catalog import BUNDLED
from ...registry.store import cache_root
from ...rl.policy import PolicyLayout
from ...utils.errors import OptionError, UnknownNameError
from ...utils.files import replace_atomically
from ...utils.text import one_line
from .channel import Channel
from .messages import Answer, PredictorCrash, PredictorTimeout, parse_error, progress_report
from .sandbox import LANDLOCK, NO_ISOLATION

BOOTSTRAP_CODE = (
    "import json, sys; specification = json.load(sys.stdin); sys.path[:] = specification['path']; "
    "from tipl_bench.benchmark.worker.worker import main; main(specification)"
)
STATE_LIMIT = 16 << 30
"""Bytes of a fitted state at most."""
CREDENTIAL_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Hub credentials, removed from the worker's environment."""
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
"""Where libraries keep what they compile or look up: in the scratch folder, as they may write nowhere else."""
MAX_TIMEOUT, MAX_MEMORY = 10**8, 1 << 50
"""Seconds (three years) and bytes that a limit may be: within what sockets and the kernel take."""
SHUTDOWN_TIMEOUT = 5.0
"""Seconds that a process whose socket is closed gets to end."""


@dataclass(frozen=True)
class Limits:
    """What a predictor may use.

    Parameters
    ----------
    timeout
        Seconds for fitting, and for each batch of forecasts; None for any.
    memory
        Bytes of writable memory; this machine's physical memory by default, so that a blow-up ends that process and
        not others.
    """

    timeout: float | None = None
    memory: int = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def __post_init__(self) -> None:
        """Raises `OptionError` for what is no limit."""
        if self.timeout is not None and not 0 < self.timeout <= MAX_TIMEOUT:
            raise OptionError(f"A timeout is more than 0 and at most {MAX_TIMEOUT:,} seconds, not {self.timeout:g}.")
        if not 0 < self.memory <= MAX_MEMORY:
            raise OptionError(f"A limit of memory is more than 0 and at most {MAX_MEMORY:,} bytes, not {self.memory}.")


class PredictorProcess:
    """A predictor in a process of its own; use it as a context manager.

    Parameters
    ----------
    model, budget, settings
        As for `build_options`.
    denied
        Folders that it must not read, beside the store and the bundled datasets.
    allowed
        Files within them that it may.
    limits
        Time and memory.
    until
        When it must have given its last answer, on the monotonic clock; None for any time.
    """

    def __init__(
        self,
        model: str,
        budget: str = "quick",
        settings: Sequence[str] = (),
        *,
        denied: Sequence[Path] = (),
        allowed: Sequence[Path] = (),
        limits: Limits | None = None,
        until: float | None = None,
    ) -> None:
        if model not in predictor_names():
            raise UnknownNameError("predictor", model, predictor_names())
        self.limits, self.until = limits or Limits(), until
        self.name = model
        self.parameter_count: int | None = None
        self.peak_memory = 0
        self._closed = False
        self._state: npt.NDArray[np.uint8] | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="tipl-bench-")
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        try:
            with theirs:
                self._process = self._start(theirs, [*denied, cache_root(), BUNDLED], allowed)
            facts = self._ask("describe", {"model": model, "budget": budget, "settings": list(settings)})
            self.version, self.consumes = facts.whole("version"), facts.slug("consumes")
            self.options = facts.table("options")
            self.context_length = facts.whole("context_length")
            self.isolation = facts.among("isolation", (LANDLOCK, NO_ISOLATION))
        except BaseException:
            self.close()
            raise

    def _start(self, end: socket.socket, denied: Sequence[Path], allowed: Sequence[Path]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", BOOTSTRAP_CODE],
            stdin=subprocess.PIPE,
            stdout=2,  # what a predictor prints must not land in the run's own output
            cwd=self._scratch.name,
            env=self._environment(),
            pass_fds=[end.fileno()],
            start_new_session=True,
        )
        specification = {
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "socket": end.fileno(),
            "scratch": self._scratch.name,
            "denied": [str(folder) for folder in denied],
            "allowed": [str(path) for path in allowed],
            "memory": self.limits.memory,
        }
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:
            stream.write(json.dumps(specification).encode())
        return process

    def _environment(self) -> dict[str, str]:
        """This process's, without the Hub's tokens; as many threads, without importing torch where it is not needed."""
        kept = {name: value for name, value in os.environ.items() if name not in CREDENTIAL_VARIABLES}
        scratch = dict.fromkeys(("TMPDIR", *CACHES), self._scratch.name)
        return kept | scratch | {"OMP_NUM_THREADS": str(torch.get_num_threads())}

    def fit(self, task: FitTask) -> float:
        """Fit over there; the seconds it took."""
        layout = task.train[0].layout
        order = {
            "train": [(str(trial.path.absolute()), trial.index, len(trial)) for trial in task.train],
            "validation": [(str(trial.path.absolute()), trial.index, len(trial)) for trial in task.validation],
            "layout": dataclasses.asdict(layout),
            "horizon": task.horizon,
            "context": task.context,
            "device": task.device,
            "seed": task.seed,
        }
        facts, arrays = self._exchange("fit", order, limit=STATE_LIMIT, progress=task.progress)
        if "state" not in arrays:
            raise PredictorCrash("its process answered without a state")
        self._state = arrays["state"]
        self._take(facts)
        return facts.seconds("seconds")

    def save(self, path: Path) -> None:
        """Write the state that `fit` gave."""
        assert self._state is not None
        with replace_atomically(path) as temporary:
            temporary.write_bytes(self._state.tobytes())

    def load(self, path: Path, device: str) -> None:
        """Hand over a saved state."""
        self._take(self._ask("load", {"device": device}, {"state": np.fromfile(path, dtype=np.uint8)}))

    def _take(self, facts: Answer) -> None:
        self.parameter_count, self.context_length = facts.whole("parameter_count"), facts.whole("context_length")

    def predict(self, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        """Forecasts [B, H, P] as the predictor gave them; `PredictorCrash` for anything else."""
        batch, _, parameters = contexts.weights.shape
        arrays = {
            "weights": contexts.weights,
            "observation_mean": contexts.observation_mean,
            "observation_variance": contexts.observation_variance,
            **contexts.columns,
        }
        order = {"layout": _layout(contexts.layout), "columns": list(contexts.columns), "horizon": horizon}
        size = 8 * batch * horizon * parameters
        facts, answer = self._exchange("predict", order, arrays, limit=size)
        if "forecast" not in answer:
            raise PredictorCrash(
                f"forecasts of shape {one_line(facts['shape'], 60)} and type {one_line(facts['type'], 60)}, "
                f"not {[batch, horizon, parameters]} float32"
            )
        forecast: npt.NDArray[Any] = answer["forecast"]
        return forecast

    def can_open(self, path: Path) -> bool:
        """Whether that process can open a file."""
        return bool(self._ask("probe", {"path": str(path.absolute())})["opened"])

    def _ask(self, order: str, parameters: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> Answer:
        return self._exchange(order, parameters, arrays)[0]

    def _exchange(
        self,
        order: str,
        parameters: Mapping[str, Any],
        arrays: Mapping[str, Any] | None = None,
        *,
        limit: int = 0,
        progress: Callable[[int, int, str], None] = lambda done, total, word: None,
    ) -> tuple[Answer, dict[str, Any]]:
        """Give an order and wait for its answer, passing reports of progress on."""
        now, allowed = time.monotonic(), self.limits.timeout
        deadline = min((end for end in (self.until, allowed and now + allowed) if end is not None), default=None)
        with self._attribute_errors():
            self._channel.end.settimeout(None if deadline is None else max(1e-3, deadline - now))
            self._channel.send({"order": order, **parameters}, arrays)
        while True:
            with self._attribute_errors():
                head, answer = self._channel.receive(limit, deadline)
                report = progress_report(head)
            if report is None:
                break
            progress(*report)
        with self._attribute_errors():
            error = parse_error(head, order, self.name, self.limits.memory)
        if error is not None:
            raise error
        facts = Answer(head)
        self.peak_memory = facts.whole("peak_memory")
        return facts, answer

    @contextlib.contextmanager
    def _attribute_errors(self) -> Iterator[None]:
        """Whatever goes wrong with the connection is that process's fault."""
        try:
            yield
        except TimeoutError:
            self.close()
            allowed = self.limits.timeout
            within = "in time" if allowed is None else f"within {allowed:g} s"
            raise PredictorTimeout(f"gave no answer {within}; --timeout allows more") from None
        except (EOFError, OSError):
            raise PredictorCrash(f"its process {self._end()}") from None
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise PredictorCrash(f"its process answered with {one_line(error)}") from None

    def _end(self) -> str:
        """How the process ended, in words."""
        try:
            code = self._process.wait(SHUTDOWN_TIMEOUT)
        except subprocess.TimeoutExpired:
            return "closed its connection but is still running"
        if code >= 0:
            return f"ended by itself (exit status {code})"
        name = signal.Signals(-code).name
        return f"was killed by {name}" + ("; the machine may be out of memory" if name == "SIGKILL" else "")

    def close(self) -> None:
        """End the process and all that it started; where there is no `reaper`, its process group."""
        if self._closed:
            return
        self._closed = True
        self._channel.end.close()
        if hasattr(self, "_process"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.2)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2 * SHUTDOWN_TIMEOUT)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._scratch.cleanup()

    def __enter__(self) -> PredictorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _layout(layout: PolicyLayout) -> dict[str, Any]:
    return dataclasses.asdict(layout)
