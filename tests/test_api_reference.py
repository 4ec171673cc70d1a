"""The API reference (docs/api.md): every public name is on it, its docstring is complete, and its examples run."""

from __future__ import annotations

import ast
import doctest
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import griffe
import pytest
import tipl_bench

ROOT = Path(__file__).parents[1]
DIRECTIVE = re.compile(r"(?m)^::: (\S+)$")
KEYS_OF_RETURNS = "PolicyLayout"
"""Its file is part of the key of cached returns: a docstring is not worth evaluating all of them anew."""
EXAMPLES = (
    "Optimizer",
    "Options",
    "Predictor",
    "check_predictor",
    "iteration_positions",
    "load_dataset",
    "run",
    "train",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> griffe.Module:
    """The package as the site's build reads it: parsed, not imported."""
    place = tmp_path_factory.mktemp("api")
    (place / "tipl_bench").symlink_to(Path(tipl_bench.__file__).parent)  # a clone's folder may have another name
    found = griffe.load("tipl_bench", search_paths=[place], docstring_parser="numpy", allow_inspection=False)
    assert isinstance(found, griffe.Module)
    return found


def public(package: griffe.Module) -> Iterator[tuple[str, griffe.Object]]:
    """Every public name, and the public members of its classes, inherited ones of this package included."""
    for name in tipl_bench.__all__:
        found = resolved(package[name])
        yield name, found
        if found.is_class:
            members = ((member, resolved(one)) for member, one in found.all_members.items())
            yield from ((f"{name}.{member}", one) for member, one in members if not member.startswith("_"))


def resolved(found: griffe.Object | griffe.Alias) -> griffe.Object:
    return found.final_target if isinstance(found, griffe.Alias) else found


def missing(found: griffe.Object) -> Iterator[str]:
    """What a docstring lacks."""
    if found.docstring is None:
        fields = found.is_attribute and "property" not in found.labels  # they are parameters of the class
        yield from [] if fields and found.parent.is_class else ["a docstring"]
        return
    sections = {section.kind.value: section.value for section in found.docstring.parsed}
    described = {one.name.lstrip("*") for one in sections.get("parameters", ())}
    if found.is_class or found.is_function:
        names = [one.name.lstrip("*") for one in found.parameters if one.name not in ("self", "cls")]
        if not found.is_class or "parameters" in sections or "dataclass" in found.labels:
            yield from (f"parameter {name}" for name in names if name not in described)
        yield from (f"a parameter {name} that it has" for name in described - {*names})
    if found.is_function:
        if str(found.returns) != "None" and "returns" not in sections:
            yield "Returns"
        if "raises" not in sections and raised(found):
            yield f"Raises ({raised(found)})"


def raised(function: griffe.Object) -> str:
    """Errors that a function's own lines raise."""
    tree = ast.parse(textwrap.dedent("\n".join(function.lines)))
    found = {ast.unparse(one.exc.func) for one in ast.walk(tree) if isinstance(getattr(one, "exc", None), ast.Call)}
    return ", ".join(sorted(found - {"NotImplementedError"}))


def test_the_page_has_every_public_name_once(package):
    names = DIRECTIVE.findall((ROOT / "docs" / "api.md").read_text("utf-8"))
    inner = [name.removeprefix("tipl_bench.") for name in names if name.count(".") == 1]
    assert sorted(inner) == sorted(tipl_bench.__all__)
    assert len(set(names)) == len(names)
    for name in names:
        assert resolved(package[name.removeprefix("tipl_bench.")]).docstring, name


def test_every_public_docstring_is_complete(package):
    found = {name: [*missing(one)] for name, one in public(package) if not name.startswith(KEYS_OF_RETURNS)}
    assert len(found) > 100
    assert {name: lacks for name, lacks in found.items() if lacks} == {}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings_run(name):
    found = [one for one in doctest.DocTestFinder(recurse=False).find(getattr(tipl_bench, name), name) if one.examples]
    assert found
    for one in found:
        output: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(one, out=output.append)
        assert result.failed == 0, "".join(output)
