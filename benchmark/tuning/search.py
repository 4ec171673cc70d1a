"""Search a predictor's options on the validation trials, each configuration an ordinary run; a search can be resumed.

The folder of a search holds `search.json` (what is searched), `study.journal` (optuna's), `configurations.csv` (what
was tried, in order), and a run folder a configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from ...utils.errors import OptionError, PredictorError, ProtocolError, reason
from ...utils.files import write_text
from ...utils.progress import Progress, silent
from ...utils.text import first_error, join_first, one_line
from ..record import RECORD_NAME, Record, RunKey, read_record
from ..request import RunRequest, default_folder
from ..run import execute
from ..table import mean_skill
from .space import Dimension, parse_space
from .study import Study, import_optuna

SEARCH_NAME, JOURNAL_NAME, TABLE_NAME, LOCK_NAME = "search.json", "study.journal", "configurations.csv", "search.lock"
MAX_CONFIGURATIONS = 10_000


@dataclass(frozen=True)
class Configuration:
    """A configuration that was tried.

    Parameters
    ----------
    number
        From 1, in the order they were tried.
    settings
        All settings of its run.
    folder
        Its run folder.
    record
        Its record; None if it failed.
    failure
        Why it failed.
    """

    number: int
    settings: tuple[str, ...]
    folder: Path
    record: Record | None = None
    failure: str = ""

    @property
    def skill(self) -> float:
        """The mean skill over the horizons, which is searched for; NaN if it failed."""
        return math.nan if self.record is None else mean_skill(self.record)


class Search(BaseModel):
    """What is searched, as `search.json` keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: RunKey
    """Of every run, but for the options that are searched."""
    space: tuple[str, ...]


def default_search_folder(request: RunRequest) -> Path:
    """`runs/<dataset>/<model>-tune[-settings]-<budget>-seed<seed>[-p<version>]`."""
    folder = default_folder(dataclasses.replace(request, split="test", returns=True))
    model = request.model.rpartition(":")[2]
    return folder.with_name(f"{model}-tune{folder.name.removeprefix(model)}")


def search(
    request: RunRequest,
    searches: Sequence[str],
    trials: int,
    folder: Path,
    progress: Progress = silent,
    report: Callable[[Configuration, int], None] = lambda configuration, total: None,
) -> list[Configuration]:
    """Try configurations with optuna's TPE sampler; the same folder goes on where a search was interrupted.

    What is suggested depends on the seed and on what was tried before alone: an interrupted search tries what a whole
    one would have. Where the space has no more than `trials` configurations, each is tried once.

    Parameters
    ----------
    request
        A run on the validation trials; its seed is the search's too.
    searches
        The space; see `space.FORMS`.
    trials
        How many configurations to try in all, those of earlier calls included.
    folder
        Where to keep the search and its runs.
    progress
        Receives the progress of every run.
    report
        Called with each configuration when it has been tried, and how many there will be.

    Returns
    -------
    list of Configuration
        In the order they were tried, those that failed included.

    Raises
    ------
    OptionError, UnknownNameError
        If a search, an option or the number of trials is not valid.
    ProtocolError
        If the folder holds another search, or another process is at work there.
    TiplBenchError
        If optuna is not installed.
    """
    import_optuna()
    if type(trials) is not int or not 1 <= trials <= MAX_CONFIGURATIONS:
        raise OptionError(
            f"Invalid number of configurations {trials!r}: use a whole number from 1 to {MAX_CONFIGURATIONS}."
        )
    key, space = _described(request, parse_space(searches))
    with _claimed(folder, Search(key=key, space=tuple(searches))):
        study = Study(folder / JOURNAL_NAME, space, request.seed)
        total, configurations = study.configurations(trials)
        tried: dict[tuple[str, ...], Configuration] = {}
        found: list[Configuration] = []
        for number, values, is_finished in configurations:
            settings = (*request.settings, *(one.setting(values[one.name]) for one in space))
            one = dataclasses.replace(request, settings=settings)
            if settings not in tried:
                place = folder / default_folder(one).name
                tried[settings] = (is_finished and _earlier(one, place)) or _tried(one, place, progress)
            found.append(dataclasses.replace(tried[settings], number=len(found) + 1))
            if not is_finished:
                study.tell(number, found[-1].skill)
            write_text(folder / TABLE_NAME, _as_table(found, space).to_csv(index=False))
            report(found[-1], total)
    return found


