"""Publish, wipe, run: what a run needs is fetched, verified and used; afterwards no server is needed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from helpers.hub.fixtures import hub, hub_server
from tipl_bench.cli import main
from tipl_bench.registry.hub.publish import publish

__all__ = ["hub", "hub_server"]


@pytest.fixture
def place(hub, smooth):
    """A toy dataset, published."""
    publish(smooth, "alice/toy")
    return "hf://datasets/alice/toy@v1"


def run(place, out):
    return CliRunner().invoke(main, ["run", "--model", "linear", "--dataset", place, "--out", str(out), "--json"])


def test_a_run_fetches_its_dataset_and_the_next_one_needs_no_server(hub, place, smooth, tmp_path):
    result = run(place, tmp_path / "first")
    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout)
    assert first["key"]["dataset"]["digest"] == smooth.digest
    assert hub.calls("GET .*/resolve/.*safetensors")
    hub.close()
    result = run(place, tmp_path / "second")
    assert result.exit_code == 0, result.output
    second = json.loads(result.stdout)
    assert second["results"] == first["results"]
    assert second["artifacts"] == first["artifacts"]


def test_when_a_published_byte_was_changed_then_there_is_no_run(hub, place, smooth, tmp_path):
    hub.repository("alice/toy").corrupt(smooth.manifest.trials[0].path, 3000)
    result = run(place, tmp_path / "run")
    assert result.exit_code == 1
    assert "trial-0000.safetensors is not what the manifest says" in result.output
    assert not (tmp_path / "run").exists()
