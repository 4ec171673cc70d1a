"""Where the numbers of a run can be logged: TensorBoard, Weights & Biases, or a `Logger` of one's own."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...utils.errors import OptionError, UnknownNameError


class Logger(ABC):
    """Receives the numbers of runs; subclass it for a tracker of your own.

    Logging changes no result: a logger is called in this process, the computations run with seeds of their own.
    """

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin to log a run; nothing by default.

        Parameters
        ----------
        run
            The run folder, after which a log may be named.
        config
            What identifies the run, as its record has it.
        """
        return

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int, axis: str) -> None:
        """Log finite numbers.

        Parameters
        ----------
        values
            The numbers by name, such as `fit/validation_loss`.
        step
            Where on the axis they belong.
        axis
            What steps count: `fit_step`, `environment_steps`, `horizon` (checkpoints ahead), or `final`, which has the
            step 0 alone.
        """

    def end(self) -> None:
        """End the log of the run that was begun, also where the run failed; nothing by default."""
        return


class TensorBoardLogger(Logger):
    """Logs runs as TensorBoard's event files.

    Parameters
    ----------
    folder
        Where to; a run's events go into a folder there that is named after the run. By default they stand in the run
        folder, in `tensorboard/`.

    Raises
    ------
    OptionError
        If TensorBoard is not installed (`pip install 'tipl-bench[tensorboard]'`).
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise OptionError(
                "Logging to TensorBoard needs the package tensorboard, which is not installed: "
                "pip install 'tipl-bench[tensorboard]'."
            ) from None
        self.folder = None if folder is None else Path(folder)
        self._open: Any = SummaryWriter
        self._writer: Any = None

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin an event file; see `Logger.begin`.

        Parameters
        ----------
        run
            The run folder.
        config
            What identifies the run; it stands beside the numbers as text.
        """
        self._writer = self._open(str(_beneath(self.folder, run) if self.folder else run / "tensorboard"))
        self._writer.add_text("config", f"```json\n{json.dumps(config, indent=1, sort_keys=True)}\n```")

    def log(self, values: Mapping[str, float], step: int, axis: str) -> None:
        """Add scalars; see `Logger.log`.

        Parameters
        ----------
        values
            The numbers by name.
        step
            Where they belong.
        axis
            Not shown: TensorBoard has one axis for all.
        """
        for name, value in values.items():
            self._writer.add_scalar(name, value, step, new_style=True)

    def end(self) -> None:
        """Write what is not written yet, and close the file."""
        self._writer.close()


class WandbLogger(Logger):
    """Logs runs to Weights & Biases, offline by default: `wandb sync` uploads them when you say so.

    Parameters
    ----------
    folder
        Where the files of offline runs go; the run folder by default.
    project
        The project's name.
    mode
        "offline", "online" or "disabled"; by default the environment variable `WANDB_MODE`, else "offline".

    Raises
    ------
    OptionError
        If wandb is not installed (`pip install 'tipl-bench[wandb]'`), or there is no such mode.
    """

    def __init__(
        self, folder: Path | str | None = None, *, project: str = "tipl-bench", mode: str | None = None
    ) -> None:
        self.mode = mode or os.environ.get("WANDB_MODE") or "offline"
        if self.mode not in ("offline", "online", "disabled"):
            raise OptionError(f"mode (or WANDB_MODE) is {self.mode!r}; it can be offline, online or disabled.")
        if self.mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports are requests as well
        try:
            import wandb
        except ImportError:
            raise OptionError(
                "Logging to Weights & Biases needs the package wandb, which is not installed: "
                "pip install 'tipl-bench[wandb]'."
            ) from None
        self.folder, self.project = None if folder is None else Path(folder), project
        self._wandb: Any = wandb
        self._run: Any = None

    def begin(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin a run of wandb's; see `Logger.begin`.

        Parameters
        ----------
        run
            The run folder, whose last two names are the run's.
        config
            What identifies the run.
        """
        folder = self.folder or run
        folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=self.project,
            name="/".join(_name(run)),
            config=dict(config),
            dir=str(folder),
            mode=self.mode,
            reinit="create_new",
            settings=self._wandb.Settings(silent=True, console="off", disable_code=True, disable_git=True),
        )
        for axis, names in AXES.items():
            self._run.define_metric(axis)
            for name in names:
                self._run.define_metric(f"{name}/*", step_metric=axis)

    def log(self, values: Mapping[str, float], step: int, axis: str) -> None:
        """Log numbers over their axis; see `Logger.log`.

        Parameters
        ----------
        values
            The numbers by name.
        step
            Where they belong.
        axis
            What steps count; final numbers go to the run's summary.
        """
        if axis == "final":
            self._run.summary.update(dict(values))
        else:
            self._run.log({**values, axis: step})

    def end(self) -> None:
        """End the run."""
        self._run.finish()


AXES = {
    "fit_step": ("fit",),
    "environment_steps": ("return", "training_return"),
    "horizon": ("learning", "converged", "all"),
}
"""What each axis has over it: the first parts of names."""
LOGGERS: Mapping[str, Callable[[Path | str | None], Logger]] = {"tensorboard": TensorBoardLogger, "wandb": WandbLogger}


def open_logger(logger: Logger | str | None, folder: Path | str | None = None) -> Logger | None:
    """A logger by its name, or as it is; None for none.

    Parameters
    ----------
    logger
        `tensorboard`, `wandb`, or a logger.
    folder
        Where one that is named logs to.

    Raises
    ------
    UnknownNameError, OptionError
        If no logger has the name, or its package is not installed.
    """
    if logger is None or isinstance(logger, Logger):
        return logger
    if logger not in LOGGERS:
        raise UnknownNameError("logger", str(logger), LOGGERS)
    return LOGGERS[logger](folder)


def _name(run: Path) -> tuple[str, ...]:
    """The last two parts of a run folder: the environment or dataset, and the method."""
    return run.absolute().parts[-2:]


def _beneath(folder: Path, run: Path) -> Path:
    return folder.joinpath(*_name(run))
