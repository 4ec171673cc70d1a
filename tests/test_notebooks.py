"""The notebooks in examples/: small, committed with their outputs, and they run from top to bottom."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
MAX_BYTES, MAX_LINES = 200_000, 60
OF_A_MACHINE = re.compile(r"(?<![\w.])(/(home|root|tmp|mnt|Users|var|usr|opt)/|[A-Z]:\\\\)")
"""Absolute paths, of which committed outputs hold none."""
QUICK = "figure_for_a_paper"


def cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_small_and_was_run_in_order(path):
    found = cells(path)
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size <= MAX_BYTES
    assert sum(len(cell.source.splitlines()) for cell in found) <= MAX_LINES
    assert [cell.execution_count for cell in found] == list(range(1, len(found) + 1))
    outputs = [output for cell in found for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}, "warnings and errors are not committed"
    assert not OF_A_MACHINE.search(json.dumps(outputs))


@pytest.mark.parametrize(
    "path",
    [path if path.stem == QUICK else pytest.param(path, marks=pytest.mark.slow) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_every_notebook_runs(path, tmp_path):
    folder = tmp_path / "clone" / "examples"
    folder.mkdir(parents=True)
    for name in ("docs", "leaderboard"):
        (folder.parent / name).symlink_to(ROOT / name)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
