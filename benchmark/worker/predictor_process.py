"""A predictor in a worker process, from the run's side; every failure there is raised as that predictor's."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...baselines import find_plugin, is_target
from ...baselines.predictor import OUTPUT_DTYPES, Contexts, FitCurve, FitTask, Output, TrainingState, forecast_shape
from ...utils.errors import OptionError
from ...utils.files import remove_tree, replace_atomically
from ...utils.text import one_line
from ..protocol import CURRENT
from . import usage
from .channel import Array, Channel
from .environment import worker_environment
from .messages import (
    AnswerT,
    Describe,
    Description,
    Failure,
    Fit,
    Fitted,
    Forecast,
    Kept,
    Load,
    Loaded,
    Predict,
    PredictorCrash,
    PredictorTimeout,
    Probe,
    Probed,
    Progress,
    Request,
    Started,
    out_of_memory,
    parse_error,
    parse_reply,
    trial_files,
)
from .output import OutputRelay
from .readable import PACKAGE, always_held_out, named_files, readable_files
from .usage import Limits
from .worker import OUT_OF_MEMORY

BOOTSTRAP_CODE = """
import importlib.util, json, sys
specification = json.load(sys.stdin)
package = importlib.util.spec_from_file_location("tipl_bench", specification["package"])
sys.modules["tipl_bench"] = importlib.util.module_from_spec(package)
package.loader.exec_module(sys.modules["tipl_bench"])
from tipl_bench.benchmark.worker.worker import main
main(specification)
"""
"""Imports this package from where it lies, without a search path: that has other people's code on it."""
STATE_LIMIT = 16 << 30
"""Maximum bytes of a fitted state."""
WATCH_INTERVAL = 0.2
"""Seconds between two looks at the memory that a worker holds."""
SHUTDOWN_TIMEOUT = 5.0
"""Seconds that a worker has to end after its socket is closed."""


