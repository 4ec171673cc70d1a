"""The table of the training track as a document: rows, what was chosen on tuning trials, and paired comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtr

from ...baselines.optimizers.lookup import rule_type, settings_of
from ...benchmark.intervals import Estimate
from ...benchmark.meta_training.run import shipped_records
from ...benchmark.record import DatasetIdentity
from ...benchmark.training.metrics import HEADLINE, normalised, paired
from ...benchmark.training.protocol import MAX_CONFIGURATIONS
from ...benchmark.training.record import RuleIdentity, TrainingRecord
from ...benchmark.training.run import read_curves
from ...registry.catalog import catalog
from ...registry.collection.presets import environment_steps
from ...utils.errors import ProtocolError
from ...utils.fields import Count, Document, Text
from ..statistics.board import ROUNDING
from ..statistics.pairs import holm
from .curves import MeanCurve, mean_curve
from .evidence import State, TrainingEvidence, read, state_of
from .store import load

JUMP, CONTROL = "jump", "last-change"
NO_SETTINGS = {(JUMP, "direction"), ("optim4rl", "trained")}
"""What a rule's control differs in: which way a jump goes, whether an update rule is trained."""
COMPARISON_METRICS = ("auc", "steps_95", "final", "kept", "better")


class TrainingComparison(Document):
    """What a row has more than another one, paired by trial."""

    other: Text
    """The other row's id."""
    estimates: dict[Text, Estimate]
    """Differences, of steps the ratio, and `better`, the share of trials with the higher AUC."""
    p: float
    """Of the difference in AUC, by a paired t-test, corrected by Holm over the table's rows with such a comparison."""


class TrainingRow(Document):
    """A run of the test trials."""

    id: Text
    """The record's file name without its suffix."""
    method: Text
    """The method with its settings."""
    role: Text
    """default, tuned, or control: with a forecast's settings, along the last change."""
    configurations: Count
    """Configurations of its method that were tried on the tuning trials."""
    rests_on: Text
    """Gradients, released weights (pretrained elsewhere), and the datasets that its predictors were fitted on."""
    fitted_steps: Count | None
    """Environment steps that its predictors or its own parameters were trained on; None where that is unknown."""
    forecast: bool
    """Whether it jumps to forecasts; False for their controls."""
    diverged: Count
    """Trials that diverged."""
    estimates: dict[Text, Estimate]
    """Metrics."""
    against: dict[Text, TrainingComparison]
    """By reference: `tuned adam`, `best plain` (the method without a forecast that was best on the tuning trials) and,
    of a forecast, `control`."""
    seconds_per_million: float
    """CPU seconds of training a million environment steps, as the run had them."""
    state_bytes: Count
    """What it remembers of each trial."""
    state: State = "claimed"
    """How its run was checked: reproduced, replayed, or claimed where no check is known."""
    evidence: tuple[TrainingEvidence, ...] = ()
    """The checks of its run that are known, oldest first."""
    curve: MeanCurve | None = None
    """Its mean learning curve."""
    halfway: float | None = None
    """The share of the trials that reach half of the rise; the others' steps to it are all steps of the training."""


class TrainingTable(Document):
    """The rows of one environment, the highest AUC first."""

    environment: Text
    """The Gymnasium environment."""
    protocol: Count
    """The version of its training protocol."""
    trials: Count
    """Test trials."""
    environment_steps: Count
    """Of each trial."""
    references: dict[Text, Text]
    """Ids of the rows that others are compared with."""
    untuned: tuple[Text, ...] = ()
    """Ids of the plain rows that were not run on the tuning trials, so that the best plain method is none of them, but
    have a higher AUC than it on the test trials."""
    rows: tuple[TrainingRow, ...]
    """The test runs that there are."""


def tables(records: Path) -> tuple[TrainingTable, ...]:
    """The tables of all environments with committed runs; see `store.load`, and `table` for what it raises."""
    return tables_of(load(records))


