"""What is logged of a run: curves while they grow, and at the end whatever is missing of them, and the results."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...baselines.predictor import FitCurve
from ...utils.errors import reason
from ..fitting.curve import LOSSES, read_curve
from ..intervals import Estimate
from ..metrics import BY_NAME
from ..record import Result
from .loggers import Logger

Float64 = npt.NDArray[np.float64]

module_logger = logging.getLogger(__name__)


class RunLog:
    """The log of a run; without a logger nothing happens.

    Parameters
    ----------
    logger
        Where to.
    """

    def __init__(self, logger: Logger | None) -> None:
        self.logger = logger
        self._begun = False
        self._logged: set[tuple[str, int]] = set()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.logger is not None and self._begun:
            self._tell(self.logger.end)

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """Begin, once the run folder is the run's."""
        if self.logger is not None:
            self._begun = True
            self._tell(self.logger.begin, folder, config)

    def _tell(self, what: Callable[..., None], *told: Any) -> None:
        """Call the logger; one that fails is told nothing more, and the run goes on without it."""
        try:
            what(*told)
        except Exception as error:  # whatever a logger of the user's own raises
            module_logger.warning("Logging stopped (%s: %s); the run goes on.", type(error).__name__, reason(error))
            self.logger = None

    def add(self, values: Mapping[str, float | None], step: int, axis: str) -> None:
        """Log what is known, finite, and not logged at this step already."""
        if self.logger is None:
            return
        known = {
            name: float(value)
            for name, value in values.items()
            if value is not None and math.isfinite(value) and (name, step) not in self._logged
        }
        if known:
            self._logged |= {(name, step) for name in known}
            self._tell(self.logger.log, known, step, axis)

    @property
    def curve(self) -> FitCurve:
        """The curve of a fit, whose points are logged as they are added."""
        return _LoggedCurve(self)

    def fitted(self, folder: Path) -> None:
        """Log the curve of a fit that a run folder holds."""
        curve = None if self.logger is None else read_curve(folder)
        for row in () if curve is None else curve.to_dict("records"):
            self.add({f"fit/{name}": row[name] for name in LOSSES}, int(row["step"]), "fit_step")

    def forecast_results(self, results: Iterable[Result]) -> None:
        """Log every metric by phase over the horizon, and the means over horizons of those that are averaged."""
        means: dict[str, list[float | None]] = {}
        for one in results:
            values = {f"{one.phase}/{name}": estimate.value for name, estimate in one.estimates.items()}
            self.add(values, one.horizon, "horizon")
            for name, estimate in one.estimates.items():
                if name in BY_NAME and BY_NAME[name].averaged:
                    means.setdefault(f"final/{one.phase}/{name}", []).append(estimate.value)
        whole = {name: [one for one in found if one is not None] for name, found in means.items()}
        self.add({name: float(np.mean(found)) for name, found in whole.items() if found}, 0, "final")

    def returns(self, places: Sequence[int], values: Sequence[float], steps: int) -> None:
        """Log J of some trials, by their places in the run, after so many environment steps."""
        named = {f"return/trial-{place:02}": value for place, value in zip(places, values, strict=True)}
        self.add(named, steps, "environment_steps")

    def training_results(
        self, evaluated: Sequence[int], returns: Float64, training: npt.NDArray[np.float32], steps: int
    ) -> None:
        """Log the curves of a training run that are not logged yet, and their means over trials.

        Parameters
        ----------
        evaluated
            The E iterations after which J was evaluated.
        returns
            J, [N, E].
        training
            The mean return of training episodes after each of K iterations, [N, K].
        steps
            Environment steps of an iteration.
        """
        for column, iteration in enumerate(evaluated):
            self.returns(range(len(returns)), returns[:, column].tolist(), int(iteration) * steps)
            self.add({"return/mean": float(returns[:, column].mean())}, int(iteration) * steps, "environment_steps")
        for column, values in enumerate(training.T.astype(np.float64)):
            known = values[np.isfinite(values)]
            mean = float(known.mean()) if len(known) else None
            self.add({"training_return/mean": mean}, (column + 1) * steps, "environment_steps")

    def final(self, estimates: Mapping[str, Estimate]) -> None:
        """Log final metrics."""
        self.add({f"final/{name}": estimate.value for name, estimate in estimates.items()}, 0, "final")


class _LoggedCurve(FitCurve):
    """Logs every point that is added to it."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def add(
        self, step: int, *, training: float | None = None, validation: float | None = None, kept: bool = False
    ) -> None:
        """See `FitCurve.add`."""
        super().add(step, training=training, validation=validation, kept=kept)
        losses = zip(LOSSES, (training, validation), strict=True)
        self._log.add({f"fit/{name}": value for name, value in losses}, step, "fit_step")
