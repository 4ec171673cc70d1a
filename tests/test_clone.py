"""The tests run in a clone of any name, such as the repository's own, which no Python package can have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_tests_run_in_a_clone_whose_name_has_a_hyphen(tmp_path):
    clone = tmp_path / "tipl-bench"
    for name in ("pyproject.toml", "__init__.py", "tests/conftest.py", "tests/utils/test_canonical.py"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    shutil.copytree(ROOT / "tests" / "helpers", clone / "tests" / "helpers")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/utils/test_canonical.py"]
    ran = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