def _earlier(request: RunRequest, folder: Path) -> Configuration | None:
    """A configuration that an earlier call tried; None if it has to be tried again, as its record is gone."""
    try:
        record = read_record(folder / RECORD_NAME)
    except (ProtocolError, OSError):
        return None
    return _outcome(request, folder, record)


def _tried(request: RunRequest, folder: Path, progress: Progress) -> Configuration:
    try:
        return _outcome(request, folder, execute(request, folder, progress).record)
    except (PredictorError, OptionError, ProtocolError) as error:
        return Configuration(0, request.settings, folder, failure=str(error))


def _outcome(request: RunRequest, folder: Path, record: Record) -> Configuration:
    if record.failed:
        return Configuration(0, request.settings, folder, failure=str(record.status.reason))
    if not math.isfinite(mean_skill(record)):
        return Configuration(0, request.settings, folder, failure="its skill is undefined.")
    return Configuration(0, request.settings, folder, record)


def _as_table(tried: Sequence[Configuration], space: Sequence[Dimension]) -> pd.DataFrame:
    """A row a configuration: number, a column each for the options that were searched, skill, folder, failure."""
    rows = []
    for one in tried:
        options = dict(setting.partition("=")[::2] for setting in one.settings[-len(space) :])
        outcome = {"skill": one.skill, "folder": one.folder.name, "failure": one_line(one.failure)}
        rows.append({"number": one.number, **options, **outcome})
    return pd.DataFrame(rows)


def _described(request: RunRequest, space: Sequence[Dimension]) -> tuple[RunKey, tuple[Dimension, ...]]:
    """The key of the runs without the options that are searched, and the space, decimal where an option is.

    Raises on names that are no options, and ranges of decimal numbers for an option that takes whole ones.
    """
    searched = {one.name for one in space}
    if both := searched & {setting.partition("=")[0] for setting in request.settings}:
        raise OptionError(f"Option {min(both)!r} is set and searched; do one of them.")
    corner = tuple(one.setting(one.values[0] if one.values else one.low) for one in space)
    try:
        key = _key(dataclasses.replace(request, settings=(*request.settings, *corner)))
    except (OptionError, PredictorError):  # of these values together: others may do
        key = _key(request)
    options = key.method.options
    for one in space:
        if type(options.get(one.name)) is int and not one.values and not one.whole:
            raise OptionError(f"Option {one.name!r} takes whole numbers, and {one.low}..{one.high} are not.")
    kinds = tuple(one.decimal() if isinstance(options.get(one.name), float) else one for one in space)
    kept = {name: value for name, value in options.items() if name not in searched}
    return key.model_copy(update={"method": key.method.model_copy(update={"options": kept})}), kinds


def _key(request: RunRequest) -> RunKey:
    with request.start(sweep=True) as predictor:
        if len(predictor.configurations) > 1:
            raise OptionError("Several values of an option are set: search them instead (`search=`).")
        return request.key(predictor)


@contextlib.contextmanager
def _claimed(folder: Path, description: Search) -> Iterator[None]:
    """Hold a search's folder, with its description in it; the lock goes with the process, however it ends."""
    path = folder / SEARCH_NAME
    if not path.exists() and folder.exists() and any(one.name != LOCK_NAME for one in folder.iterdir()):
        raise ProtocolError(f"{folder} is not empty and holds no search. Choose another folder (`out=`).")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ProtocolError(
            f"Another process is searching in {folder}; wait for it, or choose another folder (`out=`)."
        ) from None
    with lock:
        if path.exists():
            _check_same(folder, description)
        else:
            write_text(path, description.model_dump_json(indent=1) + "\n")
        yield


def _check_same(folder: Path, description: Search) -> None:
    try:
        found = Search.model_validate_json((folder / SEARCH_NAME).read_bytes())
    except (ValidationError, OSError) as error:
        why = first_error(error) if isinstance(error, ValidationError) else reason(error)
        raise ProtocolError(
            f"{folder / SEARCH_NAME} describes no search ({why}). Choose another folder (`out=`)."
        ) from None
    if found.space != description.space:
        raise ProtocolError(
            f"{folder} holds a search of another space: {' '.join(found.space)} there, {' '.join(description.space)} "
            "here. Choose another folder (`out=`)."
        )
    if found.key != description.key:
        other = join_first(description.key.differences(found.key))
        raise ProtocolError(f"{folder} holds another search ({other}). Choose another folder (`out=`).")
