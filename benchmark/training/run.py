"""Run a method of the training track: train its trials, score them, record. A killed run goes on where it was."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...baselines.optimizers.lookup import rule_code
from ...baselines.options import as_settings
from ...rl import usable_threads
from ...utils.engines.cluster import LOCAL, Cluster, open_cluster
from ...utils.errors import ProtocolError, TiplBenchError
from ...utils.fields import parse
from ...utils.files import sha256, write_text
from ...utils.progress import Progress, silent
from ...utils.text import one_line
from ..forecast.run_folder import claim_folder
from ..provenance import Provenance, provenance
from ..record import RECORD_NAME, Status
from ..request import check_whole, several
from ..tracking.loggers import Logger, open_logger
from ..tracking.logs import RunLog
from . import figures
from .curves import CURVES_NAME, Curves
from .metrics import estimates, trial_columns
from .record import Split, TrainingCost, TrainingKey, TrainingRecord, as_rows, read_training_record
from .request import TrainingRequest, default_folder
from .workers import evaluated, train_blocks

CODE_NAME = "code.json"


@dataclass(frozen=True)
class TrainingRun:
    """A finished training run.

    Parameters
    ----------
    folder
        The run folder.
    record
        What it records.
    repeated
        Whether it was finished before.
    """

    folder: Path
    record: TrainingRecord
    repeated: bool = False

    def curves(self) -> Curves:
        """Read the returns of its trials over the iterations.

        Returns
        -------
        Curves
            `returns` [N, E] at the E iterations `evaluated`, and `training_returns` [N, K] of all K iterations.

        Raises
        ------
        ProtocolError
            If the file is not this run's.
        """
        return read_curves(self.folder, self.record.key)


def curves_path(run: Path) -> Path:
    """The curves of a run's folder, or beside a record file of the table."""
    return run / CURVES_NAME if run.is_dir() else run.with_suffix(".safetensors")


def read_curves(run: Path, key: TrainingKey) -> Curves:
    """The curves of a run; raises `ProtocolError` for what is not a run's of that key."""
    path = curves_path(run)
    curves, others = Curves.read(path, key.trials, evaluated(key))
    if others:
        raise ProtocolError(f"{path}: holds {min(others)}, which is no part of a run's curves.")
    return curves


def train(
    optimizer: str = "adam",
    environment: str = "InvertedPendulum-v4",
    *,
    outer: Sequence[str] = (),
    options: Mapping[str, object] | Sequence[str] = (),
    on: Split = "test",
    trials: int | None = None,
    iterations: int | None = None,
    out: str | Path | None = None,
    threads: int | None = None,
    engine: str = LOCAL,
    progress: Progress = silent,
    logger: Logger | str | None = None,
) -> TrainingRun:
    """Train with an optimizer inside PPO and score it by return per environment step, or continue where a run was.

    Parameters
    ----------
    optimizer
        Its name.
    environment
        The Gymnasium environment, one of the track's.
    outer
        Outer rules that act between iterations, in their order.
    options
        Settings by name or as `name=value`; those of an outer rule as `rule.name`. A jump's predictor is the name of a
        shipped fitted state, a run folder, or the name of a predictor that needs no fitting.
    on
        The trials: "test", or "tuning" to choose settings.
    trials, iterations
        Fewer than all, to try something out; such a run is not for a table.
    out
        The run folder; `runs/training/<environment>/<method>` by default.
    threads
        Processes of this machine that train blocks of trials at once; all usable cores by default. The results do not
        depend on it.
    engine
        What trains the blocks: "local", these processes; "ray", the Ray cluster that Ray finds; a cluster's
        `HOST:PORT`; or from outside it `ray://HOST:PORT`. The results do not depend on it.
    progress
        Receives the progress.
    logger
        Where to log the return of each trial while it trains and the final metrics: "tensorboard", "wandb" (offline) or
        a `Logger`; nowhere by default. The results do not depend on it.

    Returns
    -------
    TrainingRun
        Its folder and record.

    Raises
    ------
    UnknownNameError, OptionError
        If a name, a setting or a number is not known or not valid, or the logger's package is not installed.
    TiplBenchError
        If no cluster answers.
    ProtocolError
        If the folder holds another run.
    PredictorError
        If the method fails; finished blocks of trials are kept.

    Examples
    --------
    >>> import tipl_bench
    >>> run = tipl_bench.train("adam", "InvertedPendulum-v4", trials=1, iterations=1)
    >>> run.curves().training_returns.shape  # [N, K]
    (1, 1)
    """
    log = open_logger(logger)  # what is not installed is met before any work
    settings = as_settings(options) if isinstance(options, Mapping) else several("options", options)
    rules = several("outer", outer)
    request = TrainingRequest.of(optimizer, environment, rules, settings, on, trials, iterations)
    folder = Path(out) if out else default_folder(request)
    processes = usable_threads() if threads is None else threads
    check_whole("number of threads", processes, 1)
    return execute(request, folder, processes, progress, log, open_cluster(engine))


