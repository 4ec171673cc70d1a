"""Confirm records: run their predictors on fresh trials, and compare with what the records claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...baselines import method_code
from ...benchmark.forecast.reference_returns import reference_returns
from ...benchmark.forecast.windows import evaluation_windows
from ...benchmark.metrics import BY_NAME, HEADLINE
from ...benchmark.protocol import Protocol
from ...benchmark.record import Record
from ...benchmark.run import execute
from ...benchmark.worker.usage import Limits
from ...registry.catalog import identity_of
from ...registry.dataset import Dataset
from ...registry.loading import load_dataset
from ...registry.store import exclusive
from ...rl import usable_threads
from ...utils.errors import PredictorError, ProtocolError
from ...utils.files import private_files
from ...utils.progress import Progress, silent
from ...utils.text import join_first
from ..document.metric_values import headline_phase
from ..statistics.board import MIN_TRIALS
from ..statistics.two_samples import Interval, Sample, permutation_test, two_samples
from ..store import evidence
from ..store.confirmation import (
    LABELS,
    METRICS,
    PERMUTATIONS,
    RECORDS_PER_SET,
    RULE,
    SIGNIFICANT_DIGITS,
    Confirmation,
    FreshComparison,
    Measured,
    Rule,
    code_sha256,
    enough_trials,
    keeps_secret,
)
from ..store.records import suggest_record
from ..verify.folder import open_dataset, open_record_file
from ..verify.reproduce import check_installed, rerun_request
from .fresh_set import FreshSet, lock_name, make_private, open_or_create, open_set


@dataclass(frozen=True)
class ConfirmationResult:
    """What became of one record.

    Parameters
    ----------
    path
        The record's file.
    record
        The record.
    found
        Its scores beside those on the fresh trials.
    kept
        The file of the evidence.
    """

    path: Path
    record: Record
    found: Confirmation
    kept: Path


@dataclass(frozen=True)
class _Claim:
    """A record that is to be confirmed, and the run that would be its own on its dataset."""

    path: Path
    record: Record
    dataset: Dataset

    @property
    def trials(self) -> int:
        """The public test trials that decide."""
        return min(result.trials for result in self.record.of_phase(headline_phase(self.record)))

    @property
    def run_name(self) -> str:
        """The name of its run's folder in a set."""
        return run_name(self.path, self.record)


def run_name(path: Path, record: Record) -> str:
    """The name of the folder of a record's run in a set: another record has another."""
    return f"{path.stem}-{evidence.fingerprint(record)[:8]}"


def confirm(
    paths: Sequence[Path],
    dataset: Dataset | str | None = None,
    *,
    trials: int | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    progress: Progress = silent,
    done: Callable[[ConfirmationResult], None] = lambda result: None,
) -> list[ConfirmationResult]:
    """Run the predictors of records on fresh trials, and keep beside the records whether their claims hold.

    All records of one dataset share its set of fresh trials, which is collected now, or goes on being used until it is
    revealed. What is finished is not repeated, so that an interrupted call goes on.

    Parameters
    ----------
    paths
        Record files.
    dataset
        The dataset that they name, or where that is; found by its name by default.
    trials
        How many fresh trials; those of a set that was not revealed yet, or else 15, by default.
    threads
        Physics threads of the collection; all usable cores by default.
    limits, progress
        As for a run.
    done
        Called with each result as soon as it is kept.

    Raises
    ------
    DatasetError, UnknownNameError, ProtocolError
        Before anything is collected: if a record cannot be used or is not rescored, its dataset is not here, its
        predictor is not installed or another version or other code, what isolates it here does not keep the trials
        secret, the number of trials does not fit, or more records would share them than the rule allows.
    PredictorError
        After all the others: if a record's predictor fails, or too few fresh trials have a learning phase to tell.
    """
    claims = [_open(Path(path), dataset) for path in dict.fromkeys(map(Path, paths))]
    for claim in claims:
        _check_predictor(claim)
    results: list[ConfirmationResult] = []
    failed: list[str] = []
    groups = _by_dataset(claims)
    for group in groups:
        _check_room(group)
    for group in groups:
        base = group[0].dataset
        with exclusive(lock_name(base.name)):
            fresh = open_or_create(base, trials, max(MIN_TRIALS, *(enough_trials(claim.trials) for claim in group)))
            collected = fresh.collect(base, threads or usable_threads(), progress)
            for claim in group:
                try:
                    results.append(_confirm(claim, fresh, collected, limits, progress))
                except (PredictorError, ProtocolError) as error:  # of one row: the others can be confirmed
                    failed.append(f"{claim.path.name}: {error}")
                else:
                    done(results[-1])
    if failed:
        raise PredictorError("\n".join(failed))
    return results


