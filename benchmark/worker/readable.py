"""What a worker process may read: the system's libraries, Python, installed packages, and the predictor's own code."""

from __future__ import annotations

import contextlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from ...baselines import find_plugin, is_target
from ...baselines.plugins.sources import direct_url, module_sources
from ...registry.catalog import BUNDLED
from ...registry.locations import cache_root
from ...utils.errors import OptionError
from ...utils.tensorfile import SUFFIX
from .environment import token_files

PACKAGE = Path(__file__).parents[2]

SYSTEM = (
    *("bin", "sbin", "lib*", "usr/bin", "usr/sbin", "usr/lib*", "usr/include", "usr/share"),
    *("usr/local/bin", "usr/local/lib*", "usr/local/cuda*", "usr/local/nvidia", "opt/cuda*", "opt/rocm*"),
    *("nix/store", "gnu/store", "run/opengl-driver", "sys"),
    *("etc/ld.so.*", "etc/alternatives", "etc/localtime", "etc/timezone", "etc/locale.*", "etc/passwd", "etc/group"),
    *("etc/nsswitch.conf", "etc/hosts", "etc/host.conf", "etc/resolv.conf", "etc/gai.conf", "etc/mime.types"),
    *("etc/ssl/openssl.cnf", "etc/ssl/certs", "etc/pki/tls", "etc/crypto-policies", "etc/fonts", "etc/OpenCL"),
    *("etc/nvidia*", "etc/vulkan", "etc/os-release", "etc/magic", "etc/machine-id"),
    *(f"proc/{name}" for name in ("cpuinfo", "meminfo", "stat", "version", "filesystems", "loadavg", "uptime")),
    *("proc/devices", "proc/cgroups", "proc/sys", "proc/driver"),
)
"""Files and folders that libraries and accelerators need, as patterns beneath the root."""
PREFIX = ("bin", "lib*", "libexec", "include", "ssl", "share", "nvvm", "targets", "pyvenv.cfg")
"""Parts of a Python installation or environment, as patterns."""
INSTALLED = ("site-packages", "dist-packages")


def readable_files(model: str, held_out: Iterable[Path], data: Iterable[Path]) -> list[Path]:
    """Files and folders that the process of a predictor may read; nothing else is.

    Packages that were installed are readable whole. Of what is imported from elsewhere (an editable installation, a
    folder on `sys.path`), only this package, the predictor's and the editable ones that it requires are: the modules
    and packages, but not the project around them.

    Parameters
    ----------
    model
        The predictor's name, or where its class is.
    held_out
        Files and folders that are left out of every folder above them.
    data
        Files to read besides code, whatever other names they have within what is held out.
    """
    given, held_out = tuple(data), tuple(held_out)
    roots = {path.resolve() for path in (*_system(), *_python(), *_installed(), *_own(model))}
    roots |= {path for path in _mapped_libraries() if not _is_within(path, roots)}
    others = {path.resolve() for root in roots for path in root.glob("python*/*-packages")} - _search_path()
    left_out = {path.resolve() for path in held_out} | others | {PACKAGE.resolve() / "leaderboard"}
    above = {parent for path in left_out for parent in path.parents}
    around = (path for root in roots for path in _around(root, left_out, above))
    return sorted({*around, *(path.resolve() for path in (*given, *_other_names(given, held_out)))})


def always_held_out() -> list[Path]:
    """The store, the bundled datasets and the Hub's token."""
    return [cache_root(), BUNDLED, *token_files()]


def named_files(settings: Iterable[str], held_out: Iterable[Path]) -> tuple[tuple[str, ...], list[Path]]:
    """Settings for a process in another folder, and the files that they name: `name=PATH.safetensors`.

    Raises
    ------
    OptionError
        If such a file is held out from the predictor.
    """
    absolute, files = [], []
    for setting in settings:
        name, equals, value = setting.partition("=")
        if value.endswith(SUFFIX):
            path = Path(value).expanduser().absolute()
            if any(path.resolve().is_relative_to(folder.resolve()) for folder in held_out):
                raise OptionError(
                    f"Setting {setting!r} names a file among the datasets or in the store, which are held out from "
                    "predictors; name one that lies elsewhere."
                )
            files.append(path)
            value = str(path)
        absolute.append(f"{name}{equals}{value}")
    return tuple(absolute), files


