"""The commands of the tutorial, run in order against the stand-in Hub, up to the row of the leaderboard."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import synthetic
from helpers.hub.fixtures import hub, hub_server, no_waiting
from helpers.submission_workspace import COMMIT
from tipl_bench.benchmark import provenance
from tipl_bench.cli import main
from tipl_bench.registry.store import dataset_folder

TUTORIAL = Path(__file__).parents[1] / "docs" / "your-own-predictor.md"
__all__ = ["hub", "hub_server", "no_waiting"]

DATASET = "toy-pendulum/tutorial-v1"


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", TUTORIAL.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def catalogued(store) -> None:
    """A small dataset in the store's catalog, which takes the place of the bundled one."""
    dataset = synthetic.smooth_dataset(dataset_folder(DATASET), trials=8, name=DATASET)
    entry = (
        f'["{DATASET}"]\nenvironment = "{synthetic.PENDULUM}"\nsummary = "Synthetic."\ndigest = "{dataset.digest}"\n'
    )
    (store / "catalog.toml").write_text(entry)


@pytest.mark.usefixtures("drawn")
def test_the_tutorial_leads_to_a_row_of_the_leaderboard(catalogued, hub, monkeypatch, tmp_path):
    commit, dirty = provenance._git_state(Path(provenance.__file__).parents[1])
    if dirty or commit is None:  # a dirty working tree would be marked for review
        monkeypatch.setattr(provenance, "_git_state", lambda package: (commit or COMMIT, False))
    site = tmp_path / "site"
    printed = {}
    hub_command("alice/leaderboard")
    for command in commands():
        words = command.replace("OWNER", "alice").replace("--env InvertedPendulum-v4", f"--dataset {DATASET}")
        words = shlex.split(words)
        if words[0] == "pip":
            target = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(site)]
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    *target,
                    str(Path(words[-1].removesuffix("[test]")).absolute()),
                ],
                check=True,
            )
            monkeypatch.syspath_prepend(str(site))
        elif words[0] == "pytest":
            paths = os.pathsep.join(filter(None, sys.path))
            arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words[1:]]
            subprocess.run(arguments, env=os.environ | {"PYTHONPATH": paths}, check=True, capture_output=True)
        else:
            assert words[0] == "tipl-bench"
            result = CliRunner().invoke(main, words[1:])
            assert result.exit_code == 0, f"{command}\n{result.output}"
            printed[command] = result.stdout
    assert "13 of 13 checks passed" in printed["tipl-bench models check my-forecaster"]
    assert "all agree, to the last digit" in printed["tipl-bench verify my-run"]
    assert printed["tipl-bench reproduce my-run"].startswith("bitwise: the largest")
    assert "/discussions/1" in printed["tipl-bench submit my-run --repo OWNER/leaderboard"]
    assert "my-forecaster" in Path("board/leaderboard/README.md").read_text()
    rows = json.loads(Path("board/docs/board/leaderboard.json").read_text())["rows"]
    assert [(row["method"], row["state"]) for row in rows] == [("my-forecaster", "reproduced")]


def hub_command(repo: str) -> None:
    """Create the leaderboard's repository, which exists already for the tutorial's readers."""
    from huggingface_hub import HfApi

    HfApi().create_repo(repo, repo_type="dataset")
