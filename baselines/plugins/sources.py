"""The code of a predictor from outside this package: its files and its package's metadata, without importing it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import getaddresses
from importlib import metadata, util
from importlib.machinery import ModuleSpec, PathFinder
from itertools import islice
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...registry.reference import COMMIT_PATTERN
from ...utils.errors import OptionError
from ...utils.fields import Address, Count, Sha256, Text
from ...utils.files import sha256
from ...utils.git import commit_and_dirty, git
from ...utils.text import one_line
from .discovery import PAPER_LABELS, SOURCE_LABELS, Plugin

MAX_ENTRIES = 20_000
"""Files of a package that are looked at."""
MAX_SOURCE_FILES, MAX_SOURCE_BYTES = 200, 4 << 20
"""Source files that are hashed, and the size of each."""
MAX_TEXT = 200
SCRIPT = ".py"
_ADDRESS: TypeAdapter[str] = TypeAdapter(Address)


class DirectUrl(BaseModel):
    """Where pip installed a package from, if not from an index (`direct_url.json`, PEP 610)."""

    url: str = ""
    vcs_info: dict[str, Any] = {}
    dir_info: dict[str, Any] = {}

    @property
    def editable_folder(self) -> Path | None:
        """The project's folder, if the package is an editable installation of it."""
        prefix, _, path = self.url.partition("file://")
        editable = self.dir_info.get("editable") is True and not prefix and path.startswith("/")
        return Path(unquote(path)) if editable else None


def direct_url(package: metadata.Distribution) -> DirectUrl:
    """Where pip installed a package from; empty where nothing says so, or nothing that can be read."""
    try:
        return DirectUrl.model_validate_json(package.read_text("direct_url.json") or "{}")
    except Exception:  # whatever reading a foreign package's damaged metadata raises
        return DirectUrl()


class MethodCode(BaseModel):
    """Where to find the code of a method that is not one of this package's, as far as its package's metadata say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distribution: Text | None
    """The installed package; None for a class that was run from a file, which is never submitted."""
    version: Text | None
    """The package's version."""
    authors: Text | None = None
    """Its authors."""
    url: Address | None = None
    """Its address."""
    paper: Address | None = None
    """The address of its paper."""
    repository: Address | None = None
    """Where pip cloned the package from."""
    commit: Annotated[str, Field(pattern=f"^{COMMIT_PATTERN}$")] | None = None
    """The commit that pip installed, or the one of the working tree that the files are tracked in."""
    dirty: bool | None = None
    """Whether that working tree differs from the commit."""
    files: Annotated[dict[Text, Sha256], Field(max_length=MAX_SOURCE_FILES)]
    """The sha256 of each source file."""
    omitted_files: Count = 0
    """Files beside these that are too many or too large to be listed."""


@dataclass(frozen=True)
class SourceTree:
    """Source files and the folder that their names are relative to, the one that Python imports them from.

    Parameters
    ----------
    root
        The folder.
    package
        The package's folder, or the single module's file.
    files
        The `.py` files in order of their names.
    """

    root: Path
    package: Path
    files: tuple[Path, ...]

    def name(self, file: Path) -> str:
        """A file's name as Python packages spell it: relative to the root, with slashes."""
        return file.relative_to(self.root).as_posix()


def class_target(kind: type) -> str:
    """Where another process finds a class: `module:class`, or `file.py:class` of a script.

    Raises
    ------
    OptionError
        If it is in no file, or not at the top level of one.
    """
    module, name = kind.__module__, kind.__qualname__
    loaded = sys.modules.get(module)
    if "<locals>" in name:
        raise OptionError(f"{name}: the predictor's own process cannot find it inside a function; move it out.")
    file = getattr(loaded, "__file__", None)
    if file is None or not Path(file).is_file():
        raise OptionError(
            f"{name} is in no file that the predictor's own process could import: write its cell to one (%%writefile "
            "my_forecaster.py) and import it from there."
        )
    spec = getattr(loaded, "__spec__", None)
    if module == "__main__" and spec is not None:
        module = spec.name  # of `python -m`
    return f"{module if _is_importable(module, Path(file)) else Path(file).resolve()}:{name}"


