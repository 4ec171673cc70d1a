"""The rules of the house: imports run one way, files and functions stay short, the top level stays clean."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "tipl_bench"
ROOMS = ("cli", "leaderboard", "benchmark", "baselines", "registry", "rl", "utils")
"""From the top; a room imports only what stands after it."""
LEADERBOARD = ({"render", "submission", "confirm"}, "document", "store", "verify", "statistics")
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_MODULES = 400, 60, 12
SOURCES = {".py", ".js", ".css", ".html", ".j2"}
TOP_LEVEL = {
    *ROOMS, "docs", "examples", "scripts", "tests",
    "__init__.py", "__main__.py", "_version.py", "py.typed", "setup.py", "pyproject.toml", "tox.ini", "zensical.toml",
    "constraints.txt",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", ".ci", ".git", ".github", ".gitignore",
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the installed package, those for type checkers and those inside functions included."""
    return grimp.build_graph(PACKAGE, cache_dir=None)


@pytest.fixture(scope="module")
def imports(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """(importer, imported), module by module."""
    return [(a, b) for a in sorted(graph.modules) for b in sorted(graph.find_modules_directly_imported_by(a))]


def illegal(graph: grimp.ImportGraph, container: str, layers: Iterable[str | set[str]]) -> list[str]:
    found = graph.find_illegal_dependencies_for_layers(layers=list(layers), containers={container})
    return sorted(" -> ".join(chain) for dependency in found for chain in chains(graph, dependency))


def chains(graph: grimp.ImportGraph, dependency: grimp.PackageDependency) -> list[tuple[str, ...]]:
    found = graph.find_shortest_chains(importer=dependency.importer, imported=dependency.imported, as_packages=True)
    return sorted(found)


def circle(edges: Iterable[tuple[str, str]]) -> list[str]:
    """One circle among the edges, or nothing."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for importer, imported in edges:
        if importer != imported:
            sorter.add(importer, imported)
    try:
        sorter.prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_rooms_import_one_way(graph):
    assert illegal(graph, PACKAGE, ROOMS) == []


def test_chapters_of_the_leaderboard_import_one_way(graph):
    assert illegal(graph, f"{PACKAGE}.leaderboard", LEADERBOARD) == []


def test_the_leaderboards_statistics_know_nothing_of_the_benchmark(graph):
    statistics, benchmark = f"{PACKAGE}.leaderboard.statistics", f"{PACKAGE}.benchmark"
    assert sorted(graph.find_shortest_chains(importer=statistics, imported=benchmark, as_packages=True)) == []


def test_only_the_entry_point_imports_the_packages_root(imports):
    """The root names what all rooms offer: a room that imports it imports everything above itself."""
    assert [importer for importer, imported in imports if imported == PACKAGE] == []


def test_no_modules_import_each_other_in_a_circle(imports):
    assert circle(imports) == []


def test_no_siblings_import_each_other_in_a_circle(imports):
    """Neither packages nor modules beside them, whichever of their modules close the circle."""
    found = {}
    for parent in sorted({module.rpartition(".")[0] for edge in imports for module in edge} - {""}):
        depth, inside = parent.count(".") + 2, parent + "."
        siblings: dict[tuple[str, ...], list[str]] = {}
        for edge in imports:
            pair = tuple(".".join(module.split(".")[:depth]) for module in edge)
            if all(module.startswith(inside) for module in edge) and pair[0] != pair[1]:
                siblings.setdefault(pair, []).append(" -> ".join(edge))
        if cycle := circle(siblings):
            found[parent] = [siblings[pair] for pair in pairwise(cycle)]
    assert found == {}


def sources() -> list[Path]:
    """Source files of the package and its tests in the checkout, generated pages left out."""
    places = [ROOT / name for name in (*ROOMS, "tests", "scripts", "examples")]
    files = [*ROOT.glob("*.py"), *(path for place in places for path in place.rglob("*") if path.suffix in SOURCES)]
    return sorted(files)


def test_no_file_is_too_long_to_be_read():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as its contract is."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def test_every_function_fits_a_screen():
    functions = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": function_lines(node)
        for path in sources()
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > MAX_FUNCTION_LINES} == {}


def test_no_package_has_more_modules_at_one_level_than_a_reader_can_survey():
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"]
    counts = {folder: sum(module.parent == folder for module in modules) for folder in {m.parent for m in modules}}
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_nothing_generated_stands_at_the_top_level():
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines() if line]
    names = {path.name for path in ROOT.iterdir()}
    assert {name for name in names - TOP_LEVEL if not any(fnmatch(name, pattern) for pattern in ignored)} == set()


def test_every_package_is_in_the_wheel():
    """setuptools is told each package by name, as the repository's root is itself one."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {file.parent for room in ROOMS for file in (ROOT / room).rglob("__init__.py")}
    packages = {".".join((PACKAGE, *folder.relative_to(ROOT).parts)) for folder in folders}
    assert {PACKAGE, *packages} == set(setuptools["packages"])
