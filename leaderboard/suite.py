"""The suite `board`: what `tipl-bench suite run board` runs to give the records again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..baselines import IN_TREE, predictor_type
from ..baselines.optimizers.lookup import IN_TREE as RULES
from ..baselines.optimizers.lookup import settings_of
from ..baselines.optimizers.optim4rl.parameters import shipped_parameters
from ..baselines.options import as_settings, build_options
from ..baselines.saving import options_dict
from ..benchmark.fitted.states import fitted_state, shipped_states
from ..benchmark.protocol import CURRENT
from ..benchmark.record import RunKey
from ..benchmark.training.record import RuleIdentity, TrainingKey
from ..benchmark.training.request import PREDICTOR, WEIGHTS, TrainingRequest
from ..registry.catalog import catalog
from ..registry.collection.presets import presets
from ..utils.errors import TiplBenchError
from ..utils.files import sha256

HEAD = """\
# The leaderboard: every run that has a row under the current protocols of both tracks, but for those with released
# weights, which need a file (docs/predictors.md), and of other packages. `tipl-bench leaderboard build` writes this.

summary = "The leaderboard of both tracks: days of one machine"
"""
WIDTH = 120
Settings = tuple[str, ...]
Entry = dict[str, Any]


def render(runs: Iterable[RunKey], trainings: Iterable[TrainingKey]) -> str:
    """The suite as TOML: an entry for the runs that differ in dataset, seed or environment alone.

    A run that the suite could not name is left out: of another protocol, with a file of weights, or of a method,
    version or dataset that this package does not have.

    Parameters
    ----------
    runs
        Of records of the forecast track.
    trainings
        Of records of the training track.
    """
    tables = [("forecast", entry) for entry in _forecast_entries(runs)]
    tables += [("training", entry) for entry in _training_entries(trainings)]
    return "\n".join((HEAD, *(_table(name, entry) for name, entry in tables)))


def _forecast_entries(keys: Iterable[RunKey]) -> Iterator[Entry]:
    """By method, the default before others; of one entry the datasets that have the same seeds."""
    known = {*catalog(), *presets()}
    seeds: dict[tuple[str, str, Settings, str], dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for key in keys:
        method, fit_set = key.method, key.method.fitted_on.name if key.method.fitted_on else ""
        settings = _run_settings(key)
        if settings is not None and {key.dataset.name, fit_set} <= {*known, ""}:
            seeds[method.name, fit_set, settings, method.budget][key.dataset.name].add(key.seed)
    for (model, fit_set, settings, budget), of_dataset in sorted(seeds.items()):
        datasets: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, found in sorted(of_dataset.items()):
            datasets[tuple(sorted(found))].append(name)
        for numbers, names in sorted(datasets.items(), key=lambda item: item[1]):
            entry = {"model": model, "datasets": names, "budget": "" if budget == "quick" else budget}
            yield entry | {"settings": settings, "seeds": numbers, "fit_on": fit_set}


def _training_entries(keys: Iterable[TrainingKey]) -> Iterator[Entry]:
    """Tuning runs first: they choose what the test trials are run with."""
    environments: dict[tuple[bool, str, Settings, Settings], set[str]] = defaultdict(set)
    states = {sha256(fitted_state(name).path): name for name in shipped_states()}
    for key in keys:
        settings = _training_settings(key, states)
        if settings is not None:
            outer = tuple(rule.name for rule in key.outer)
            environments[key.split == "test", key.optimizer.name, outer, settings].add(key.protocol.environment)
    for (tests, optimizer, outer, settings), names in sorted(environments.items()):
        entry: Entry = {"environments": sorted(names), "optimizer": "" if optimizer == "adam" else optimizer}
        yield entry | {"outer": outer, "settings": settings, "on": "" if tests else "tuning"}


def _run_settings(key: RunKey) -> Settings | None:
    """The settings of a run, sorted and without those at their defaults; None if it cannot be named."""
    method = key.method
    if key.protocol.version != CURRENT.version or method.name not in IN_TREE or _of_file(method.options):
        return None
    kind = predictor_type(method.name)

    def options(settings: Settings) -> dict[str, Any]:
        return options_dict(build_options(kind, method.budget, settings, key.protocol.context))

    try:
        usual = options(())
        settings = _changed(method.options, usual)
        return settings if options(settings) == method.options else None
    except TiplBenchError:
        return None


def _training_settings(key: TrainingKey, states: Mapping[str, str]) -> Settings | None:
    """The same of a training run, with fitted states by their names."""
    rules = (key.optimizer, *key.outer)
    if any(rule.name not in RULES or _of_file(rule.options) for rule in rules):
        return None
    settings = tuple(sorted(setting for rule in rules for setting in _rule_settings(rule, key, states)))
    names = key.optimizer.name, key.protocol.environment, tuple(rule.name for rule in key.outer)
    try:
        return settings if TrainingRequest.of(*names, settings, key.split).key() == key else None
    except TiplBenchError:
        return None


def _rule_settings(rule: RuleIdentity, key: TrainingKey, states: Mapping[str, str]) -> Settings:
    options = dict(rule.options)
    if rule.fitted_on is not None:
        options[PREDICTOR] = states.get(rule.state or "", options[PREDICTOR])
    usual = {name: info.default for name, info in settings_of(rule.name).items()}
    prefix = "" if rule is key.optimizer else f"{rule.name}."
    return tuple(f"{prefix}{setting}" for setting in _changed(options, usual))


def _changed(options: Mapping[str, object], usual: Mapping[str, object]) -> Settings:
    return as_settings({name: value for name, value in sorted(options.items()) if value != usual.get(name)})


def _of_file(options: Mapping[str, object]) -> bool:
    """Whether a method has weights of a file, which a suite cannot name, and not some that ship."""
    weights = options.get(WEIGHTS)
    return isinstance(weights, str) and weights not in shipped_parameters()


def _table(name: str, entry: Entry) -> str:
    """A table of an array of tables; what is empty is left out. Strings of JSON in ASCII are strings of TOML."""
    lines = []
    for field, value in entry.items():
        if value:
            line = f"{field} = {json.dumps(value)}"
            if len(line) > WIDTH:
                line = "\n".join((f"{field} = [", *(f"  {json.dumps(item)}," for item in value), "]"))
            lines.append(line)
    return "\n".join((f"[[{name}]]", *lines, ""))
