"""The files of an organisation on the Hub: cards that the Hub's own libraries read, links that lead out."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from datasets import load_dataset
from huggingface_hub import DatasetCard, SpaceCard
from tipl_bench.registry.catalog import catalog

SCRIPT = Path(__file__).parents[2] / "scripts" / "hub_organisation.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("hub") / "files"
    command = runpy.run_path(str(SCRIPT))["main"]
    arguments = ["lab", "--documentation", "https://lab.example/docs/", "--out", str(out)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(command, arguments)
    assert (again.exit_code, "is there already" in again.output) == (1, True)
    return out, result.output.splitlines()


def test_the_hub_reads_every_card_and_the_leaderboards_data(written, tmp_path):
    out, _ = written
    for folder in ("README", "leaderboard"):
        assert SpaceCard.load(out / "spaces" / folder / "README.md").data.sdk == "static"
    assert DatasetCard.load(out / "datasets" / "leaderboard" / "README.md").data.license == "mit"
    rows = load_dataset(str(out / "datasets" / "leaderboard"), split="train", cache_dir=str(tmp_path))
    assert "skill" in rows.column_names
    assert len(rows) > 0


def test_links_of_the_page_and_of_the_cards_lead_out_of_their_repository_by_address_alone(written):
    out, _ = written
    page = (out / "spaces" / "leaderboard" / "index.html").read_text(encoding="utf-8")
    assert '="../' not in page
    assert 'href="https://lab.example/docs/reference/"' in page
    beside = set(re.findall(r'href="([\w.]+)"', page))
    assert beside <= {file.name for file in (out / "spaces" / "leaderboard").iterdir()}
    card = (out / "spaces" / "README" / "README.md").read_text(encoding="utf-8")
    assert all(name in card for name in catalog())
    assert "{" not in card


def test_the_commands_publish_every_catalogued_version_oldest_first_and_every_folder(written):
    out, lines = written
    commands = [shlex.split(line) for line in lines]
    published = [(words[3], words[5]) for words in commands if words[:3] == ["tipl-bench", "datasets", "publish"]]
    assert {name for name, _ in published} == {name for name, entry in catalog().items() if not entry.yanked}
    assert ("inverted-pendulum/ppo-v3", "lab/inverted-pendulum-ppo") in published
    uploaded = {words[3] for words in commands if words[0] == "hf"}
    assert uploaded == {str(out / place) for place in ("datasets/leaderboard", "spaces/leaderboard", "spaces/README")}