def tables_of(runs: Mapping[Path, TrainingRecord]) -> tuple[TrainingTable, ...]:
    """The tables of runs by their files; see `tables`."""
    groups = sorted(by_environment(runs).items())
    found = (table(name, {path.stem: record for path, record in group.items()}) for name, group in groups)
    beside = {path.stem: _beside(path, record) for path, record in runs.items() if record.key.split == "test"}
    return tuple(
        one.model_copy(update={"rows": tuple(row.model_copy(update=beside[row.id]) for row in one.rows)})
        for one in found
    )


def by_environment(runs: Mapping[Path, TrainingRecord]) -> dict[str, dict[Path, TrainingRecord]]:
    """Runs by their files in groups, one an environment."""
    groups: dict[str, dict[Path, TrainingRecord]] = defaultdict(dict)
    for path, record in runs.items():
        groups[record.key.protocol.environment][path] = record
    return dict(groups)


def table(environment: str, records: Mapping[str, TrainingRecord]) -> TrainingTable:
    """The table of one environment from its records by id.

    Raises
    ------
    ProtocolError
        If a method was tuned on more than `MAX_CONFIGURATIONS` configurations, a test run is neither the default nor
        what tuning chose nor a control, or tuned Adam is missing.
    """
    tests = {name: record for name, record in records.items() if record.key.split == "test"}
    tuning: dict[str, list[TrainingRecord]] = defaultdict(list)
    for record in records.values():
        if record.key.split == "tuning":
            tuning[family(record)].append(record)
    for name, tried in tuning.items():
        if len(tried) > MAX_CONFIGURATIONS:
            raise ProtocolError(
                f"{environment}: {name} was tuned on {len(tried)} runs; at most {MAX_CONFIGURATIONS} may."
            )
    best = {name: max(tried, key=_auc) for name, tried in tuning.items()}
    references = _references(environment, tests, best)
    compared = {name: _against(tests, dict.fromkeys(tests, other)) for name, other in references.items()}
    controls = {name: _control(record, tests) for name, record in tests.items()}
    compared["control"] = _against(tests, {name: other for name, other in controls.items() if other})
    rows = [
        TrainingRow(
            id=name,
            method=record.key.label,
            role=_role(name, record, best, tests.values()),
            configurations=len(tuning.get(family(record), ())),
            rests_on=", ".join(["gradients", *_pretrained(record), *(one.name for one in _fitted_on(record))]),
            fitted_steps=_fitted_steps(record),
            forecast=_forecasts(record),
            diverged=record.diverged,
            estimates=record.estimates,
            against={reference: found[name] for reference, found in compared.items() if name in found},
            seconds_per_million=round(record.cost.training_seconds / (record.key.trials * _steps(record) / 1e6), 1),
            state_bytes=record.cost.state_bytes,
        )
        for name, record in sorted(tests.items(), key=lambda item: -_auc(item[1]))
    ]
    first = tests[references["tuned adam"]]
    return TrainingTable(
        environment=environment,
        protocol=first.key.protocol.version,
        trials=first.key.trials,
        environment_steps=_steps(first),
        references=references,
        untuned=_untuned(tests, tuning, references["best plain"]),
        rows=tuple(rows),
    )


def _beside(path: Path, record: TrainingRecord) -> dict[str, Any]:
    """What files beside a record say of its row."""
    evidence = read(path, record)
    curves, protocol = read_curves(path, record.key), record.key.protocol
    halfway = float((normalised(curves, protocol).max(1) >= protocol.fractions[0]).mean())
    curve = mean_curve(curves, protocol)
    return {"state": state_of(evidence), "evidence": evidence, "curve": curve, "halfway": halfway}


def _references(
    environment: str, tests: Mapping[str, TrainingRecord], best: Mapping[str, TrainingRecord]
) -> dict[str, str]:
    """The ids of the rows that all others are compared with, as the tuning trials choose them."""
    plain = [record for record in best.values() if not _jumps(record)]
    chosen = {"tuned adam": best.get("adam"), "best plain": max(plain, key=_auc, default=None)}
    found = {}
    for reference, record in chosen.items():
        name = next((n for n, one in tests.items() if record and settings(one) == settings(record)), None)
        if name is None:
            which = f" ({record.key.label})" if record else ""
            raise ProtocolError(
                f"{environment}: the table needs a test run of the {reference} method{which}, as the tuning trials "
                "choose it (`tipl-bench train`, with `--on tuning` and without); all others are compared with it."
            )
        found[reference] = name
    return found


