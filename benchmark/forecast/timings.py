"""What an unfinished run has taken so far."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from ...utils.canonical import strict_json
from ...utils.fields import Count, Sha256
from ...utils.files import write_text
from ..provenance import Cost
from ..record import Record, RunKey
from ..worker.predictor_process import PredictorProcess
from ..worker.usage import own_peak
from .run_folder import PREDICTOR_NAME
from .validation_log import count_validation_runs


class Timings:
    """Seconds of each stage, kept beside the run until it is finished so that a resumed run reports them all.

    Beside them is the number of validation runs that stood before a test run, which is counted when it begins.

    Parameters
    ----------
    folder, key
        The run folder and the run's key.
    finished
        The record of a run that was finished before: returns are added to it, or lost files made again.
    standing
        Whether its forecasts are still there. What is made again is not counted twice.
    """

    def __init__(self, folder: Path, key: RunKey, finished: Record | None, *, standing: bool = True) -> None:
        self.path = folder / "timings.json"
        self.stage = "forecast"
        """The stage that began last."""
        self.seconds = {"fit_seconds": 0.0, "forecast_seconds": 0.0, "evaluation_seconds": 0.0}
        self.validation_runs = count_validation_runs(key) if key.split == "test" else None
        self.fitted_with: str | None = None
        """Identity of the code, packages and machine that the state in the folder was fitted with, where known."""
        if finished is not None:
            self.validation_runs = finished.provenance.validation_runs
            if standing:
                self.seconds = finished.cost.model_dump(exclude={"peak_memory_bytes"})
                return
            if (folder / PREDICTOR_NAME).exists():
                self.seconds["fit_seconds"] = finished.cost.fit_seconds
        # Damaged ones are lost: they are no reason not to finish the run.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = strict_json(self.path.read_text(encoding="utf-8"))
            runs = TypeAdapter(Count | None).validate_python(kept.pop("validation_runs", self.validation_runs))
            fitted_with = TypeAdapter(Sha256 | None).validate_python(kept.pop("fitted_with", None))
            self.seconds = Cost(**(self.seconds | kept), peak_memory_bytes=0).model_dump(exclude={"peak_memory_bytes"})
            self.validation_runs, self.fitted_with = runs, fitted_with

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the block's duration to a stage."""
        self.stage, started = stage, time.perf_counter()
        try:
            yield
        finally:
            self.add(f"{stage}_seconds", time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        self.seconds[name] += seconds
        with contextlib.suppress(OSError):
            kept = {"validation_runs": self.validation_runs, "fitted_with": self.fitted_with}
            write_text(self.path, json.dumps({**self.seconds, **kept}))

    def begin_again(self) -> None:
        """Forget what was fitted and forecast: it is done anew."""
        self.seconds, self.fitted_with = dict.fromkeys(self.seconds, 0.0), None

    def remove(self) -> None:
        """Remove the file: the record has the timings."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def cost(self, predictor: PredictorProcess) -> Cost:
        """What the run took so far, in this process and the predictor's."""
        return Cost(**self.seconds, peak_memory_bytes=max(own_peak(), predictor.peak_memory))