def _by_dataset(claims: Sequence[_Claim]) -> list[list[_Claim]]:
    groups: dict[str, list[_Claim]] = {}
    for claim in claims:
        groups.setdefault(identity_of(claim.dataset).first_digest, []).append(claim)
    return list(groups.values())


def _open(path: Path, dataset: Dataset | str | None) -> _Claim:
    if not path.is_file():
        raise ProtocolError(suggest_record(path))
    record = open_record_file(path)
    if record.why_not_submittable:
        raise ProtocolError(f"{path}: this run cannot be confirmed: {record.why_not_submittable}")
    if not evidence.is_rescored(path, record):
        raise ProtocolError(
            f"{path}: nobody computed its numbers from its forecasts, and a claim can be such that nothing refutes it. "
            "Do that first: `tipl-bench leaderboard add RUN`, or `tipl-bench verify RUN --attest` for a row that is "
            "there."
        )
    try:
        opened = open_dataset(record, dataset if dataset else load_dataset(record.key.dataset.name, download=False))
    except ProtocolError as error:
        raise ProtocolError(f"{path}: {error}") from None
    claim = _Claim(path, record, opened)
    if claim.trials < 2:
        raise ProtocolError(f"{path}: scored on {claim.trials} test trial; of fewer than 2 there is no interval.")
    return claim


def _check_predictor(claim: _Claim) -> None:
    """The record's predictor is installed, with the code that the record states, and can be isolated."""
    method, stated = claim.record.key.method, claim.record.provenance.code
    isolation = check_installed(rerun_request(claim.record, claim.dataset), method)
    here = method_code(method.name)
    if not keeps_secret(isolation, here):
        raise ProtocolError(
            f"The isolation here ({isolation}) does not keep the fresh trials secret from {method.name}: a predictor "
            "of this package needs Landlock, any other one all three of Landlock, seccomp and namespaces "
            "(docs/sandbox.md). Confirm on a machine that has them."
        )
    theirs, ours = (code.files if code else {} for code in (stated, here))
    other = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    if other:
        raise ProtocolError(
            f"{claim.path}: {method.name} is installed here with other code than the record states: "
            f"{join_first(other)}. Install what the record names, or have the record made with this."
        )


def _check_room(claims: Sequence[_Claim]) -> None:
    """Refuse more records of a dataset than the rule allows to share a set of fresh trials, and so their chance."""
    fresh = open_set(claims[0].dataset)
    served = {folder.name for folder in fresh.runs.iterdir()} if fresh and fresh.runs.is_dir() else set()
    added = {claim.run_name for claim in claims} - served
    if not added or len(served) + len(added) <= RECORDS_PER_SET:
        return
    way_out = f"Confirm at most {RECORDS_PER_SET - len(served)} of these"
    if fresh and served:
        way_out += f", or reveal the set (`tipl-bench leaderboard reveal {fresh.id}`) to have a new one collected"
    raise ProtocolError(
        f"{claims[0].dataset.name}: {len(added)} records are to be confirmed on fresh trials that serve {len(served)}. "
        f"By rule {RULE} at most {RECORDS_PER_SET} share a set, for an honest one to be refuted on at most 5% of sets. "
        f"{way_out}."
    )


def _confirm(
    claim: _Claim, fresh: FreshSet, collected: Dataset, limits: Limits | None, progress: Progress
) -> ConfirmationResult:
    """Run one predictor on the fresh trials, in the set's folder, and keep what came out beside the record."""
    with private_files():
        fresh.runs.mkdir(exist_ok=True)
    folder = fresh.runs / claim.run_name
    request = rerun_request(claim.record, collected, limits=limits)
    try:
        again = execute(request, folder, progress).record
    finally:
        make_private(fresh.runs)
    found = compare(claim.record, again, fresh.secret.commitment, claim.dataset, collected)
    kept = evidence.append(claim.path, claim.record, evidence.confirmed(found, claim.record))
    return ConfirmationResult(claim.path, claim.record, found, kept)


