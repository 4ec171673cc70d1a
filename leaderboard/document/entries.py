"""Entries: the seeds of one configuration together, and boards: the entries of one dataset and protocol."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from ...baselines import predictor_type
from ...baselines.options import as_settings, build_options
from ...baselines.saving import options_dict
from ...benchmark.metrics import METRICS
from ...benchmark.protocol import CURRENT, ROW_SEEDS
from ...benchmark.record import Record, Result
from ...benchmark.request import run_folder
from ...utils.errors import ProtocolError, TiplBenchError
from ..store.evidence import RowStatus, State, row_status
from ..store.records import COMMITTED
from .schema import STATES, Commands

REQUIRED_SUMS = {column for metric in METRICS if metric.by_trial and metric.required for column in metric.columns}
"""Columns of which every record has sums by trial."""


@dataclass(frozen=True)
class Entry:
    """One row of a board: a method's configuration on a dataset, its seeds together.

    Parameters
    ----------
    records
        One per seed, in order of seeds, by their files.
    standings
        How far each was checked.
    settings
        The options by which it differs from its budget, as `--set` takes them; all of them for a method that is not
        installed here.
    """

    records: Mapping[Path, Record]
    standings: tuple[RowStatus, ...]
    settings: tuple[str, ...]

    @property
    def first(self) -> Record:
        """The record of the lowest seed."""
        return next(iter(self.records.values()))

    @property
    def board(self) -> str:
        """The board's id: dataset, the digest's start, protocol."""
        dataset = self.first.key.dataset
        return f"{dataset.name}@{dataset.first_digest[:12]}/p{self.first.key.protocol.version}"

    @property
    def id(self) -> str:
        """A slug of letters, digits and hyphens, unique among rows and the same whenever the board is built."""
        key = self.first.key
        names = (key.dataset.name, key.method.name, key.method.budget)
        words = [re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40] for name in names]
        return "-".join([*filter(None, words), hashlib.sha256(configuration(self.first).encode()).hexdigest()[:10]])

    @property
    def state(self) -> State:
        """The lowest of the seeds' states."""
        return min((one.state for one in self.standings), key=[*STATES].index)

    @property
    def disputed(self) -> str | None:
        """What disputes any of the seeds."""
        seeds = (record.key.seed for record in self.records.values())
        pairs = zip(seeds, self.standings, strict=True)
        return "; ".join(f"seed {seed}: {one.disputed}" for seed, one in pairs if one.disputed is not None) or None

    @property
    def variant(self) -> str:
        """The options by which it differs from its budget, and what it was fitted on if not the board's dataset."""
        fitted_on = self.first.key.method.fitted_on
        return " ".join([*self.settings, *([f"fitted on {fitted_on.name}"] if fitted_on else [])])

    def commands(self) -> Commands:
        """Shell commands for a clone of the project, one a seed.

        They run a seed, run it again from its record, and check the run folder that the first of them writes.
        """
        words = [self._words(path, record) for path, record in self.records.items()]
        names = ("run", "reproduce", "verify")
        return Commands(
            **{name: tuple(shlex.join(["tipl-bench", name, *one[name]]) for one in words) for name in names}
        )

    def _words(self, path: Path, record: Record) -> dict[str, list[str]]:
        key, method = record.key, record.key.method
        fitted_on = method.fitted_on.name if method.fitted_on else None
        folder = run_folder(
            key.dataset.name, method.name, self.settings, method.budget, key.seed, key.protocol, fitted_on
        )
        words = ["--model", method.name, "--dataset", key.dataset.name, "--budget", method.budget]
        words += ["--seed", str(key.seed), *(word for setting in self.settings for word in ("--set", setting))]
        words += ["--fit-on", fitted_on] if fitted_on else []
        words += ["--protocol", str(key.protocol.version)] if key.protocol.version != CURRENT.version else []
        in_clone = path.parent.parts[-2:] == COMMITTED.parts
        kept = COMMITTED.as_posix() if in_clone else path.parent.name
        return {
            "run": words,
            "reproduce": [(PurePosixPath(kept) / path.name).as_posix(), "--out", f"runs/reproduced/{path.stem}"],
            "verify": [folder.as_posix()],
        }

    def results(self, phase: str) -> list[list[Result]]:
        """Each seed's results of a phase, by horizon; empty where a seed has none."""
        return [record.of_phase(phase) for record in self.records.values()]

    def columns(self, phase: str) -> set[str]:
        """The columns of which all its records have sums by trial."""
        return set.intersection(*({*result.by_trial} for seed in self.results(phase) for result in seed))


