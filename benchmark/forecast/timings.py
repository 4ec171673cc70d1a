"""What an unfinished run has taken so far."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from ...utils.canonical import strict_json
from ...utils.fields import Count
from ...utils.files import write_text
from ..provenance import Cost
from ..record import Record, RunKey
from ..worker.predictor_process import PredictorProcess
from ..worker.usage import own_peak
from .validation_log import count_validation_runs


class Timings:
    """Seconds of each stage, kept beside the run until it is finished so that a resumed run reports them all.

    Beside them is the number of validation runs that stood before a test run, which is counted when it begins.
    """

    def __init__(self, folder: Path, key: RunKey, before: Record | None) -> None:
        self.path = folder / "timings.json"
        self.stage = "forecast"
        """The stage that began last."""
        self.seconds = {"fit_seconds": 0.0, "forecast_seconds": 0.0, "evaluation_seconds": 0.0}
        self.validation_runs = count_validation_runs(key) if key.split == "test" else None
        if before is not None:  # finished without returns, which are added
            self.seconds = before.cost.model_dump(exclude={"peak_memory_bytes"})
            self.validation_runs = before.provenance.validation_runs
            return
        # Damaged ones are lost: they are no reason not to finish the run.
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            kept = strict_json(self.path.read_text(encoding="utf-8"))
            runs = TypeAdapter(Count | None).validate_python(kept.pop("validation_runs", self.validation_runs))
            self.seconds = Cost(**(self.seconds | kept), peak_memory_bytes=0).model_dump(exclude={"peak_memory_bytes"})
            self.validation_runs = runs

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
            write_text(self.path, json.dumps({**self.seconds, "validation_runs": self.validation_runs}))

    def remove(self) -> None:
        """Remove the file: the record has the timings."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def cost(self, predictor: PredictorProcess) -> Cost:
        """What the run took so far, in this process and the predictor's."""
        return Cost(**self.seconds, peak_memory_bytes=max(own_peak(), predictor.peak_memory))