def _other_names(data: Iterable[Path], held_out: Iterable[Path]) -> Iterator[Path]:
    """Hard links to files of the data within held-out folders.

    A dataset that extends another one shares its trials: the same files, under held-out names.
    """
    linked = {_inode(path) for path in data} - {None}
    if linked:
        files = (path for folder in held_out for path in folder.rglob("*.safetensors"))
        yield from (path for path in files if _inode(path) in linked)


def _inode(path: Path) -> tuple[int, int] | None:
    """What a file that has several names is known by; None for any other."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_nlink > 1 else None


def _system() -> Iterator[Path]:
    return (path for pattern in SYSTEM for path in Path("/").glob(pattern))


def _python() -> Iterator[Path]:
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield from (path for pattern in PREFIX for path in Path(prefix).glob(pattern))
    yield from (Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))


def _search_path() -> set[Path]:
    return {Path(entry).resolve() for entry in sys.path}


def _installed() -> Iterator[Path]:
    """Folders that pip or a like tool installed packages in, and archives; of other folders, descriptions alone."""
    for entry in _search_path():
        if entry.is_file() or entry.name in INSTALLED or any(entry.glob("*.dist-info/INSTALLER")):
            yield entry
        else:
            yield from (path for kind in ("dist", "egg") for path in entry.glob(f"*.{kind}-info"))


def _own(model: str) -> Iterator[Path]:
    """This package and the predictor's, with the editable packages that the latter requires, where they lie."""
    plugin = find_plugin(model)
    target = plugin.target if plugin else model
    modules = {target.rpartition(":")[0]} if is_target(target) else set()
    found = [plugin.package] if plugin else []
    for one in found:
        with contextlib.suppress(Exception):  # whatever reading a foreign package's damaged metadata raises
            modules.update((one.read_text("top_level.txt") or "").split())  # which setuptools alone writes
        yield from _editable_code(one)
        found += [other for other in _editable_requirements(one) if other.name not in {known.name for known in found}]
    yield from _code(PACKAGE.resolve())
    for tree in filter(None, map(module_sources, modules)):
        yield from _code(tree.package.resolve())


def _editable_requirements(one: Distribution) -> Iterator[Distribution]:
    requirements: list[str] = []
    with contextlib.suppress(Exception):  # damaged metadata, here and below
        requirements = one.requires or []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        with contextlib.suppress(Exception):
            other = distribution(name[0] if name else requirement)
            if direct_url(other).editable_folder:
                yield other


def _editable_code(one: Distribution) -> Iterator[Path]:
    """Modules and packages in an editable project's folder, its `src`, and the folders that its `.pth` files name."""
    folder = direct_url(one).editable_folder
    if folder is None:
        return
    folders = {folder, folder / "src"}
    with contextlib.suppress(Exception):  # damaged metadata
        for file in one.files or ():
            if file.suffix == ".pth":
                folders.update(Path(line) for line in file.read_text().splitlines() if Path(line).is_absolute())
    for place in folders:
        yield from _importable(place)


def _code(place: Path) -> Iterator[Path]:
    """A package's folder; of a project's own folder its modules and packages; a module with those beside it."""
    if place.is_file():
        yield from (place, *place.parent.glob("*.py"))
    elif any((place / name).exists() for name in ("pyproject.toml", "setup.py", "setup.cfg", ".git")):
        yield from _importable(place)
    else:
        yield place


def _importable(folder: Path) -> Iterator[Path]:
    """The modules and packages in a folder."""
    with contextlib.suppress(OSError, ValueError):  # a name that cannot be one of a file
        yield from (*folder.glob("*.py"), *(module.parent for module in folder.glob("*/__init__.py")))


def _mapped_libraries() -> set[Path]:
    """The shared libraries that this process has loaded, wherever they lie."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return set()
    mapped = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    return {Path(name).resolve() for name in mapped if re.search(r"\.so(\.[\w.]+)?$", name)}


def _is_within(path: Path, folders: set[Path]) -> bool:
    return path in folders or not folders.isdisjoint(path.parents)


def _around(path: Path, left_out: set[Path], above: set[Path]) -> Iterator[Path]:
    """A path, or, if anything beneath it is left out, what lies around that; links lead to what has its own rule."""
    if path in above:
        with contextlib.suppress(OSError):  # not readable by this user anyway
            for entry in path.iterdir():
                if not entry.is_symlink():
                    yield from _around(entry, left_out, above)
    elif path not in left_out:
        yield path
