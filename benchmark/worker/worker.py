"""The predictor's side: told what to do over a socket, it never sees a dataset, only training trials and contexts.

Started by `host` with a `specification` on standard input. Nothing heavy is imported before the sandbox is closed.
"""

from __future__ import annotations

import contextlib
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import sandbox
from .subreaper import run_under_subreaper

ORDER_LIMIT = 1 << 40
"""Bytes of arrays in one order from the run, which is trusted."""


def main(specification: dict[str, Any]) -> None:
    """Serve one predictor until the socket closes."""
    run_under_subreaper(specification["socket"])
    sandbox.die_with_parent()
    scratch = Path(specification["scratch"])
    isolation = sandbox.restrict_filesystem(
        map(Path, specification["denied"]), map(Path, specification["allowed"]), scratch
    )
    sandbox.limit_memory(specification["memory"])

    from .channel import Channel

    channel = Channel(socket.socket(fileno=specification["socket"]))
    worker = Worker(channel, scratch)
    orders: dict[str, Callable[..., Any]] = {
        "describe": worker.describe,
        "fit": worker.fit,
        "load": worker.load,
        "predict": worker.predict,
        "probe": worker.probe,
    }
    while True:
        try:
            order, arrays = channel.receive(ORDER_LIMIT)
        except EOFError:
            return
        try:
            head, answer = orders[order.pop("order")](arrays, **order)
            channel.send({"isolation": isolation, "peak_memory": sandbox.peak_memory(), **head}, answer)
        except (BrokenPipeError, ConnectionResetError):
            return
        except BaseException as error:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                channel.send(_fault(error))


def _fault(error: BaseException) -> dict[str, Any]:
    """What went wrong, for the run to report."""
    from ...utils.errors import TiplBenchError, UnknownNameError

    if isinstance(error, UnknownNameError):
        return {"fault": "UnknownNameError", "arguments": [error.kind, error.name, error.choices]}
    if isinstance(error, TiplBenchError):
        return {"fault": type(error).__name__, "arguments": [str(error)[:2000]]}
    traceback.print_exception(error)
    # torch has no exception of its own for an allocation that fails on the CPU.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return {"fault": "memory"}
    return {"fault": "raised", "arguments": [repr(error)[:2000]]}


class Worker:
    """Carries out orders; each answers with facts and arrays."""

    def __init__(self, channel: Any, scratch: Path) -> None:
        self.channel = channel
        self.state = scratch / "state.safetensors"

    def describe(self, arrays: Any, model: str, budget: str, settings: list[str]) -> Any:
        """Import the predictor, set its options, and say what it is."""
        import dataclasses

        from ...baselines import predictor_type
        from ...baselines.options import build_options

        kind = predictor_type(model)
        self.predictor = kind(build_options(kind, budget, settings))
        return {
            "version": kind.version,
            "consumes": kind.consumes,
            "options": dataclasses.asdict(self.predictor.options),
            "context_length": _whole(self.predictor.context_length),
        }, None

    def fit(
        self, arrays: Any, train: list[Any], validation: list[Any], layout: dict[str, Any], **rest: Any
    ) -> tuple[dict[str, Any], Any]:
        """Fit on trials; answers with the saved state and the seconds it took."""
        import time

        from ...baselines.predictor import FitTask
        from ...registry.trial import Trial
        from ...rl.policy import PolicyLayout

        shape = PolicyLayout(**{**layout, "hidden_sizes": tuple(layout["hidden_sizes"])})

        def trials(stated: list[Any]) -> list[Trial]:
            return [Trial(Path(path), index, shape, checkpoints) for path, index, checkpoints in stated]

        started = time.perf_counter()
        self.predictor.fit(FitTask(trials(train), trials(validation), progress=self._report(), **rest))
        seconds = time.perf_counter() - started
        self.predictor.save(self.state)
        return {"seconds": seconds, **self._fitted()}, {"state": _bytes(self.state)}

    def load(self, arrays: Any, device: str) -> Any:
        """Take up a state that `fit` answered with, of this or another process."""
        self.state.write_bytes(arrays["state"].tobytes())
        self.predictor.device = device
        self.predictor.load(self.state)
        return self._fitted(), None

    def _fitted(self) -> dict[str, Any]:
        return {
            "parameter_count": _whole(self.predictor.parameter_count),
            "context_length": _whole(self.predictor.context_length),
        }

    def predict(self, arrays: Any, layout: dict[str, Any], columns: list[str], horizon: int) -> Any:
        """Forecast."""
        import numpy as np

        from ...baselines.predictor import Contexts
        from ...rl.policy import PolicyLayout

        shape = PolicyLayout(**{**layout, "hidden_sizes": tuple(layout["hidden_sizes"])})
        scalars = {name: arrays.pop(name) for name in columns}
        contexts = Contexts(**arrays, columns=scalars, layout=shape)
        expected = (len(contexts), horizon, contexts.weights.shape[-1])
        forecast = np.asarray(self.predictor.predict(contexts, horizon))
        facts = {"type": str(forecast.dtype), "shape": list(forecast.shape)}
        fits = forecast.shape == expected and forecast.dtype in (np.float16, np.float32, np.float64)
        return facts, {"forecast": forecast} if fits else None

    def probe(self, arrays: Any, path: str) -> Any:
        """Whether this process can open a file: the sandbox shown from inside."""
        try:
            Path(path).open("rb").close()
        except PermissionError:
            return {"opened": False}, None
        return {"opened": True}, None

    def _report(self) -> Callable[[int, int, str], None]:
        """A progress report that does not slow down whoever reports every step."""
        import time

        last = 0.0

        def report(done: int, total: int, word: str) -> None:
            nonlocal last
            now = time.monotonic()
            if done == total or now - last > 0.1:
                last = now
                self.channel.send({"progress": [int(done), int(total), str(word)[:200]]})

        return report


def _whole(value: Any) -> Any:
    """A whole number, of whatever type, as JSON has it; anything else in words, for the run to refuse."""
    import operator

    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return repr(value)[:200]


def _bytes(path: Path) -> Any:
    import numpy as np

    return np.frombuffer(path.read_bytes(), dtype=np.uint8)
