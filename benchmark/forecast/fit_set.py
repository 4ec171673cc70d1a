"""The fit set of a run: another dataset whose trials a predictor is fitted on, none of which it is scored on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ...registry.catalog import identity_of
from ...registry.collection_config import ImportedCollection
from ...registry.dataset import Dataset
from ...registry.files import verify_file
from ...registry.views.saving import Member
from ...utils.errors import OptionError
from ..protocol import Protocol
from .windows import Split

FIRST = 30
"""Checkpoints by which a trial is known; every dataset that can be forecast has as many."""


def check_fit_set(fit_set: Dataset, dataset: Dataset, protocol: Protocol, part: Split) -> None:
    """Check that a predictor fitted on one dataset may forecast the trials of another.

    Neither the training nor the validation trials of the fit set may be test trials of the forecast dataset, whichever
    trials are forecast now: what is tuned with them would be scored on them later. Where the validation trials are
    forecast, none of them may be a training trial of the fit set either.

    Raises
    ------
    OptionError
        If they may not, or the two are one dataset, or differ in what makes their trials alike. Trials of another
        environment may be of other policies: whether the predictor transfers is checked where it is known
        (`RunRequest.key`).
    """
    start = f"{dataset.name} cannot be forecast by what is fitted on {fit_set.name}"
    if identity_of(fit_set).matches(identity_of(dataset)):
        raise OptionError(
            f"{dataset.name} is the dataset that is forecast, and its own training trials are fitted on anyway; leave "
            "out `fit_on=`."
        )
    mine, theirs = _kind(fit_set), _kind(dataset)
    free = ("environment", "policy layout") if fit_set.environment != dataset.environment else ()
    for what in (name for name in mine if mine[name] != theirs[name] and name not in free):
        raise OptionError(f"{start}: the {what} of its trials is {mine[what]}, not {theirs[what]}.")
    needed = protocol.context + protocol.horizon
    if fit_set.manifest.checkpoints < needed:
        raise OptionError(
            f"{start}: its trials have {fit_set.manifest.checkpoints} checkpoints, and protocol {protocol.version} "
            f"needs {needed}."
        )
    _check_apart(start, fit_set, fit_set.manifest.split.fitted, dataset, "test")
    if part == "validation":
        _check_apart(start, fit_set, fit_set.manifest.split.train, dataset, "validation")


def verify_fit_set(fit_set: Dataset) -> None:
    """Hash every trial that is fitted on; raises `DatasetError` for one that is not what the manifest says."""
    for entry in fit_set.files(fit_set.manifest.split.fitted):
        verify_file(fit_set.folder / entry.path, entry)


def _kind(dataset: Dataset) -> dict[str, str]:
    """What must be the same of trials to fit on and trials to forecast, in words."""
    layout = dataset.layout
    return {
        "environment": dataset.environment,
        "policy layout": f"{' x '.join(map(str, layout.sizes))}, {layout.activation}",
        "spacing of checkpoints": dataset.manifest.collection.spacing,
    }


def _check_apart(start: str, fit_set: Dataset, fitted: Iterable[int], dataset: Dataset, part: Split) -> None:
    """Refuse trials to fit on that are trials of a part of the forecast dataset: by seed, or by their weights."""
    imported = any(isinstance(one.manifest.collection, ImportedCollection) for one in (dataset, fit_set))
    tested = getattr(dataset.manifest.split, part)
    known = {mark: trial for trial in tested for mark in _marks(dataset, trial, imported=imported)}
    shared = {}
    for trial in fitted:
        for mark in (mark for mark in _marks(fit_set, trial, imported=imported) if mark in known):
            shared[trial] = known[mark]
    if shared:
        trial, other = next(iter(shared.items()))
        own = "training" if trial in fit_set.manifest.split.train else "validation"
        more = f", and {len(shared) - 1} more are such" if len(shared) > 1 else ""
        raise OptionError(f"{start}: its {own} trial {trial} is {part} trial {other} of {dataset.name}{more}.")


def _marks(dataset: Dataset, trial: int, *, imported: bool) -> tuple[str, ...]:
    """What the same trial has in any dataset; beside imported ones also the hash of its first checkpoints."""
    marks = Member(dataset.trial(trial), dataset.manifest).marks
    if not imported:
        return marks
    first = dataset.trial(trial).weights(0, min(FIRST, dataset.manifest.checkpoints))
    return (*marks, hashlib.sha256(first.tobytes()).hexdigest())