def _is_importable(module: str, file: Path) -> bool:
    """Whether a new process would import a module from the file that this one did."""
    top = module.partition(".")[0]
    specs = (finder.find_spec(top, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    found = next(filter(None, specs), None)
    places = [*(found.submodule_search_locations or ()), found.origin or ""] if found else []
    return any(file == Path(place) or Path(place) in file.parents for place in places)


def module_sources(module: str) -> SourceTree | None:
    """The sources of the topmost regular package or module of a dotted name, or of a script; None if it has no files.

    Parameters
    ----------
    module
        A dotted name, or the path of a `.py` file.
    """
    if module.endswith(SCRIPT):
        script = Path(module).absolute()
        return SourceTree(script.parent, script, (script,)) if script.is_file() else None
    spec = _topmost(module)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin)
    package = origin.parent if spec.submodule_search_locations else origin
    if not origin.is_file():
        return None
    levels = spec.name.count(".") + 1
    return SourceTree(package.parents[levels - 1], package, tuple(sorted(_python_files(package))))


def _topmost(module: str) -> ModuleSpec | None:
    """Where the first part of a dotted name that is no namespace package would be imported from."""
    try:
        top, *parts = module.split(".")
        spec = util.find_spec(top)
        for part in parts:
            if spec is None or spec.origin is not None:
                return spec
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    except (ImportError, ValueError, AttributeError):
        return None
    return spec


def _python_files(package: Path) -> Iterator[Path]:
    """The module itself, or the `.py` files of the package's folder."""
    if package.is_file():
        return iter([package])
    return (path for path in islice(_walk(package), MAX_ENTRIES) if path.suffix == ".py" and path.is_file())


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        yield from (Path(place, name) for name in sorted(names))


def target_code(target: str) -> MethodCode:
    """The code of a class that was run from a file, at `module:class` or `file.py:class`."""
    tree = module_sources(target.rpartition(":")[0])
    commit, dirty = _tracked_commit(tree)
    return MethodCode(distribution=None, version=None, commit=commit, dirty=dirty, **_hashes(tree))


def plugin_code(plugin: Plugin) -> MethodCode:
    """The code of an installed package's predictor, by its metadata and files."""
    tree = module_sources(plugin.target.partition(":")[0])
    repository, installed = _installed_commit(plugin)
    commit, dirty = (installed, None) if installed else _tracked_commit(tree)
    return MethodCode(
        distribution=plugin.distribution[:MAX_TEXT],
        version=plugin.version[:MAX_TEXT],
        authors=_authors(plugin),
        url=web_address(plugin.project_url(SOURCE_LABELS)) or repository,
        paper=web_address(plugin.project_url(PAPER_LABELS)),
        repository=repository,
        commit=commit,
        dirty=dirty,
        **_hashes(tree),
    )


def _hashes(tree: SourceTree | None) -> dict[str, Any]:
    """The sha256 of source files by name, and how many were left out."""
    found: dict[str, str] = {}
    files = tree.files if tree else ()
    for path in files[:MAX_SOURCE_FILES]:
        with contextlib.suppress(OSError):
            if tree and path.stat().st_size <= MAX_SOURCE_BYTES:
                found[one_line(tree.name(path))[:MAX_TEXT]] = sha256(path)
    return {"files": found, "omitted_files": len(files) - len(found)}


def _authors(plugin: Plugin) -> str | None:
    """Names of the package's authors, or the addresses of those without one."""
    pairs = getaddresses(plugin.headers("Author-email"))
    names = [*plugin.headers("Author"), *(name or address for name, address in pairs)]
    return one_line(", ".join(dict.fromkeys(filter(None, names))))[:MAX_TEXT] or None


def web_address(text: object) -> str | None:
    """A web address without its user and password; None for anything else."""
    try:
        parts = urlsplit(str(text).strip())
        return _ADDRESS.validate_python(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    except (ValidationError, ValueError):
        return None


def _installed_commit(plugin: Plugin) -> tuple[str | None, str | None]:
    """The repository and commit that pip installed the package from (`direct_url.json`, PEP 610)."""
    found = direct_url(plugin.package)
    commit = str(found.vcs_info.get("commit_id"))
    if not re.fullmatch(COMMIT_PATTERN, commit):
        return None, None
    return web_address(found.url.removeprefix("git+")), commit


def _tracked_commit(tree: SourceTree | None) -> tuple[str | None, bool | None]:
    """The commit of the working tree that tracks the sources, and whether the tree or an untracked source differs."""
    if tree is None or not tree.files:
        return None, None
    package = tree.package.resolve()
    folder = package if package.is_dir() else package.parent
    try:
        git(folder, "ls-files", "--error-unmatch", "--", str(tree.files[0].resolve()))
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit_and_dirty(folder, untracked="*.py")