def boards(stored: Mapping[Path, Record]) -> dict[str, list[Entry]]:
    """Entries of finished runs by board id, in order of ids.

    Raises
    ------
    ProtocolError
        If two files hold one configuration and seed, a seed is no row's, or records of one board cannot be compared.
    """
    groups: dict[str, list[tuple[Path, Record]]] = {}
    for path, record in stored.items():
        if record.failed:
            continue
        if record.key.seed not in ROW_SEEDS:
            seeds = ", ".join(map(str, ROW_SEEDS))
            raise ProtocolError(f"{path}: seed {record.key.seed} is no seed of a row, which has {seeds}; remove it.")
        groups.setdefault(configuration(record), []).append((path, record))
    usual: dict[tuple[str, str, int], Mapping[str, Any]] = {}  # finding an outside predictor takes a while: once each
    found: dict[str, list[Entry]] = {}
    for _, group in sorted(groups.items()):
        group.sort(key=lambda item: item[1].key.seed)
        for (path, record), (other, another) in itertools.pairwise(group):
            if record.key.seed == another.key.seed:
                raise ProtocolError(f"{other}: the same configuration and seed as {path}; a row has one of them.")
        stated = group[0][1].key.method
        kind = (stated.name, stated.budget, group[0][1].key.protocol.context)
        usual[kind] = known = usual[kind] if kind in usual else _usual_options(*kind)
        settings = as_settings({n: value for n, value in stated.options.items() if n not in known or known[n] != value})
        entry = Entry(dict(group), tuple(row_status(path, record) for path, record in group), settings)
        found.setdefault(entry.board, []).append(entry)
    for board in found.values():
        _comparable(board)
    return dict(sorted(found.items()))


def frame(entries: Sequence[Entry], phase: str, columns: Sequence[str]) -> pd.DataFrame:
    """The entries' sums by trial in one phase: a board's frame, see `statistics.board`."""
    parts = []
    for entry in entries:
        for record, results in zip(entry.records.values(), entry.results(phase), strict=True):
            sums = {name: np.array([result.by_trial[name] for result in results]).T for name in columns}
            trials, horizons = np.indices(sums[columns[0]].shape).reshape(2, -1)
            key: dict[str, Any] = {"entry": entry.id, "seed": record.key.seed, "trial": trials, "horizon": horizons + 1}
            parts.append(pd.DataFrame(key | {name: values.ravel() for name, values in sums.items()}))
    return pd.concat(parts, ignore_index=True)


def _usual_options(name: str, budget: str, context: int) -> Mapping[str, Any]:
    """A method's options under a budget; empty if it is not installed here."""
    try:
        options: Mapping[str, Any] = options_dict(build_options(predictor_type(name), budget, (), context))
    except TiplBenchError:
        return {}
    return options


def configuration(record: Record) -> str:
    """What the seeds of an entry have in common."""
    key = record.key
    return json.dumps(
        [
            key.dataset.stable(),
            key.protocol.version,
            key.method.stable(),
            key.device,
        ],
        sort_keys=True,
    )


def _comparable(board: Sequence[Entry]) -> None:
    """Check that all records of a board are of one dataset, protocol, and of the same phases, horizons and trials."""
    records = {path: record for entry in board for path, record in entry.records.items()}
    # One that states both digests comes first, if there is any: those of format 1 are equal to each such.
    (first, one), *others = sorted(records.items(), key=lambda item: (item[1].key.dataset.digest_format == 1, item[0]))
    shape = _shape(first, one)
    for path, other in others:
        if other.key.dataset != one.key.dataset:
            raise ProtocolError(f"{path}: another digest or environment of {one.key.dataset.name} than {first}.")
        if other.key.protocol != one.key.protocol:
            raise ProtocolError(f"{path}: another protocol {one.key.protocol.version} than that of {first}.")
        if _shape(path, other) != shape:
            raise ProtocolError(f"{path}: other phases, horizons or test trials than {first} of the same dataset.")


def _shape(path: Path, record: Record) -> dict[str, tuple[int, ...]]:
    """Test trials at each horizon of each phase."""
    shape: dict[str, tuple[int, ...]] = {}
    horizons: dict[str, list[int]] = {}
    for result in sorted(record.results, key=lambda result: result.horizon):
        phase = result.phase
        lengths = {len(result.by_trial.get(column, ())) for column in {*REQUIRED_SUMS, *result.by_trial}}
        if lengths != {result.trials}:
            raise ProtocolError(f"{path}: its sums by trial are not of {result.trials} trials each.")
        shape[phase] = (*shape.get(phase, ()), result.trials)
        horizons.setdefault(phase, []).append(result.horizon)
    steps = list(range(1, record.key.protocol.horizon + 1))
    if not shape or any(horizons[phase] != steps or len(set(trials)) > 1 for phase, trials in shape.items()):
        raise ProtocolError(f"{path}: not of horizons 1 to {len(steps)} on the same test trials in every phase.")
    return shape
