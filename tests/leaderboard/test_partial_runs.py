"""Runs that are not whole test runs: verified and reproduced like any other, and on no leaderboard."""

from __future__ import annotations

import shutil

import pytest
from helpers.submission_workspace import NAME
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.leaderboard.store.records import add, file_name, load
from tipl_bench.leaderboard.submission.pull_request import submit
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import verify
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.utils.errors import ProtocolError

SCOPES = {
    "validation": ({"split": "validation"}, "validation trials"),
    "limited": ({"limit": 4}, "limited to 4 windows"),
    "without-returns": ({"limit": 4, "returns": False}, "limited to 4 windows, without returns"),
}


@pytest.fixture(scope="module", params=SCOPES)
def made_partial(request, made, tmp_path_factory):
    """A finished run of a part of the windows with its store, only to be copied, and the words for it."""
    settings, scope = SCOPES[request.param]
    folder = tmp_path_factory.mktemp("partial")
    shutil.copytree(made / "home", folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "home"))
        execute(RunRequest("linear", load_dataset(NAME), device="cpu", **settings), folder / "run")
    return folder, scope


@pytest.fixture
def partial(made_partial, workspace):
    """That run in place of the submission, and the words for it."""
    folder, scope = made_partial
    for source, target in ((folder / "home", cache_root()), (folder / "run", workspace.run)):
        shutil.rmtree(target)
        shutil.copytree(source, target)
    return workspace, scope


def test_when_a_run_is_partial_then_every_way_onto_the_board_refuses_it_in_one_sentence(partial):
    workspace, scope = partial
    board = workspace.board()
    why = f"it is not a whole test run ({scope})."
    for arguments, start in (
        (("submit", workspace.run, "--dry-run"), "This run cannot be submitted"),
        (("leaderboard", "check", workspace.run), "This run cannot be submitted"),
        (("leaderboard", "add", workspace.run), "This run cannot be submitted"),
        (("verify", workspace.run, "--attest"), "This run cannot be attested"),
        (("reproduce", workspace.run, "--attest"), "This run cannot be attested"),
    ):
        result = workspace.typed(*arguments, "--records", workspace.records)
        assert result.exit_code == 1, result.output
        assert f"{start}: {why}" in result.output
        assert "--on test" in result.output
        assert "Traceback" not in result.output
    run = open_run(workspace.run)
    with pytest.raises(ProtocolError, match="This run cannot be submitted: it is not a whole test run"):
        submit(run, "alice/leaderboard")
    with pytest.raises(ProtocolError, match="This run cannot be added: it is not a whole test run"):
        add(run.record, workspace.records)
    assert workspace.board() == board


def test_when_a_boards_folder_holds_a_partial_run_then_the_board_is_not_built(partial):
    workspace, _ = partial
    path = workspace.records / file_name(workspace.record)
    shutil.copy(workspace.run / "record.json", path)
    with pytest.raises(ProtocolError, match=f"{path.name} cannot be a leaderboard's: it is not a whole test run"):
        load(workspace.records)


def test_when_a_partial_run_is_verified_then_its_numbers_are_recomputed(partial):
    workspace, _ = partial
    found = verify(workspace.run)
    assert found.agrees
    assert found.numbers > 1000
