"""Fixtures of the leaderboard's tests: a browser, and one good run, made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers import confirming, submission_workspace, synthetic
from helpers.board_records import catalogue
from helpers.browser import browser, visit
from helpers.hub.fixtures import hub, hub_server, no_waiting
from helpers.shared import make_once
from helpers.submission_workspace import SubmissionWorkspace
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.worker.sandbox import NO_ISOLATION
from tipl_bench.leaderboard.confirm.fresh_set import fresh_root
from tipl_bench.leaderboard.store.records import add

__all__ = ["browser", "hub", "hub_server", "no_waiting", "visit"]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys' protocol is one of the package's."""
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace to copy: `home`, `submission` and `records`."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "home"))
        submission_workspace.make_workspace(folder)
    return folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path, known: None) -> SubmissionWorkspace:
    """A maintainer's workspace with a good submission on it."""
    return submission_workspace.copy_workspace(made, tmp_path)


@pytest.fixture
def row(workspace: SubmissionWorkspace) -> Path:
    """The good run's record among the board's, as it was received."""
    return add(workspace.record, workspace.records)


@pytest.fixture
def toys(tmp_path: Path, store: Path) -> Path:
    """A folder for records, with a catalog of this machine's own beside it."""
    catalogue(store)
    return tmp_path


@pytest.fixture(scope="session")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of an honest and a cheating row with what fresh trials showed of them, to copy: see `make_confirmed`."""
    if confirming.isolation_here() == NO_ISOLATION:
        pytest.skip("nothing isolates a predictor here")
    return make_once(tmp_path_factory, "confirmed", confirming.make_confirmed)


@pytest.fixture
def board(confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: None) -> confirming.Board:
    """That board, and the set of fresh trials."""
    return confirming.copied(confirmed, tmp_path, monkeypatch, "records")


@pytest.fixture
def claimed(confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: None) -> confirming.Board:
    """The same before, without a set."""
    found = confirming.copied(confirmed, tmp_path, monkeypatch, "claimed")
    shutil.rmtree(fresh_root())
    return found