def compare(
    claimed: Record, again: Record, commitment: str, public: Dataset, fresh: Dataset, rule: Rule = RULE
) -> Confirmation:
    """A record's scores beside those of the same predictor on a set of fresh trials.

    Parameters
    ----------
    claimed, again
        The record, and that of its predictor's run on the fresh trials.
    commitment
        To the set's seeds.
    public, fresh
        The datasets of the two.
    rule
        By which they are compared.

    Raises
    ------
    ProtocolError
        If the run is not of the record's key and code, or a score is undefined on either.
    """
    other = claimed.key.differences(again.key.model_copy(update={"dataset": claimed.key.dataset}))
    if other or code_sha256(claimed.provenance.code) != code_sha256(again.provenance.code):
        why = "; ".join(other) or "code"
        raise ProtocolError(f"{claimed.key.method.name}: the run on the fresh trials is not the record's ({why}).")
    phase = headline_phase(claimed)
    pairs = {name: tuple(_sample(record, phase, name) for record in (claimed, again)) for name in METRICS}
    changes = [_persistence_errors(dataset, claimed.key.protocol, phase) for dataset in (public, fresh)]
    pairs["relative_repw"] = tuple(
        Sample(one.numerator, change) for one, change in zip(pairs["repw"], changes, strict=True)
    )
    scores = {name: _compared(claimed, phase, name, rule, *pair) for name, pair in pairs.items()}
    return Confirmation(
        fresh_set=commitment,
        dataset_digest=again.key.dataset.digest,
        forecasts=again.artifacts["forecasts"],
        code=code_sha256(again.provenance.code),
        isolation=again.provenance.isolation,
        trials=max((result.trials for result in again.of_phase(phase)), default=0),
        phase=phase,
        rule=rule,
        **scores,
    )


def _compared(claimed: Record, phase: str, name: str, rule: Rule, public: Sample, fresh: Sample) -> FreshComparison:
    if fresh.trials < max(2, enough_trials(public.trials, rule)):
        raise ProtocolError(
            f"{claimed.key.method.name}: only {fresh.trials} of the fresh trials, and {public.trials} of the public "
            f"ones, have a {phase} phase: too few to tell. Reveal this set, and confirm on one of more trials "
            "(`trials=`)."
        )
    protocol: Protocol = claimed.key.protocol
    found = two_samples(
        public, fresh, resamples=protocol.resamples, level=protocol.confidence, seed=protocol.bootstrap_seed
    )
    if not np.isfinite(found).all():
        raise ProtocolError(f"{LABELS[name]} is undefined on the public test trials or on the fresh ones.")
    permutations = protocol.resamples if rule == 1 else PERMUTATIONS
    lower, higher = permutation_test(
        public, fresh, resamples=permutations, seed=protocol.bootstrap_seed, exact=rule > 1
    )
    values = {part: _rounded(one) for part, one in zip(("public", "fresh", "difference"), found, strict=True)}
    return FreshComparison(**values, chance=lower if name == HEADLINE else higher)


def _persistence_errors(dataset: Dataset, protocol: Protocol, phase: str) -> npt.NDArray[np.float64]:
    """The return errors of persistence, summed over the phase's windows of each test trial that has any, [K, H]."""
    windows = evaluation_windows(dataset, protocol)
    returns = reference_returns(dataset, protocol, windows=windows)
    errors = np.abs(returns.target - returns.origin[:, None])
    trials = np.array([window.trial for window in windows])
    counted = np.array([phase in ("all", window.phase) for window in windows])
    return np.array([errors[counted & (trials == trial)].sum(axis=0) for trial in np.unique(trials[counted])])


def _sample(record: Record, phase: str, name: str) -> Sample:
    """The per-trial sums of a metric."""
    metric, results = BY_NAME[name], record.of_phase(phase)
    sums = {column: np.array([result.by_trial[column] for result in results]).T for column in metric.columns}
    return Sample(*metric.ratio(sums))


def _rounded(interval: Interval) -> Measured:
    value, low, high = (float(f"{number:.{SIGNIFICANT_DIGITS}g}") + 0.0 for number in interval)
    return Measured(value=value, low=low, high=high)