def _untuned(
    tests: Mapping[str, TrainingRecord], tuning: Mapping[str, Sequence[TrainingRecord]], best: str
) -> tuple[str, ...]:
    """The plain rows above the best plain method that could not be it, the highest AUC first."""
    above = [
        name
        for name, record in tests.items()
        if not _jumps(record) and family(record) not in tuning and _auc(record) > _auc(tests[best])
    ]
    return tuple(sorted(above, key=lambda name: -_auc(tests[name])))


def _steps(record: TrainingRecord) -> int:
    """Environment steps of each trial."""
    return record.key.protocol.iteration_steps * record.key.iterations


def _pretrained(record: TrainingRecord) -> list[str]:
    """What an optimizer's own parameters were trained on: elsewhere, if they do not ship."""
    own = [rule for rule in settings(record) if rule.state and not rule.fitted_on]
    found = [rule_type(rule.name).rests_on if _ships(rule) else "pretrained elsewhere" for rule in own]
    return [text for rule, text in zip(own, found, strict=True) if not _untrained(rule)]


def _ships(rule: RuleIdentity) -> bool:
    """Whether parameters ship with the package, with the record of their meta-training."""
    return any(one.artifacts["parameters"] == rule.state for one in shipped_records().values())


def _untrained(rule: RuleIdentity) -> bool:
    """Whether a rule is as its meta-training began; a file that does not ship may hold anything under that name."""
    return _ships(rule) and not rule.options.get("trained", True)


def _fitted_on(record: TrainingRecord) -> list[DatasetIdentity]:
    """The datasets that the predictors of its jumps were fitted on.

    Raises `ProtocolError` for one that is not catalogued: nobody could say that its trials are none of the track's.
    """
    found = [rule.fitted_on for rule in record.key.outer if rule.fitted_on is not None]
    for one in found:
        entry = catalog().get(one.name)
        if entry is None or one.digest not in (entry.digest, entry.former_digest):
            raise ProtocolError(
                f"{record.key.label}: its predictor was fitted on {one.name}, which the catalog does not have with "
                "that digest; nobody could say that its trials are none of the training track's "
                "(docs/training-track.md, From a fit to a row)."
            )
    return found


def _fitted_steps(record: TrainingRecord) -> int | None:
    """Environment steps that what acted was trained on before."""
    known = {one.artifacts["parameters"]: one.environment_steps for one in shipped_records().values()}
    own = [rule for rule in settings(record) if rule.state and not rule.fitted_on]
    steps = [0 if _untrained(rule) else known.get(rule.state or "") for rule in own]
    if any(one is None for one in steps):
        return None
    return sum(map(int, filter(None, steps))) + sum(environment_steps(one.name) for one in _fitted_on(record))


def family(record: TrainingRecord) -> str:
    """A method without its settings, and with the predictor, its dataset and the direction of its jumps.

    What is tuned together: several states of one predictor, fitted on one dataset, count as configurations of it. A
    raised version of a rule or a predictor is a method of its own, and so are meta-parameters that ship: each is one
    of several meta-seeds, of which none is chosen.
    """
    return " + ".join(_family(rule) for rule in (record.key.optimizer, *record.key.outer))


def _family(rule: RuleIdentity) -> str:
    name = rule.name + _later(rule.version)
    if rule.name != JUMP:
        name += f"({rule.options['weights']})" if _ships(rule) else ""
        return name if rule.options.get("trained", True) else f"{name}, untrained"
    fitted_on = f" on {rule.fitted_on.name}" if rule.fitted_on else ""
    predictor = f"{rule.options['predictor']}{_later(rule.predictor_version)}{fitted_on}"
    return f"{name}({predictor}, {rule.options['direction']})"


