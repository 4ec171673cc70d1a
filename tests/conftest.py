"""Fixtures for all tests: an empty store, an empty working folder, and small read-only datasets."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import misbehaving, synthetic, third_party, untidy
from helpers.plugins import install
from hypothesis import settings
from tipl_bench.benchmark import figures
from tipl_bench.registry.dataset import Dataset

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True, database=None)
settings.load_profile("suite")
# A background job of a script ignores Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Messages fold to it; parallel test processes have it set for them.
os.environ.pop("COLUMNS", None)

DRAW = figures.draw


@pytest.fixture(scope="session", autouse=True)
def blank_figures() -> Iterator[None]:
    """Blank figures of runs, whose drawing takes most of a small run's time; a test of figures asks for `drawn`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", _blank)
        yield


def _blank(record: object, rows: object, folder: Path) -> None:
    for name in ("figure.svg", "figure.png"):
        (folder / name).touch()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of runs, drawn as they are for users."""
    monkeypatch.setattr(figures, "draw", DRAW)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty local store and an empty working folder, so that no test uses the machine's own."""
    home, work = tmp_path / "store", tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("TIPL_BENCH_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))  # nobody's own defaults of options
    monkeypatch.chdir(work)
    return home


@pytest.fixture(scope="session")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight smooth trials of InvertedPendulum policies: 5 train, 1 validation, 2 test."""
    return synthetic.smooth_dataset(tmp_path_factory.mktemp("synthetic") / "smooth")


@pytest.fixture(scope="session")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eight random walks, split likewise."""
    return synthetic.walking_dataset(tmp_path_factory.mktemp("synthetic") / "walking")


@pytest.fixture
def third_party_predictors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the predictors of `helpers.third_party` by entry points; returns the folder on the path."""
    points = {kind.name: f"helpers.third_party:{kind.__name__}" for kind in third_party.PREDICTORS}
    return install(
        tmp_path / "site",
        "third-party-predictors",
        points | {"missing": "helpers.third_party:NotThere"},
        monkeypatch,
    )


@pytest.fixture
def misbehaving_predictors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> misbehaving.Notes:
    """Install the predictors of `helpers.misbehaving` and `helpers.untidy`; returns what they report."""
    kinds = (*misbehaving.PREDICTORS, *untidy.PREDICTORS)
    points = {kind.name: f"{kind.__module__}:{kind.__name__}" for kind in kinds}
    site = install(tmp_path / "misbehaving-site", "misbehaving", points, monkeypatch)
    return misbehaving.Notes(lambda: capfd.readouterr().err, site)
