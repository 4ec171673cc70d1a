"""Fit what a jump forecasts with: collect, fit, tune, record. Every stage goes on where it was interrupted."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...baselines.options import as_settings
from ...registry.catalog import is_shipped
from ...registry.collection.presets import Extension, Preset
from ...registry.collection_config import CollectionMethod
from ...registry.dataset import Dataset
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, reason
from ...utils.fields import parse
from ...utils.files import sha256, write_text
from ...utils.progress import Progress, silent
from ..collection import collect_as, load_or_collect
from ..forecast.run_folder import PREDICTOR_NAME, claim_folder
from ..protocol import CURRENT
from ..provenance import provenance
from ..record import RECORD_NAME
from ..request import as_file_name, check_whole, identity, several
from ..run import run
from ..training.metrics import HEADLINE, paired
from ..training.request import PREDICTOR
from ..training.run import TrainingRun, train
from .record import JUMP, JumpFitKey, JumpFitRecord, Tuned, best_of
from .request import FIRST_TRIALS, check_seeds, collection_name, default_folder, request_key

logger = logging.getLogger(__name__)
STATE_FOLDER = "predictor"
WINDOWS = 50
"""Windows that the fitted predictor forecasts, to see that it can."""


@dataclass(frozen=True)
class JumpFit:
    """A finished fit.

    Parameters
    ----------
    folder
        Its folder.
    record
        What it records.
    repeated
        Whether it was finished before.
    """

    folder: Path
    record: JumpFitRecord
    repeated: bool = False

    @property
    def state(self) -> Path:
        """The run folder of the fitted state, for `jump.predictor=`."""
        return self.folder / STATE_FOLDER

    @property
    def options(self) -> tuple[str, ...]:
        """The settings for `train`, those of the kept jump among them."""
        return (*self.record.key.settings, f"{JUMP}.{PREDICTOR}={self.state}", *self.record.best.settings)

    @property
    def catalogued(self) -> bool:
        """Whether the catalog that comes with the package has the dataset, as a row of a leaderboard needs."""
        return is_shipped(self.record.dataset.name, self.record.dataset.digest)


def fit_jump(
    environment: str,
    *,
    optimizer: str = "adam",
    outer: Sequence[str] = (),
    options: Mapping[str, object] | Sequence[str] = (),
    predictor: str = "tipl-neuron",
    budget: str = "quick",
    seed: int = 0,
    dataset: str | None = None,
    trials: int | None = None,
    iterations: int | None = None,
    first_seed: int | None = None,
    out: str | Path | None = None,
    threads: int | None = None,
    progress: Progress = silent,
    announce: Callable[[str], None] = logger.info,
) -> JumpFit:
    """Fit a predictor for jumps on a method's own trajectories, and choose how it jumps on the tuning trials.

    Collects trials under the method, fits the predictor on their training trials, and trains the tuning trials with
    each configuration of the jump, and without jumps. What has the highest AUC is kept.

    Parameters
    ----------
    environment
        The Gymnasium environment, one of the training track's.
    optimizer, outer
        The method, as for `train`. The jump acts after these rules, or where `jump` stands among them.
    options
        Settings by name or as `name=value`, as for `train`; those of the predictor as `<predictor>.name`. Values of
        the jump's settings, such as `jump.period=1,2,4`, are separated by commas: every combination is tried, at most
        eight. By default those are periods 1, 2 and 4 by factors 1 and 2.
    predictor, budget, seed
        The predictor that is fitted, its training budget and its seed.
    dataset
        A catalogued dataset to fit on instead of collecting one, or a name for what is collected.
    trials, iterations, first_seed
        How many trials are collected (100), for how many PPO iterations (the protocol's, or 24 of InvertedPendulum,
        when nearly all are solved), and the seed of the first (100,001). The first 50 are a dataset with validation and
        test trials, which the others extend, all for training.
    out
        The folder; `runs/jumps/<environment>/...` by default.
    threads
        Processes that train blocks of trials at once; all usable cores by default. The results do not depend on it.
    progress
        Receives the progress of every stage.
    announce
        Called with a sentence before a collection: how long that takes.

    Returns
    -------
    JumpFit
        Its folder, its record, the folder of the fitted state, and the options for `train`.

    Raises
    ------
    UnknownNameError, OptionError
        If a name, a setting or a number is not known or not valid, there are more than eight configurations, or a trial
        to fit on has a seed of the training track.
    ProtocolError
        If the folder holds another fit.
    DatasetError, PredictorError
        If the collection or the predictor fails; finished work is kept.
    """
    settings = as_settings(options) if isinstance(options, Mapping) else several("options", options)
    key = request_key(
        environment,
        optimizer=optimizer,
        outer=several("outer", outer),
        settings=settings,
        predictor=predictor,
        budget=budget,
        seed=seed,
        dataset=dataset,
        trials=trials,
        iterations=iterations,
        first_seed=first_seed,
    )
    if threads is not None:
        check_whole("number of threads", threads, 1)
    folder = Path(out) if out else default_folder(key)
    claim_folder(folder, key, lambda document: parse(JumpFitKey, document).difference(key))
    if finished := _finished(folder, key):
        return JumpFit(folder, finished, repeated=True)
    data = _dataset(key, threads, progress, announce)
    fitted = run(
        predictor,
        data,
        budget=budget,
        options=key.options,
        seed=seed,
        out=folder / STATE_FOLDER,
        limit=WINDOWS,
        returns=False,
        device="cpu",  # the key has no device, and one key gives the same numbers
        progress=progress,
    )
    plain, tuned = _tune(key, folder, threads, progress)
    return JumpFit(folder, _write(key, folder, data, fitted.record.cost.fit_seconds, plain, tuned))


def _dataset(key: JumpFitKey, threads: int | None, progress: Progress, announce: Callable[[str], None]) -> Dataset:
    """The dataset to fit on, collected first if it is not here."""
    if (config := key.collection) is not None:
        chosen: Preset = config
        if config.trials > FIRST_TRIALS:
            first = config.model_copy(update={"trials": FIRST_TRIALS})
            base = collect_as(collection_name(first), first, threads, progress, derive=False, announce=announce)
            chosen = Extension(extends=base.name, trials=config.trials, train_only=True)
        return collect_as(key.dataset, chosen, threads, progress, derive=False, announce=announce)
    data = load_or_collect(key.dataset, True, CURRENT, progress, announce=announce)
    _collected_steps(data)  # raises for imported trials, whose seeds say nothing
    seeds = [data.manifest.trial_seeds[trial] for trial in data.manifest.split.fitted]
    check_seeds(key.protocol, seeds, data.name)
    return data


def _collected_steps(data: Dataset) -> int:
    """Environment steps of all trials of a dataset up to their last checkpoint; raises `DatasetError` if imported."""
    config = data.manifest.configuration
    iterations = math.ceil((data.manifest.checkpoints - 1) / config.training.checkpoints_per_iteration)
    return len(data) * iterations * config.hyperparameters.steps_per_iteration


def _tune(
    key: JumpFitKey, folder: Path, threads: int | None, progress: Progress
) -> tuple[TrainingRun, list[TrainingRun]]:
    """Train the tuning trials without jumps, and with each configuration of them."""
    count, runs = 1 + len(key.jumps), []
    for number, jump in enumerate(((), *key.jumps)):

        def report(stage: str, done: int, total: int, word: str, number: int = number) -> None:
            progress("tune", number * total + done, count * total, f"{number + 1} of {count}, {word}")

        state = (f"{JUMP}.{PREDICTOR}={folder / STATE_FOLDER}",) if jump else ()
        runs.append(
            train(
                key.optimizer,
                key.protocol.environment,
                outer=key.outer if jump else key.plain_outer,
                options=(*key.settings, *state, *jump),
                on="tuning",
                out=folder / _tuning_folder(jump),
                threads=threads,
                progress=report,
            )
        )
    return runs[0], runs[1:]


def _tuning_folder(jump: Sequence[str]) -> str:
    """The name of a training's folder."""
    parts = [as_file_name(one.removeprefix(f"{JUMP}.").replace("=", "-", 1)) for one in jump]
    return "-".join(["tuning", *(parts or ["without-jumps"])])


