"""The maintainers' page, typed from top to bottom against the stand-in Hub."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi
from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.store.evidence import row_status
from tipl_bench.leaderboard.store.records import file_name

PAGE = Path(__file__).parents[2] / "docs" / "maintaining-the-board.md"
REPO = "alice/leaderboard"


def commands(name):
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line.replace("OWNER/leaderboard", REPO).replace("NAME", name)) for line in lines]


def test_the_maintainers_commands_take_a_pull_request_from_check_to_merge(hub, workspace):
    hub.create(REPO)
    name = file_name(workspace.record).removesuffix(".json")
    sent = workspace.typed("submit", workspace.run, "--repo", REPO, "--records", workspace.records)
    assert sent.exit_code == 0, sent.output
    before = set(workspace.records.glob("*.json"))
    printed = []
    for program, *words in commands(name):
        if program == "hf":
            command = [sys.executable, "-m", "huggingface_hub.cli.hf", *words]
            made = subprocess.run(command, capture_output=True, text=True)
            assert made.returncode == 0, made.stderr
            continue
        words = [word.replace("leaderboard/results", str(workspace.records)) for word in words]
        own = [] if "dispute" in words else ["--records", workspace.records]
        result = workspace.typed(*words, *own)
        assert result.exit_code == 0, f"{words}\n{result.output}"
        printed.append(result.output)
    assert f"ok: {name}" in printed[0]
    assert {path.name for path in set(workspace.records.glob("*.json")) - before} == {f"{name}.json"}
    record_path = workspace.records / f"{name}.json"
    found = row_status(record_path, read_record(record_path))
    assert (found.state, found.disputed) == ("reproduced", None)
    assert [piece["kind"] for piece in found.evidence] == ["rescored", "reproduced", "disputed", "resolved"]
    assert f"{name}.json" in Path("docs/board/leaderboard.json").read_text()
    assert "Nothing to write" in printed[-1]
    assert HfApi().get_discussion_details(REPO, 1, repo_type="dataset").status == "merged"
