"""Write a package for a new predictor, ready to install, check and run."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2

from ..._version import __version__
from ...utils.errors import OptionError, PredictorError, UnknownNameError
from ...utils.files import write_text
from ...utils.text import SLUG_LENGTH, one_line
from ..predictor import PREDICTOR_CLASSES
from .discovery import ENTRY_POINTS, OPTIMIZER_ENTRY_POINTS, SEES_THE_FUTURE, optimizer_names, predictor_names
from .sources import web_address

TEMPLATES = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Kind:
    """What a package may hold.

    Parameters
    ----------
    kind, article
        What it is called.
    group
        The entry points that announce it.
    commands, run
        The command group that checks it, and the command that runs it, up to its name.
    template
        The template of its module; `test_<template>` is that of its test.
    taken
        Names that are taken.
    """

    kind: str
    article: str
    group: str
    commands: str
    run: str
    template: str
    taken: Callable[[], Sequence[str]]


PREDICTOR = Kind("predictor", "A", ENTRY_POINTS, "models", "run --model", "predictor.py.j2", predictor_names)
OPTIMIZER = Kind(
    "optimizer", "An", OPTIMIZER_ENTRY_POINTS, "optimizers", "train --optimizer", "optimizer.py.j2", optimizer_names
)
OUTER_RULE = replace(OPTIMIZER, kind="outer rule", run="train --outer")


def write_package(
    name: str,
    folder: Path,
    *,
    url: str | None = None,
    paper: str | None = None,
    consumes: str = "weights",
    kind: Kind = PREDICTOR,
) -> list[Path]:
    """Write an installable package with one predictor, optimizer or outer rule, and its test.

    Parameters
    ----------
    name
        Its name: lower-case words joined by hyphens.
    folder
        A new or empty folder.
    url, paper
        Web addresses of its code and its paper, if there are any.
    consumes
        Of a predictor, its information class, one of `PREDICTOR_CLASSES`.
    kind
        `PREDICTOR`, `OPTIMIZER` or `OUTER_RULE`.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    OptionError
        If the name cannot be one, or is another predictor's or module's, or an address is none.
    UnknownNameError
        If there is no such information class.
    PredictorError
        If the folder holds something.
    """
    module, words = name.replace("-", "_"), {name.replace("-", "_"), _class_name(name)}
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > SLUG_LENGTH or words & {*keyword.kwlist}:
        raise OptionError(
            f"{name!r} cannot be {kind.article.lower()} {kind.kind}'s name: lower-case words joined by hyphens, such "
            f"as my-{kind.kind.replace(' ', '-')}, {SLUG_LENGTH} characters at most."
        )
    if consumes not in PREDICTOR_CLASSES:
        raise UnknownNameError("information class", consumes, PREDICTOR_CLASSES)
    for option, address in (("url", url), ("paper", paper)):
        if address is not None and web_address(address) != address:
            raise OptionError(
                f"`{option}=`: {one_line(address)!r} is not a web address, such as https://example.org/code."
            )
    if name in (*kind.taken(), SEES_THE_FUTURE):
        raise OptionError(f"The name {name!r} is taken (`tipl-bench {kind.commands}`); choose another one.")
    if _is_taken(module):
        raise OptionError(f"A module {module!r} is installed already, which this one would hide; choose another name.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PredictorError(f"{folder} exists and is not empty; choose another place (`out=`).")
    return _write(name, folder, {"Source": url, "Paper": paper}, consumes, kind)


def _write(name: str, folder: Path, addresses: Mapping[str, str | None], consumes: str, kind: Kind) -> list[Path]:
    """Write the files of a package from their templates."""
    module = name.replace("-", "_")
    values = {
        "name": name,
        "module": module,
        "class_name": _class_name(name),
        "version": __version__,
        "urls": {label: address for label, address in addresses.items() if address},
        "consumes": consumes,
        "classes": ", ".join(PREDICTOR_CLASSES),
        "outer": kind is OUTER_RULE,
        **{name: getattr(kind, name) for name in ("kind", "article", "group", "commands", "run")},
    }
    places = {
        "pyproject.toml": "pyproject.toml.j2",
        f"{module}.py": kind.template,
        f"tests/test_{module}.py": f"test_{kind.template}",
        "README.md": "README.md.j2",
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    written = []
    for place, template in places.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, environment.get_template(template).render(values))
        written.append(path)
    return written


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _is_taken(module: str) -> bool:
    """Whether a module can be imported by this name; a mere folder of the name does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None