def execute(
    request: TrainingRequest,
    folder: Path,
    threads: int,
    progress: Progress = silent,
    logger: Logger | None = None,
    cluster: Cluster | None = None,
) -> TrainingRun:
    """Carry out a request in a folder; see `train`."""
    key = request.key()
    _claim(folder, key)
    with RunLog(logger) as log:
        log.begin(folder, key.model_dump(mode="json"))
        finished = _execute(request, key, folder, threads, cluster, progress, log)
        if logger is not None:
            curves, steps = finished.curves(), key.protocol.iteration_steps
            log.training_results(curves.evaluated.tolist(), curves.returns, curves.training_returns, steps)
            log.final(finished.record.estimates)
    return finished


def _execute(
    request: TrainingRequest,
    key: TrainingKey,
    folder: Path,
    threads: int,
    cluster: Cluster | None,
    progress: Progress,
    log: RunLog,
) -> TrainingRun:
    finished = _finished(folder, key)
    if finished:
        _tidy(folder, key)
        return TrainingRun(folder, finished, repeated=True)
    code = rule_code((request.optimizer, *request.outer))
    began, circumstances = time.perf_counter(), provenance("cpu", "none", code)
    _check_code(folder, circumstances)

    def observe(places: list[int], returns: list[float], iteration: int) -> None:
        log.returns(places, returns, iteration * key.protocol.iteration_steps)

    with _recording_failure(folder, key, circumstances):
        curves, cost = train_blocks(
            request, key, folder, threads=threads, cluster=cluster, progress=progress, observe=observe
        )
    curves.write(folder / CURVES_NAME)
    columns = trial_columns(curves, key.protocol)
    record = TrainingRecord(
        format=2,
        track="training",
        status=Status(state="finished"),
        key=key,
        estimates=estimates(columns, key.protocol),
        by_trial=as_rows(columns),
        diverged=int((curves.diverged > 0).sum()),
        artifacts={"curves": sha256(folder / CURVES_NAME)},
        provenance=circumstances,
        cost=cost.model_copy(update={"wall_seconds": time.perf_counter() - began}),
    )
    record.write(folder)
    _tidy(folder, key)
    return TrainingRun(folder, record)


def _tidy(folder: Path, key: TrainingKey) -> None:
    """Draw a finished run's figure if it is missing, and remove what only an unfinished one needs."""
    if not all((folder / f"figure.{suffix}").exists() for suffix in ("svg", "png")):
        _draw(key, read_curves(folder, key), folder)
    for path in (*folder.glob("block-*"), folder / CODE_NAME):
        path.unlink(missing_ok=True)


def _check_code(folder: Path, circumstances: Provenance) -> None:
    """Write down what code trains the run, or compare it with that of the run that was interrupted.

    Raises `ProtocolError` if it is another and something is trained already: the trials of a run are of one code.
    """
    acting = {"tipl_bench", "git_commit", "packages", "code"}
    path, text = folder / CODE_NAME, circumstances.model_dump_json(include=acting, indent=1)
    if not path.exists() or not any(folder.glob("block-*")):
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise ProtocolError(
            f"{folder} was begun with another version of this package, its dependencies or the optimizer's package "
            f"(see {path.name}). Continue with those, or remove the folder to start over."
        )


def _draw(key: TrainingKey, curves: Curves, folder: Path) -> None:
    """Draw the figure; a finished run does not fail without it."""
    try:
        figures.draw([(key, curves)], folder / "figure")
    except Exception as error:  # matplotlib's, of fonts and of the disk
        why = one_line(error, 200)
        warnings.warn(f"{folder}: the figure could not be drawn ({why}).", stacklevel=2)


def _claim(folder: Path, key: TrainingKey) -> None:
    """Write the run's key into its folder, or check that the folder is this run's."""

    def other(document: Any) -> str | None:
        found = parse(TrainingKey, document)
        return None if found == key else found.label

    claim_folder(folder, key, other)


def _finished(folder: Path, key: TrainingKey) -> TrainingRecord | None:
    """The record of a run that came to its end before and still has its curves."""
    if not (folder / RECORD_NAME).exists() or not (folder / CURVES_NAME).exists():
        return None
    try:
        record = read_training_record(folder)
    except ProtocolError:
        return None  # damaged: the run makes it again
    same = record.key == key and record.artifacts.get("curves") == sha256(folder / CURVES_NAME)
    return record if same and record.status.state == "finished" else None


@contextlib.contextmanager
def _recording_failure(folder: Path, key: TrainingKey, circumstances: Provenance) -> Iterator[None]:
    """Leave a record of what failed and why, and let the error go on."""
    try:
        yield
    except Exception as error:
        name = "" if isinstance(error, TiplBenchError) else f"{type(error).__name__}: "
        failed = TrainingRecord(
            format=2,
            track="training",
            status=Status(state="failed", stage="training", reason=one_line(f"{name}{error}")[:500]),
            key=key,
            provenance=circumstances,
            cost=TrainingCost(training_seconds=0, evaluation_seconds=0, wall_seconds=0, state_bytes=0),
        )
        with contextlib.suppress(OSError):  # a full disk, say; the error itself is what the user needs
            failed.write(folder)
        raise
