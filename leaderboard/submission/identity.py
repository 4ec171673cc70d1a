"""Whether a run is what its names say: predictors of this package, names alike, seeds, and forecasts of other rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...baselines import IN_TREE, predictor_type
from ...baselines.plugins.discovery import SEES_THE_FUTURE
from ...baselines.predictor import class_with_fit_set
from ...baselines.saving import options_dict
from ...benchmark.protocol import ROW_SEEDS
from ...benchmark.record import Record
from ...benchmark.request import stated_predictor
from ...benchmark.worker.usage import Limits
from ...registry.reference import skeleton
from ...utils.canonical import canonical_json
from ...utils.errors import TiplBenchError
from ...utils.progress import Progress
from ..verify.folder import RunFolder
from ..verify.reproduce import TOLERANCE, ReproductionResult, reproduce

NEAR = 0.01
"""Forecasts are near another predictor's if their weight errors, trial by trial, differ by less in the median.

A hundredth of noise in each weight's step moves them by less than 0.001, a tenth by about 0.01."""

NORMALISER_RTOL = 1e-6
"""Relative difference of a forecast normaliser from arithmetic on another machine."""

NEAR_NAMES = 0.8
"""Names are near with a larger share of letters in common (`difflib`): one letter of five differs."""


def is_in_tree(record: Record) -> bool:
    """Whether a record is under the name of a predictor of this package."""
    return record.key.method.name in IN_TREE


def find_identity_problems(record: Record, board: Mapping[Path, Record]) -> Iterator[str]:
    """Why a record cannot be of the row that it names, as far as the record alone tells."""
    seed = record.key.seed
    if seed not in ROW_SEEDS:
        yield f"seed {seed} is no seed of a row; the seeds of every row are {', '.join(map(str, ROW_SEEDS))}"
    name = record.key.method.name
    if skeleton(name) == skeleton(SEES_THE_FUTURE):
        yield f"{name} is the model whose basis sees the future; it is never ranked"
    for known in sorted({*IN_TREE, *(other.key.method.name for other in board.values())} - {name}):
        if skeleton(known) == skeleton(name):
            whose = "a predictor of this package" if known in IN_TREE else "which the board has"
            yield f"{name} can be taken for {known}, {whose}; choose another name"
    if any(_is_respelled(record, other) for other in board.values()):
        yield f"the board has {name} with options that equal these but for their types, as 1, 1.0 and true do"
    if is_in_tree(record):
        yield from _false_claims(record)


def _is_respelled(record: Record, other: Record) -> bool:
    """Whether two records have options that are equal in Python but not in JSON: two rows of one configuration."""
    mine, theirs = record.key.method, other.key.method
    same = (mine.name, mine.options) == (theirs.name, theirs.options)
    return same and canonical_json(mine.options) != canonical_json(theirs.options)


def run_again(run: RunFolder, folder: Path, limits: Limits, progress: Progress) -> ReproductionResult:
    """Run a record of this package's own predictor again, into a new folder.

    Where there is no GPU, a record of one is run on the CPU and graded all the same.

    Raises
    ------
    TiplBenchError
        If it cannot be run here, or takes longer than the limit.
    """
    import torch

    device = run.record.key.device if torch.cuda.is_available() else "cpu"
    return reproduce(run.record, run.dataset, folder, device=device, limits=limits, progress=progress)


def reproduction_problem(found: ReproductionResult) -> str | None:
    """Why a run is not this package's predictor of that name, if it is not."""
    if found.grade != "drifted":
        return None
    method = found.record.key.method
    return (
        f"these are not the forecasts of {method.name} v{method.version}, a predictor of this package: run again here, "
        f"a skill differs by {found.largest:.2g} ({found.where}; tolerance {TOLERANCE}). A predictor of your own has a "
        "name of its own"
    )


def normaliser_problem(run: RunFolder, again: RunFolder) -> str | None:
    """Why a run's normaliser is not what this package's predictor of that name forecasts, if it is not.

    Skills, by which runs are graded, know nothing of it.
    """
    mine, theirs = run.normaliser, again.normaliser
    if mine is None or theirs is None or np.allclose(mine, theirs, rtol=NORMALISER_RTOL, atol=NORMALISER_RTOL**2):
        return None
    name = run.record.key.method.name
    return f"the normaliser is not what {name}, a predictor of this package, forecasts when it is run again here"


def find_near_names(name: str, board: Mapping[Path, Record]) -> Iterator[str]:
    """Names that a reader could take for one another although no letter is confusable."""
    for known in sorted({*IN_TREE, *(other.key.method.name for other in board.values())} - {name}):
        alike = SequenceMatcher(None, known.casefold(), name.casefold()).ratio()
        if alike >= NEAR_NAMES or known.casefold() in name.casefold():
            yield f"{name} reads like {known}, {'a predictor of this package' if known in IN_TREE else 'of the board'}"


def find_near_copies(record: Record, others: Mapping[Path, Record]) -> Iterator[str]:
    """Rows of other predictors that have nearly the same weight errors on every test trial."""
    own = _errors(record)
    seen: set[str] = set()
    for path, other in others.items():
        method = other.key.method
        same_board = (other.key.dataset, other.key.protocol) == (record.key.dataset, record.key.protocol)
        if not same_board or method.name in (record.key.method.name, *seen):
            continue
        theirs = _errors(other)
        if own.shape != theirs.shape:
            continue
        larger = np.maximum(own, theirs)
        gap = float(np.median(np.divide(np.abs(own - theirs), larger, out=np.zeros_like(own), where=larger > 0)))
        if gap < NEAR:
            seen.add(method.name)
            yield (
                f"nearly the forecasts of {method.name} v{method.version} ({path.name}): the weight errors of test "
                f"trials differ by {gap:.2g} of their size in the median, where less than {NEAR} is asked about"
            )


def _errors(record: Record) -> npt.NDArray[np.float64]:
    """Sums of WPE by trial, horizons and phases in a row."""
    phases = sorted({result.phase for result in record.results if result.phase not in (None, "all")})
    sums = [result.by_trial["wpe"] for phase in phases for result in record.of_phase(str(phase))]
    return np.array([value for trials in sums for value in trials])


def _false_claims(record: Record) -> Iterator[str]:
    """What a record states of a predictor of this package that is not true of it here."""
    stated = record.key.method
    kind = predictor_type(stated.name)
    try:
        predictor = stated_predictor(record.key)
    except TiplBenchError as error:
        yield f"options that {stated.name} cannot have: {str(error).encode('unicode_escape').decode()[:200]}"
        return
    consumes = predictor.information_class
    if stated.fitted_on:
        elsewhere = stated.fitted_on.environment != record.key.dataset.environment
        consumes = class_with_fit_set(consumes, elsewhere=elsewhere)
        if elsewhere and not kind.transfers:
            yield f"what {stated.name} learns does not transfer from {stated.fitted_on.environment}"
    facts = {
        "version": kind.version,
        "consumes": consumes,
        "forecasts_normaliser": predictor.forecasts_normaliser,
    }
    for field, known in facts.items():
        if (said := getattr(stated, field)) != known:
            yield f"says {field} {said} of {stated.name}, which has {known} here"
    built = options_dict(predictor.options)
    missing = {**built, **stated.options}
    # As JSON, where 1, 1.0 and true are three things: they would make three rows of one configuration.
    wrong = [n for n in missing if canonical_json(built.get(n)) != canonical_json(stated.options.get(n))]
    if wrong:
        name = wrong[0]
        said, known = stated.options.get(name), built.get(name)
        yield f"says option {name} = {said!r} of {stated.name}, which comes out as {known!r}"
