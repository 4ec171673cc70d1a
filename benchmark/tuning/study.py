"""Optuna's part of a search: what to try next, and what was tried."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...utils.errors import TiplBenchError
from ...utils.text import one_line
from .space import Dimension, all_of, count

if TYPE_CHECKING:
    import optuna


def import_optuna() -> Any:
    """The package optuna, which is optional; raises `TiplBenchError` if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise TiplBenchError(
            "The search needs the package optuna, which is not installed: pip install 'tipl-bench[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Study:
    """Optuna's study of a search, kept in a journal."""

    def __init__(self, journal: Path, space: Sequence[Dimension], seed: int) -> None:
        self.optuna, self.space, self.seed = import_optuna(), space, seed
        self.distributions = {one.name: self._distribution(one) for one in space}
        try:
            self.study = self._open(journal)
            self.earlier = self._earlier()
        except OSError:  # of the disk: the journal may be whole
            raise
        except Exception as error:  # optuna's, of whatever stands in the file
            damaged = journal.with_name(f"{journal.name}.damaged")
            warnings.warn(
                f"{journal} is damaged ({one_line(repr(error), 100)}) and is kept as {damaged.name}: the search begins "
                "anew; runs that it finished count.",
                stacklevel=2,
            )
            journal.replace(damaged)
            self.study = self._open(journal)
            self.earlier = []

    def _distribution(self, one: Dimension) -> Any:
        kinds = self.optuna.distributions
        if one.values:
            return kinds.CategoricalDistribution(one.values)
        return (kinds.IntDistribution if one.whole else kinds.FloatDistribution)(one.low, one.high, log=one.log)

    def _open(self, journal: Path) -> optuna.Study:
        """The study; a last line that a killed process left unfinished is cut off, as is its lock: this one is held."""
        if journal.exists() and (content := journal.read_bytes()) and not content.endswith(b"\n"):
            journal.write_bytes(content[: content.rfind(b"\n") + 1])
        journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
        backend = self.optuna.storages.journal.JournalFileBackend(str(journal))
        storage = self.optuna.storages.JournalStorage(backend)
        study: optuna.Study = self.optuna.create_study(
            storage=storage, study_name="search", direction="maximize", load_if_exists=True
        )
        return study

    def _earlier(self) -> list[optuna.trial.FrozenTrial]:
        """What earlier calls suggested; a suggestion that was cut off on its way to the journal is given up."""
        found, states = self.study.get_trials(), self.optuna.trial.TrialState
        for one in found:
            if one.state == states.RUNNING and one.params.keys() != self.distributions.keys():
                self.study.tell(one.number, state=states.FAIL)
        return [one for one in found if one.params.keys() == self.distributions.keys()]

    def configurations(self, trials: int) -> tuple[int, Iterator[tuple[int, dict[str, Any], bool]]]:
        """How many there are, and each with its number in the study and whether it was tried before."""
        before = [(one.number, one.params, one.state.is_finished()) for one in self.earlier]
        size = count(self.space)
        if size is None or size > trials:
            more = max(0, trials - len(before))
            return len(before) + more, itertools.chain(before, (self._suggest() for _ in range(more)))
        rest = [values for values in all_of(self.space) if values not in [params for _, params, _ in before]]
        return len(before) + len(rest), itertools.chain(before, map(self._suggest, rest))

    def _suggest(self, values: dict[str, Any] | None = None) -> tuple[int, dict[str, Any], bool]:
        """A new configuration: the given one, or one that follows from the seed and those before it."""
        if values is not None:
            self.study.enqueue_trial(values, skip_if_exists=True)
        seeds = np.random.SeedSequence((self.seed, len(self.study.get_trials())))
        self.study.sampler = self.optuna.samplers.TPESampler(seed=int(seeds.generate_state(1)[0]))
        suggested = self.study.ask(self.distributions)
        return suggested.number, suggested.params, False

    def tell(self, number: int, skill: float) -> None:
        """What came out of a suggestion; NaN for a failure."""
        if math.isnan(skill):
            self.study.tell(number, state=self.optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(number, skill)
