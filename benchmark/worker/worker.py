"""The worker process: builds one predictor and serves its fitting and forecasting over a socket.

It is given training trials and contexts, never a dataset. `predictor_process` starts it with a JSON specification on
standard input. Nothing but the standard library and this package is imported before the sandbox is closed: neither
packages, which may start threads that the sandbox would not cover, nor what `.pth` files import.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import sandbox
from .subreaper import run_under_subreaper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...baselines.predictor import FitCurve, TrainingState
    from . import messages
    from .channel import Array, Channel
    from .messages import CurvePoint

    Reply = tuple[messages.Answer, Mapping[str, Array] | None]
    Arrays = dict[str, Array]

REQUEST_LIMIT = 1 << 40
"""Bytes of arrays in one request of the run, which is trusted."""
OUT_OF_MEMORY = 112
"""Exit status of a worker that has too little memory to answer."""
NO_DEVICE_MEMORY = ("CUDA out of memory", "CUDA error: out of memory")
"""What torch says in a `RuntimeError` of its own."""
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "cannot map", "failed to map")


def main(specification: dict[str, Any]) -> None:
    """Serve one predictor until the socket closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as a process inherits it, children cannot be waited for
    run_under_subreaper(specification["socket"])
    sandbox.die_with_parent()
    readable = [Path(path) for path in specification["readable"]]
    isolation = sandbox.close_sandbox(readable, Path(specification["scratch"]))
    exposed = isolation != sandbox.NO_ISOLATION and sandbox.first_readable(
        map(Path, specification["held_out"]), readable
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sandbox.limit_memory(specification["memory"])
    sys.path[:] = specification["path"]
    try:
        _serve(specification, isolation, exposed)
    except (MemoryError, ImportError) as error:
        if not _is_memory_error(error):
            raise
        os._exit(OUT_OF_MEMORY)


def _serve(specification: dict[str, Any], isolation: sandbox.Isolation, exposed: object) -> None:
    """Answer requests until the socket closes; refuse to if a held-out file can be read."""
    from ...baselines import options, predictor  # noqa: F401  # what takes time from here on is the predictor's cost
    from .channel import Channel
    from .messages import Failure, Started, parse_request

    channel = Channel(socket.socket(fileno=specification["socket"]))
    first = Failure(error="exposed", text=str(exposed)) if exposed else Started(isolation=isolation)
    try:
        channel.send(first.head())
    except (BrokenPipeError, ConnectionResetError):  # the run ended meanwhile
        return
    if exposed:  # the predictor is not imported
        return
    run_site_hooks(specification["site"], specification["path"])
    worker = Worker(channel, Path(specification["scratch"]))
    handlers: dict[str, Callable[[Any, Arrays], Reply]] = {
        "describe": worker.describe,
        "fit": worker.fit,
        "load": worker.load,
        "predict": worker.predict,
        "probe": worker.probe,
    }
    while True:
        try:
            head, arrays = channel.receive(REQUEST_LIMIT)
        except (EOFError, ConnectionResetError):  # reset: the run ended before it read an answer
            return
        try:
            request = parse_request(head)
            answer, results = handlers[request.kind](request, arrays)
            channel.send(answer.head(), results)
        except (BrokenPipeError, ConnectionResetError):
            return
        except BaseException as error:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                channel.send(_failure(error, worker.started).head())


def run_site_hooks(folders: Sequence[str], path: Sequence[str]) -> None:
    """Do what Python does at its start without -S: `.pth` files, which editable installations need, and sitecustomize.

    Parameters
    ----------
    folders
        Where `.pth` files are looked for besides the environment's own site-packages.
    path
        The module search path to end with.
    """
    import site

    site.main()
    for folder in folders:
        site.addsitedir(folder)
    sys.path[:] = path


def _failure(error: BaseException, started: bool) -> messages.Failure:
    """The message that reports an exception to the run; its traceback is printed.

    A limit that is too low for the predictor's imports has none: there is no line of the predictor to be mended.
    """
    from ...utils.errors import TiplBenchError, UnknownNameError
    from .messages import MAX_CHOICES, MAX_TEXT, Failure, UnknownName

    text = str(error)[:MAX_TEXT]
    if isinstance(error, UnknownNameError):
        choices = tuple(str(choice)[:MAX_TEXT] for choice in error.choices[:MAX_CHOICES])
        unknown = UnknownName(kind=str(error.kind)[:MAX_TEXT], name=str(error.name)[:MAX_TEXT], choices=choices)
        return Failure(error="UnknownNameError", text=text, unknown=unknown)
    if isinstance(error, TiplBenchError):
        return Failure(error=type(error).__name__, text=text)
    if any(words in str(error) for words in NO_DEVICE_MEMORY):
        return Failure(error="device memory", text="")
    is_memory_error = _is_memory_error(error)
    if started or not is_memory_error:
        traceback.print_exception(error)
    if is_memory_error:
        return Failure(error="memory", text="")
    return Failure(error="exception", text=repr(error)[:MAX_TEXT])


def _is_memory_error(error: BaseException) -> bool:
    """Whether an allocation failed; torch and the loader of shared libraries say so only in a text."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


class Worker:
    """One predictor and its handlers of requests; each returns an answer and its arrays."""

    def __init__(self, channel: Channel, scratch: Path) -> None:
        self.channel, self.started = channel, False
        self.state = scratch / "state.safetensors"

    def describe(self, request: messages.Describe, arrays: Arrays) -> Reply:
        """Import the predictor, set its options, and describe it."""
        from ...baselines import predictor_type
        from ...baselines.options import build_options, expand_settings
        from ...baselines.saving import options_dict
        from .messages import Description

        kind = predictor_type(request.model)
        configurations = expand_settings(kind, request.budget, request.settings, request.context)
        self.predictor = kind(build_options(kind, request.budget, configurations[0], request.context))
        self.started = True
        return _answer(
            Description,
            name=kind.name,
            version=kind.version,
            consumes=self.predictor.information_class,
            options=options_dict(self.predictor.options),
            configurations=configurations,
            context_length=_as_int(self.predictor.context_length),
            forecasts_normaliser=bool(self.predictor.forecasts_normaliser),
            transfers=bool(kind.transfers),
        ), None

    def fit(self, request: messages.Fit, arrays: Arrays) -> Reply:
        """Fit on trials; the arrays are the saved state, and the curve's points if there are any."""
        import numpy as np

        from ...baselines.predictor import FitCurve, FitTask, TrainingState
        from ...registry.trial import Trial
        from .messages import Fitted

        def trials(files: tuple[messages.TrialFile, ...]) -> list[Trial]:
            return [Trial(Path(file.path), file.index, request.layout, file.checkpoints) for file in files]

        curve = FitCurve()
        task = FitTask(
            trials(request.train),
            trials(request.validation),
            horizon=request.horizon,
            context=request.context,
            device=request.device,
            seed=request.seed,
            progress=self._progress(curve),
            curve=curve,
            resume=None if request.resume is None else TrainingState(arrays, request.resume),
            keep=self._keep,
        )
        self.predictor.fit(task)
        self.predictor.save(self.state)
        state = np.frombuffer(self.state.read_bytes(), dtype=np.uint8)
        return _answer(Fitted, **self._properties()), {"state": state, **_points(task.curve)}

    def load(self, request: messages.Load, arrays: Arrays) -> Reply:
        """Load a state that `fit` answered with, of this or another process."""
        from .messages import Loaded

        self.state.write_bytes(arrays["state"].tobytes())
        self.predictor.device = request.device
        self.predictor.load(self.state)
        return _answer(Loaded, **self._properties()), None

    def _properties(self) -> dict[str, Any]:
        return {
            "parameter_count": _as_int(self.predictor.parameter_count),
            "context_length": _as_int(self.predictor.context_length),
        }

    def predict(self, request: messages.Predict, arrays: Arrays) -> Reply:
        """Forecast; the array is sent only if its type and shape are as required."""
        import numpy as np

        from ...baselines.predictor import Contexts, forecast_shape
        from .messages import MAX_TEXT, Forecast

        columns = {name: arrays.pop(name) for name in request.columns}
        contexts = Contexts(**arrays, columns=columns, layout=request.layout)
        predict = self.predictor.predict if request.output == "forecasts" else self.predictor.predict_normaliser
        forecast = np.asarray(predict(contexts, request.horizon))
        expected = forecast_shape(request.output, contexts, request.horizon)
        valid = forecast.shape == expected and forecast.dtype in (np.float16, np.float32, np.float64)
        answer = _answer(Forecast, dtype=str(forecast.dtype)[:MAX_TEXT], shape=forecast.shape)
        return answer, {"forecast": forecast} if valid else None

    def probe(self, request: messages.Probe, arrays: Arrays) -> Reply:
        """Try to open a file."""
        from .messages import Probed

        try:
            Path(request.path).open("rb").close()
        except PermissionError:
            return _answer(Probed, opened=False), None
        return _answer(Probed, opened=True), None

    def _keep(self, state: TrainingState) -> None:
        """Send the state of training to the run, which keeps it."""
        from .messages import Kept

        self.channel.send(Kept.model_construct(values=dict(state.values)).head(), state.arrays)

    def _progress(self, curve: FitCurve) -> Callable[[int, int, str], None]:
        """A progress callback that sends at most ten messages a second, with the curve's new points."""
        import time

        from .messages import Progress

        last, sent = 0.0, 0

        def report(done: int, total: int, status: str) -> None:
            nonlocal last, sent
            now = time.monotonic()
            if done == total or now - last > 0.1:
                points, sent = _latest(curve, sent), len(curve.points)
                last = now
                self.channel.send(
                    Progress(done=int(done), total=int(total), status=str(status)[:200], points=points).head()
                )

        return report


def _latest(curve: FitCurve, sent: int) -> tuple[CurvePoint, ...]:
    """The points of a curve since the first `sent`, as far as a message takes them; unusable numbers are left out."""
    import math

    from .messages import MAX_POINTS, CurvePoint

    def number(value: Any) -> float | None:
        return float(value) if value is not None and math.isfinite(value) else None

    try:
        latest = curve.points[sent:][-MAX_POINTS:]
        return tuple(CurvePoint(int(step), number(one), number(other)) for step, one, other, _ in latest)
    except Exception:  # whatever the predictor put there
        return ()


def _points(curve: FitCurve) -> Mapping[str, Array]:
    """The points of a curve as numbers, for the run to check; an empty array for what is no table of numbers."""
    import numpy as np

    try:
        points = np.array(curve.points, dtype=np.float64)
    except Exception:  # whatever the predictor put there
        points = np.empty(0)
    return {"curve": points} if curve.points else {}


def _answer(kind: type[messages.Answer], **fields: Any) -> messages.Answer:
    """An answer that is not validated here: the run validates it, and names the predictor's wrong field."""
    return kind.model_construct(**fields)


def _as_int(value: Any) -> Any:
    """An integer of any type (numpy's too) as an int; anything else as text, for the run to refuse."""
    import operator

    if isinstance(value, bool):
        return repr(value)
    try:
        return operator.index(value)
    except TypeError:
        return repr(value)[:200]