def _later(version: int | None) -> str:
    return f" v{version}" if version and version > 1 else ""


def settings(record: TrainingRecord) -> tuple[RuleIdentity, ...]:
    """What a run of the test trials and one of the tuning trials must agree in."""
    return (record.key.optimizer, *record.key.outer)


def _auc(record: TrainingRecord) -> float:
    return record[HEADLINE].value or 0.0


def _jumps(record: TrainingRecord) -> bool:
    return any(rule.name == JUMP for rule in record.key.outer)


def _forecasts(record: TrainingRecord) -> bool:
    return any(rule.name == JUMP and rule.options["direction"] != CONTROL for rule in record.key.outer)


def _role(
    name: str, record: TrainingRecord, best: Mapping[str, TrainingRecord], tests: Iterable[TrainingRecord]
) -> str:
    """What a test run is: the default, what tuning chose, or a control; raises `ProtocolError` for anything else."""
    chosen = best.get(family(record))
    roles = {
        "default": _is_default(record),
        "tuned": chosen is not None and settings(record) == settings(chosen),
        "control": any(_controls(record, one) for one in tests),
    }
    if not any(roles.values()):
        raise ProtocolError(
            f"{name}: neither the method's default nor what was best on its tuning trials ({record.key.label}). Train "
            "it on the tuning trials too (`tipl-bench train --on tuning`), or leave it out."
        )
    return ", ".join(role for role, holds in roles.items() if holds)


def _is_default(record: TrainingRecord) -> bool:
    """Whether every setting that has a default is at it, and an optimizer's own parameters are some that ship."""
    for rule in settings(record):
        if rule.state and not rule.fitted_on and not _ships(rule):
            return False
        for name, info in settings_of(rule.name).items():
            is_setting = not info.required and (rule.name, name) not in NO_SETTINGS
            if is_setting and rule.options.get(name) != info.default:
                return False
    return True


def _controls(record: TrainingRecord, forecast: TrainingRecord) -> bool:
    """Whether a run is the control of a forecast: the same, but for the direction of its jumps."""
    if record is forecast or not _jumps(record):
        return False
    changed = [
        rule.model_copy(update={"options": {**rule.options, "direction": CONTROL}}) if rule.name == JUMP else rule
        for rule in settings(forecast)
    ]
    return tuple(changed) == settings(record) and settings(forecast) != settings(record)


def _control(forecast: TrainingRecord, tests: Mapping[str, TrainingRecord]) -> str | None:
    return next((name for name, one in tests.items() if _controls(one, forecast)), None)


def _against(tests: Mapping[str, TrainingRecord], others: Mapping[str, str]) -> dict[str, TrainingComparison]:
    """Comparisons of rows with another row each, where they have one that is not themselves."""
    pairs = [(name, found) for name, found in others.items() if found != name]
    columns = [(tests[name].columns, tests[found].columns) for name, found in pairs]
    p = holm(np.array([paired_p(ours[HEADLINE] - theirs[HEADLINE]) for ours, theirs in columns]))
    return {
        name: TrainingComparison(other=found, estimates=_shown(ours, theirs, tests[name]), p=float(one))
        for (name, found), (ours, theirs), one in zip(pairs, columns, p, strict=True)
    }


def _shown(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], record: TrainingRecord
) -> dict[str, Estimate]:
    found = paired(ours, theirs, record.key.protocol)
    return {name: found[name] for name in COMPARISON_METRICS}


def paired_p(differences: Sequence[float] | np.ndarray) -> float:
    """The two-sided p-value of a paired t-test; 1 of a single trial, and where nothing differs beyond rounding."""
    values = np.asarray(differences, dtype=np.float64)
    mean = values.mean()
    if len(values) < 2 or abs(mean) < ROUNDING:
        return 1.0
    spread = values.std(ddof=1) / np.sqrt(len(values))
    return float(2 * stdtr(len(values) - 1, -abs(mean) / spread)) if spread > ROUNDING else 0.0
