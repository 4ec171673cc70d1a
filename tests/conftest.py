"""Fixtures for all tests: a store of their own, an empty working folder, and small datasets that are only read."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers import misbehaving as wayward_predictors
from helpers import synthetic
from helpers import third_party as outside_predictors
from hypothesis import settings
from tipl_bench.registry.dataset import Dataset

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("suite")
# A script's background job ignores Ctrl-C, and so would every process that the tests start from there and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local store and an empty working folder; nothing of the machine's own is seen or touched."""
    home, work = tmp_path / "store", tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("TIPL_BENCH_HOME", str(home))
    monkeypatch.chdir(work)
    return home


@pytest.fixture(scope="session")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight smooth trials of InvertedPendulum policies: 5 train, 1 validation, 2 test."""
    return synthetic.smooth_dataset(tmp_path_factory.mktemp("toys") / "smooth")


@pytest.fixture(scope="session")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight random walks, split likewise."""
    return synthetic.walking_dataset(tmp_path_factory.mktemp("toys") / "walking")


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install `outside.py`'s predictors as a package with entry points does; the folder to put on a path."""
    points = {kind.name: f"helpers.third_party:{kind.__name__}" for kind in outside_predictors.PREDICTORS}
    return install(
        tmp_path / "site",
        "outside-predictors",
        points | {"missing": "helpers.third_party:NotThere"},
        monkeypatch,
    )


@pytest.fixture
def wayward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> wayward_predictors.Notes:
    """Install `wayward.py`'s predictors; what they note on standard error."""
    points = {kind.name: f"helpers.misbehaving:{kind.__name__}" for kind in wayward_predictors.PREDICTORS}
    install(tmp_path / "wayward-site", "wayward", points, monkeypatch)
    return wayward_predictors.Notes(lambda: capfd.readouterr().err)


def install(site: Path, name: str, points: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package's metadata, with predictors as entry points, onto the path."""
    information = site / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"{point} = {place}" for point, place in points.items()]
    (information / "entry_points.txt").write_text("\n".join(["[tipl_bench.predictors]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(site))
    return site
