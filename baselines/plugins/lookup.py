"""Predictors by name: those of this package, and those of installed packages through an entry point."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ...utils.errors import PredictorError, UnknownNameError
from ...utils.text import SLUG_LENGTH, SLUG_PATTERN, one_line
from ..predictor import PREDICTOR_CLASSES, Predictor
from .discovery import IN_TREE, SEES_THE_FUTURE, Plugin, plugins, predictor_names
from .sources import SCRIPT, MethodCode, class_target, module_sources, plugin_code, target_code

SCRIPT_MODULE = "__tipl_bench_main__"
"""The name that the module of a script has in a predictor's own process."""


def is_target(model: str) -> bool:
    """Whether a predictor is referred to by where its class is, `module:class` or `file.py:class`, not by a name."""
    return ":" in model


def model_of(kind: type[Predictor[Any]]) -> str:
    """What a class is referred to by: the name that it is known by, or where it is.

    Raises
    ------
    OptionError
        If another process could not find it there.
    """
    target = class_target(kind)
    for name, place in IN_TREE.items():
        if kind.__name__ == place.partition(":")[2] and kind is predictor_type(name):
            return name
    return next((one.name for one in plugins(IN_TREE) if one.target == target and not one.problem), target)


def find_plugin(name: str) -> Plugin | None:
    """The installed package's predictor of a name, not imported; None for one of this package, or a class's place.

    Raises
    ------
    UnknownNameError
        If no predictor has the name.
    PredictorError
        If the name clashes with another's, or nothing is where the class should be.
    """
    if is_target(name):
        module, _, attribute = name.rpartition(":")
        if not all(map(str.isidentifier, attribute.split("."))):
            raise PredictorError(f"{one_line(name)}: not of the form module:Class or file.py:Class.")
        if module.endswith(SCRIPT) and not Path(module).is_file():
            raise PredictorError(f"{one_line(module)}: no such file; give a predictor's class as file.py:Class.")
        if module_sources(module) is None:
            raise PredictorError(f"{one_line(name)}: there is no module {one_line(module)!r} here or on Python's path.")
        return None
    if name in IN_TREE:
        return None
    if name == SEES_THE_FUTURE:
        raise PredictorError(
            f"{name} is no predictor: its basis sees the future of the trial, so that it can be neither run on the "
            "board's contract nor ranked. scripts/reproduction.py shows it; its honest twin is tipl-pooled."
        )
    found = [plugin for plugin in plugins(IN_TREE) if plugin.name == name]
    if not found:
        raise UnknownNameError("predictor", name, predictor_names(), _way_out(name))
    if found[0].problem:
        raise PredictorError(f"{one_line(name)}: {found[0].problem}.")
    return found[0]


def method_code(name: str) -> MethodCode | None:
    """The code of a predictor from outside, read without importing it; None for one of this package."""
    plugin = find_plugin(name)
    if is_target(name):
        return target_code(name)
    return None if plugin is None else plugin_code(plugin)


def _way_out(name: str) -> str:
    """What to do if a file is named without its class, or a package of `models new` is here but not installed."""
    folder = Path(name)
    if folder.suffix == ".py":
        return f"Name the class in that file, as {name}:MyForecaster."
    if re.fullmatch(SLUG_PATTERN, name) and (folder / "pyproject.toml").is_file():
        return f"The package in {folder}/ is not installed: pip install -e '{folder}[test]'"
    return ""


def predictor_type(name: str) -> type[Predictor[Any]]:
    """The class of a predictor, imported now.

    Raises
    ------
    UnknownNameError
        If no predictor has the name, or the module or file has no such class.
    PredictorError
        If an installed package's entry point cannot be loaded, is no predictor, or is described by unusable attributes.
    """
    plugin = find_plugin(name)
    if plugin is not None or is_target(name):
        loaded = _load(name, plugin.target if plugin else name)
    else:
        module, _, attribute = IN_TREE[name].partition(":")
        loaded = getattr(importlib.import_module(f"..{module}", __package__), attribute)
    stated = getattr(loaded, "name", None)
    is_other = stated != name and not is_target(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Predictor)) or is_other:
        raise PredictorError(f"{name}: {one_line(repr(loaded))} is not a Predictor of that name.")
    if is_target(name) and str(stated).casefold() in map(str.casefold, predictor_names()):
        raise PredictorError(f"{name}: its name {stated!r} is another predictor's; give the class a name of its own.")
    problem = _invalid_attribute(loaded)
    if problem:
        raise PredictorError(f"{name}: {one_line(problem)}.")
    return loaded


def _load(name: str, target: str) -> Any:
    """What stands at `module:attribute`."""
    module, _, attribute = target.rpartition(":")
    try:
        loaded = _load_script(Path(module)) if module.endswith(SCRIPT) else importlib.import_module(module)
        return operator.attrgetter(attribute)(loaded)
    except (Exception, SystemExit) as error:  # an outside package may fail in any way
        if is_target(name) and (missing := _missing_class(error, module, attribute)):
            raise missing from error
        cause = one_line(repr(error))
        if is_target(name):
            advice = 'what its file does besides defining classes belongs under `if __name__ == "__main__":`'
            raise PredictorError(f"{name}: it does not load ({cause}); {advice}.") from error
        raise PredictorError(f"{name}: its entry point {one_line(target)!r} does not load ({cause}).") from error


def _missing_class(error: BaseException, module: str, attribute: str) -> UnknownNameError | None:
    """The error of a module or file that has no such class; None if another attribute of something else is missing."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, ModuleType):
        return None
    if error.obj.__name__ not in (SCRIPT_MODULE, module) or error.name != attribute.partition(".")[0]:
        return None
    file = Path(module).name if module.endswith(SCRIPT) else module
    return UnknownNameError(f"predictor of {file}", attribute, _predictors_of(error.obj))


def _predictors_of(module: ModuleType) -> list[str]:
    """The names of the predictors that a module, or a package with its modules, defines."""
    own = f"{module.__name__}."
    return [
        name
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Predictor) and f"{one.__module__}.".startswith(own)
    ]


def _load_script(script: Path) -> ModuleType:
    """Import a script under another name: what stands under `if __name__ == "__main__":` is not run."""
    if str(script.parent) not in sys.path:
        sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(SCRIPT_MODULE, script)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[SCRIPT_MODULE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _invalid_attribute(kind: type[Predictor[Any]]) -> str | None:
    """What is wrong with an attribute that records and tables must hold."""
    if not isinstance(getattr(kind, "name", None), str):
        return "it has no name"
    if len(kind.name) > SLUG_LENGTH or not re.fullmatch(SLUG_PATTERN, kind.name):
        return f"its name is {kind.name!r}, not letters and digits joined by - . or _, {SLUG_LENGTH} at most"
    if not isinstance(kind.consumes, str) or kind.consumes not in PREDICTOR_CLASSES:
        return f"its consumes is {kind.consumes!r}; those of predictors are {', '.join(PREDICTOR_CLASSES)}"
    version, summary = getattr(kind, "version", None), getattr(kind, "summary", None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        return f"its version is {version!r}, not a whole number"
    if not isinstance(summary, str):
        return f"its summary is {summary!r}, not a line of text"
    return None
