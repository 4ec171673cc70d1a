"""Write a package for a new predictor, ready to install, check and run."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from ..._version import __version__
from ...utils.errors import OptionError, PredictorError, UnknownNameError
from ...utils.files import write_text
from ...utils.text import SLUG_LENGTH, one_line
from ..predictor import INFORMATION_CLASSES
from .discovery import predictor_names
from .sources import web_address

TEMPLATES = Path(__file__).parent / "template"


def write_package(
    name: str, folder: Path, *, url: str | None = None, paper: str | None = None, consumes: str = "weights"
) -> list[Path]:
    """Write an installable package with one predictor and its test.

    Parameters
    ----------
    name
        The predictor's name: lower-case words joined by hyphens.
    folder
        A new or empty folder.
    url, paper
        Web addresses of its code and its paper, if there are any.
    consumes
        Its information class, one of `INFORMATION_CLASSES`.

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
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > SLUG_LENGTH or keyword.iskeyword(module):
        raise OptionError(
            f"{name!r} cannot be a predictor's name: lower-case words joined by hyphens, such as my-predictor, "
            f"{SLUG_LENGTH} characters at most."
        )
    if consumes not in INFORMATION_CLASSES:
        raise UnknownNameError("information class", consumes, INFORMATION_CLASSES)
    for option, address in (("url", url), ("paper", paper)):
        if address is not None and web_address(address) != address:
            raise OptionError(
                f"`{option}=`: {one_line(address)!r} is not a web address, such as https://example.org/code."
            )
    if name in predictor_names():
        raise OptionError(f"There is a predictor {name!r} already; choose another name.")
    if _is_taken(module):
        raise OptionError(f"A module {module!r} is installed already, which this one would hide; choose another name.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PredictorError(f"{folder} exists and is not empty; choose another place (`out=`).")
    return _write(name, folder, {"Source": url, "Paper": paper}, consumes)


def _write(name: str, folder: Path, addresses: Mapping[str, str | None], consumes: str) -> list[Path]:
    """Write the files of a package from their templates."""
    module = name.replace("-", "_")
    values = {
        "name": name,
        "module": module,
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "version": __version__,
        "urls": {label: address for label, address in addresses.items() if address},
        "consumes": consumes,
        "classes": ", ".join(INFORMATION_CLASSES),
    }
    places = {
        "pyproject.toml": "pyproject.toml.j2",
        f"{module}.py": "predictor.py.j2",
        f"tests/test_{module}.py": "test_predictor.py.j2",
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


def _is_taken(module: str) -> bool:
    """Whether a module can be imported by this name; a mere folder of the name does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None