class PredictorProcess:
    """A predictor in a worker process; use it as a context manager.

    Parameters
    ----------
    model, budget, settings, context
        As for `build_options`; files that settings name (`name=PATH.safetensors`) may be read.
    data
        Files that it may read besides code.
    held_out
        Files and folders that it must not read, besides the store, the bundled datasets and the Hub's token.
    limits
        Time and memory limits.
    until
        Deadline of its last answer, on the monotonic clock; None for no deadline.
    sweep
        Whether settings may list several values of an option (`configurations`); the predictor has the first of each.
    wait
        Whether to wait until the predictor is built; otherwise, `wait_until_built` comes before all else.
    """

    def __init__(
        self,
        model: str,
        budget: str = "quick",
        settings: Sequence[str] = (),
        *,
        context: int = CURRENT.context,
        data: Sequence[Path] = (),
        held_out: Sequence[Path] = (),
        limits: Limits | None = None,
        until: float | None = None,
        sweep: bool = False,
        wait: bool = True,
    ) -> None:
        find_plugin(model)
        held_out = [*held_out, *always_held_out()]
        settings, files = named_files(settings, held_out)
        self.limits, self.until, self.name = limits or Limits(), until, model
        self.parameter_count: int | None = None
        self._peak, self._closed, self._exceeded, self._ended = 0, False, False, threading.Event()
        self._state: npt.NDArray[np.uint8] | None = None
        self.curve: Array | None = None
        """The points of the fit's curve as the worker sent them, unchecked."""
        self._scratch = Path(tempfile.mkdtemp(prefix="tipl-bench-"))
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        try:
            with theirs:
                self._start(theirs, [*data, *files], held_out)
            self._request = Describe(model=model, budget=budget, settings=settings, context=context)
            with self._attribute_errors():
                self._channel.send(self._request.head())
            if wait:
                self.wait_until_built(sweep)
        except BaseException:
            self.close()
            raise

    def wait_until_built(self, sweep: bool = False) -> None:
        """Wait for the predictor's description; called by the constructor, unless it was told not to wait."""
        deadline = self._deadline()
        self.isolation = self._receive(self._request, Started, deadline)[0].isolation
        started = time.perf_counter()
        description, _ = self._receive(self._request, Description, deadline)
        self._build_seconds = time.perf_counter() - started
        self.name = description.name if is_target(self.name) else self.name
        self.version, self.consumes = description.version, description.consumes
        self.options, self.configurations = description.options, description.configurations
        if len(self.configurations) > 1 and not sweep:
            raise OptionError(
                'Several values of an option are a sweep, which needs the validation trials (`on="validation"`): '
                "it ranks them there, and prints the command that runs the best on the test trials."
            )
        self.context_length, self.forecasts_normaliser = description.context_length, description.forecasts_normaliser
        self.transfers = description.transfers

    def _start(self, end: socket.socket, data: Sequence[Path], held_out: Sequence[Path]) -> None:
        specification = {
            "package": str(PACKAGE / "__init__.py"),
            "path": [str(Path(entry).absolute()) for entry in sys.path],
            "site": [site.getusersitepackages()] if site.ENABLE_USER_SITE else [],
            "socket": end.fileno(),
            "scratch": str(self._scratch),
            "readable": [str(path) for path in readable_files(self.name, held_out, data)],
            "held_out": [str(path) for path in held_out],
            "memory": self.limits.memory,
        }
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", BOOTSTRAP_CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._scratch,
            env=worker_environment(str(self._scratch)),
            pass_fds=[end.fileno()],
            start_new_session=True,  # without a controlling terminal
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._output = OutputRelay(self.name, process.stdout)
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:
            stream.write(json.dumps(specification).encode())
        threading.Thread(target=self._watch, name="worker memory", daemon=True).start()

    def _watch(self) -> None:
        """Note the peak memory while it grows, and end the worker if it holds more than its limit."""
        while not self._ended.wait(WATCH_INTERVAL):
            self._peak = max(self._peak, usage.living_peak(self._process.pid))
            if usage.exceeds_memory(self._process.pid, self._scratch, self.limits.memory):
                self._exceeded = True
                self._process.terminate()
                return

    def fit(self, task: FitTask) -> float:
        """Fit in the worker; returns the seconds from the request to the answer, and those that building it took."""
        request = Fit(
            train=trial_files(task.train),
            validation=trial_files(task.validation),
            layout=task.train[0].layout,
            horizon=task.horizon,
            context=task.context,
            device=task.device,
            seed=task.seed,
            resume=None if task.resume is None else dict(task.resume.values),
        )
        started = time.perf_counter()
        fitted, arrays = self._exchange(
            request,
            Fitted,
            None if task.resume is None else task.resume.arrays,
            limit=min(STATE_LIMIT, self.limits.memory // 2),
            progress=task.progress,
            keep=task.keep,
            curve=task.curve,
        )
        seconds = time.perf_counter() - started
        if "state" not in arrays:
            raise PredictorCrash("its process answered without a state")
        self._state, self.curve = arrays["state"], arrays.get("curve")
        self.parameter_count, self.context_length = fitted.parameter_count, fitted.context_length
        return seconds + self._build_seconds

    def save(self, path: Path) -> None:
        """Write the state that `fit` returned."""
        assert self._state is not None
        with replace_atomically(path) as temporary:
            temporary.write_bytes(self._state.data)

    def load(self, path: Path, device: str) -> None:
        """Send a saved state to the worker."""
        state = np.fromfile(path, dtype=np.uint8)
        loaded, _ = self._exchange(Load(device=device), Loaded, {"state": state})
        self.parameter_count, self.context_length = loaded.parameter_count, loaded.context_length

    def predict(self, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        """Forecasts [B, H, P] as the predictor returned them; `PredictorCrash` for anything else."""
        return self._predict("forecasts", contexts, horizon)

    def predict_normaliser(self, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        """Forecast normalisers [B, H, 2, O], likewise."""
        return self._predict("normaliser", contexts, horizon)

    def _predict(self, output: Output, contexts: Contexts, horizon: int) -> npt.NDArray[Any]:
        arrays: dict[str, Array] = {n: value for n, value in vars(contexts).items() if isinstance(value, np.ndarray)}
        shape = forecast_shape(output, contexts, horizon)
        request = Predict(output=output, layout=contexts.layout, columns=tuple(contexts.columns), horizon=horizon)
        answer, results = self._exchange(request, Forecast, {**arrays, **contexts.columns}, limit=8 * math.prod(shape))
        if "forecast" not in results:
            raise PredictorCrash(
                f"{output} of shape {list(answer.shape)} and type {one_line(answer.dtype, 60)}, "
                f"not {list(shape)} {OUTPUT_DTYPES[output]}"
            )
        return results["forecast"]

    def can_open(self, path: Path) -> bool:
        """Whether the worker can open a file."""
        return self._exchange(Probe(path=str(path.absolute())), Probed)[0].opened

    def _exchange(
        self,
        request: Request,
        expected: type[AnswerT],
        arrays: Mapping[str, Array] | None = None,
        *,
        limit: int = 0,
        progress: Callable[[int, int, str], None] = lambda done, total, status: None,
        keep: Callable[[TrainingState], None] = lambda state: None,
        curve: FitCurve | None = None,
    ) -> tuple[AnswerT, dict[str, Array]]:
        """Send a request and wait for its answer, forwarding progress and what is to be kept."""
        deadline = self._deadline()
        with self._attribute_errors():
            self._channel.end.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
            self._channel.send(request.head(), arrays)
        return self._receive(request, expected, deadline, limit, progress, keep, curve)

    def _deadline(self) -> float | None:
        allowed = self.limits.timeout
        ends = (self.until, allowed and time.monotonic() + allowed)
        return min((end for end in ends if end is not None), default=None)

    def _receive(
        self,
        request: Request,
        expected: type[AnswerT],
        deadline: float | None = None,
        limit: int = 0,
        progress: Callable[[int, int, str], None] = lambda done, total, status: None,
        keep: Callable[[TrainingState], None] = lambda state: None,
        curve: FitCurve | None = None,
    ) -> tuple[AnswerT, dict[str, Array]]:
        curve = curve or FitCurve()
        while True:
            with self._attribute_errors():
                head, results = self._channel.receive(limit, deadline)
            reply = parse_reply(head, expected)
            if isinstance(reply, Failure):
                raise parse_error(reply, request, self.name, self.limits.memory)
            if isinstance(reply, Kept):
                keep(TrainingState(results, reply.values))
            elif isinstance(reply, Progress):
                progress(reply.done, reply.total, one_line(reply.status, 200))
                for point in reply.points:
                    curve.add(point.step, training=point.training, validation=point.validation)
            else:
                return reply, results

    @contextlib.contextmanager
    def _attribute_errors(self) -> Iterator[None]:
        """Re-raise errors of the connection as `PredictorCrash` or `PredictorTimeout`."""
        try:
            yield
        except TimeoutError:
            self.close()
            allowed = self.limits.timeout
            within = "in time" if allowed is None else f"within {allowed:g} s"
            raise PredictorTimeout(f"no answer {within}; `timeout=` raises the limit") from None
        except (EOFError, OSError):
            raise PredictorCrash(self._end()) from None
        except MemoryError:
            raise PredictorCrash("its state or its forecasts do not fit into this machine's memory") from None
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise PredictorCrash(f"its process answered with {one_line(error)}") from None

    def _end(self) -> str:
        """Describe how the process ended."""
        code = self._wait(SHUTDOWN_TIMEOUT)
        if self._exceeded:
            return out_of_memory(self.limits.memory)
        if code is None:
            return "its process closed its connection but is still running"
        if code == OUT_OF_MEMORY:
            return out_of_memory(self.limits.memory)
        if code == usage.UNKNOWN_STATUS:
            return "its process ended; how is not known, because this process ignores SIGCHLD"
        way = f"ended by itself (exit status {code})" if code >= 0 else f"was killed by {usage.signal_name(-code)}"
        if code == -signal.SIGKILL:
            return f"its process {way}; the machine may be out of memory"
        return f"its process {way}; if it needs more memory, `memory=` raises the limit"

    @property
    def peak_memory(self) -> int:
        """Peak resident size in bytes of the largest of its processes so far, by the kernel's count."""
        if not self._closed:
            self._peak = max(self._peak, usage.living_peak(self._process.pid))
        return self._peak

    def _wait(self, timeout: float) -> int | None:
        """The exit status once the process has ended; None if it has not in time."""
        until = time.monotonic() + timeout
        while self._process.returncode is None:
            if ended := usage.wait(self._process.pid):
                self._process.returncode, peak = ended
                self._peak = max(self._peak, peak)
            elif time.monotonic() > until:
                return None
            else:
                time.sleep(0.002)
        return self._process.returncode

    def close(self) -> None:
        """End the process and its descendants; without a subreaper (not on Linux), its process group."""
        if self._closed:
            return
        if hasattr(self, "_process"):
            self._peak = self.peak_memory
        self._closed = True
        self._ended.set()
        self._channel.end.close()
        if hasattr(self, "_process"):
            if self._wait(0.2) is None:
                self._process.terminate()
                self._wait(2 * SHUTDOWN_TIMEOUT)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._wait(SHUTDOWN_TIMEOUT)
            self._output.close()
        if problem := remove_tree(self._scratch):
            warnings.warn(
                f"{self.name}: its temporary folder {self._scratch} could not be removed ({one_line(problem, 200)}); "
                "nothing needs it any more.",
                stacklevel=2,
            )

    def __enter__(self) -> PredictorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
