"""Optimizers and outer rules by name: those of this package, and those of installed packages through an entry point."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...rl import Composed, Optimizer, OuterRule
from ...utils.errors import OptionError, PredictorError, UnknownNameError
from ...utils.text import one_line
from ..options import Configurable, OptionInfo, build_options, describe_options
from ..plugins.discovery import OPTIMIZER_ENTRY_POINTS, optimizer_names, plugins
from ..plugins.sources import MethodCode, plugin_code
from . import OPTIMIZERS, OUTER_RULES

IN_TREE = OPTIMIZERS | OUTER_RULES
OPTIMIZER, OUTER_RULE, EITHER = "optimizer", "outer rule", "optimizer or outer rule"
"""What a name is looked for as."""


def rule_type(name: str, kind: str = EITHER) -> type[OuterRule]:
    """The class of an optimizer or an outer rule, imported now.

    Parameters
    ----------
    name
        Its name.
    kind
        What is looked for, and listed in the error for an unknown name; a name of the other kind is found as well.

    Raises
    ------
    UnknownNameError
        If nothing has the name.
    PredictorError
        If an installed package's entry point clashes with another's, cannot be loaded, or is neither.
    """
    if name in IN_TREE:
        module, _, attribute = IN_TREE[name].partition(":")
        own: type[OuterRule] = getattr(importlib.import_module(module, __package__), attribute)
        return own
    found = next((one for one in plugins(IN_TREE, OPTIMIZER_ENTRY_POINTS) if one.name == name), None)
    if found is None:
        way_out = "One of your own is an installed package (`tipl-bench optimizers new`), not a file"
        raise UnknownNameError(kind, name, _names_of(kind), way_out if ":" in name else "")
    if found.problem:
        raise PredictorError(f"{one_line(name)}: {found.problem}.")
    module, _, attribute = found.target.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # an outside package may fail in any way
        raise PredictorError(f"{name}: its entry point does not load ({one_line(repr(error))}).") from error
    if not (isinstance(loaded, type) and issubclass(loaded, OuterRule)) or getattr(loaded, "name", None) != name:
        raise PredictorError(f"{name}: {one_line(repr(loaded))} is not an optimizer or outer rule of that name.")
    return loaded


def _names_of(kind: str) -> list[str]:
    """The names of one kind; which of them an installed package's is, its class says."""

    def fits(name: str) -> bool:
        try:
            return kind == EITHER or issubclass(rule_type(name), Optimizer) == (kind == OPTIMIZER)
        except PredictorError:
            return False  # that of a package which does not load

    return [name for name in optimizer_names() if fits(name)]


def rule_code(names: Sequence[str]) -> MethodCode | None:
    """The code of the first of these that an installed package brings; None if all are this package's."""
    known = {one.name: one for one in plugins(IN_TREE, OPTIMIZER_ENTRY_POINTS)}
    return next((plugin_code(known[name]) for name in names if name not in IN_TREE), None)


def settings_of(name: str) -> Mapping[str, OptionInfo]:
    """The settings of an optimizer or an outer rule, by their names."""
    return describe_options(Configurable(name, rule_type(name)))


def build_optimizer(name: str, rules: Sequence[str] = (), settings: Sequence[str] = ()) -> Optimizer:
    """An optimizer with outer rules.

    Parameters
    ----------
    name
        The optimizer.
    rules
        Outer rules, in the order in which they act.
    settings
        `name=value` of the optimizer, and `rule.name=value` of an outer rule.

    Raises
    ------
    UnknownNameError
        If a name is not known, or a setting is of a rule that is not among them.
    OptionError
        If a value is not valid, a rule is named twice, or the one kind is given for the other.
    """
    if len({*rules}) < len(rules):
        raise OptionError("An outer rule is named twice; each acts once an iteration.")
    own: dict[str, list[str]] = {"": [], **{rule: [] for rule in rules}}
    for setting in settings:
        rule, dot, rest = setting.partition("=")[0].rpartition(".")
        if rule not in own:
            raise UnknownNameError("outer rule", rule, rules, f"{setting!r} sets an option of a rule that is not used")
        own[rule].append(f"{rest}{setting[len(rule) + len(dot) + len(rest) :]}" if dot else setting)
    if not issubclass(rule_type(name, OPTIMIZER), Optimizer):
        raise OptionError(f"{name} is an outer rule, not an optimizer: give it as `outer=`, beside one.")
    for rule in rules:
        if issubclass(rule_type(rule, OUTER_RULE), Optimizer):
            raise OptionError(f"{rule} is an optimizer, not an outer rule: give it as `optimizer=`.")
    averaging = [rule for rule in rules if rule_type(rule).evaluation_parameters is not OuterRule.evaluation_parameters]
    if len(averaging) > 1:
        raise OptionError(
            f"{' and '.join(averaging)} say which weights are evaluated, where only the last would count; give one."
        )
    _check_owners(name, own)
    optimizer: Optimizer = _build(name, own[""])
    return Composed(optimizer, [_build(rule, own[rule]) for rule in rules]) if rules else optimizer


def _check_owners(optimizer: str, given: Mapping[str, Sequence[str]]) -> None:
    """Refuse a setting of one rule that only another of the run has, with how it is written for that one."""
    known = {rule: settings_of(rule or optimizer) for rule in given}
    for owner in known:
        for setting in given[owner]:
            name, is_whole, _ = setting.partition("=")
            meant = [".".join(filter(None, (rule, setting))) for rule, options in known.items() if name in options]
            if is_whole and meant and name not in known[owner]:
                way_out = f"Did you mean {' or '.join(meant)}?"
                raise UnknownNameError(f"option of {owner or optimizer}", name, known[owner], way_out)


def _build(name: str, settings: Sequence[str]) -> Any:
    return build_options(Configurable(name, rule_type(name)), "quick", settings, 0)