def _write(
    key: JumpFitKey, folder: Path, data: Dataset, fit_seconds: float, plain: TrainingRun, jumping: Sequence[TrainingRun]
) -> JumpFitRecord:
    """Choose by the tuning trials, and record."""

    def tuned(one: TrainingRun, jump: Sequence[str]) -> Tuned:
        record = one.record
        gain = paired(record.columns, plain.record.columns, key.protocol)[HEADLINE] if jump else None
        return Tuned(settings=tuple(jump), folder=one.folder.name, auc=record[HEADLINE], gain=gain)

    configurations = tuple(tuned(one, jump) for one, jump in zip(jumping, key.jumps, strict=True))
    trained = sum(one.record.key.trials * one.record.key.iterations for one in (plain, *jumping))
    method = data.manifest.configuration.method or CollectionMethod()
    record = JumpFitRecord(
        format=1,
        key=key,
        dataset=identity(data),
        trained_with=method.label,
        fitted_trials=len(data.manifest.split.train),
        collected_steps=_collected_steps(data),
        fit_seconds=fit_seconds,
        tuning_steps=trained * key.protocol.iteration_steps,
        plain=tuned(plain, ()),
        tuned=configurations,
        kept=best_of(configurations),
        artifacts={"predictor": sha256(folder / STATE_FOLDER / PREDICTOR_NAME)},
        provenance=provenance("cpu", "none"),
    )
    write_text(folder / RECORD_NAME, record.model_dump_json(indent=1) + "\n")
    return record


def read_jump_fit(path: Path) -> JumpFitRecord:
    """Read a record; raises `ProtocolError` for one that is not valid."""
    try:
        return parse(JumpFitRecord, strict_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a record of a jump's fit ({reason(error)}).") from None


def _finished(folder: Path, key: JumpFitKey) -> JumpFitRecord | None:
    """The record of a fit that came to its end before, and still has its fitted state."""
    try:
        record = read_jump_fit(folder / RECORD_NAME)
        kept = record.artifacts["predictor"] == sha256(folder / STATE_FOLDER / PREDICTOR_NAME)
    except (ProtocolError, OSError):
        return None  # what is missing is made again
    return record if kept and record.key == key else None
