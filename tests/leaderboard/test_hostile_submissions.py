"""Submissions that mean apply or are not so: each is refused or flagged by name, and the board stays as it is."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tipl_bench
from helpers import synthetic
from helpers.attacks import ATTACKS, Attack
from helpers.submission_workspace import NAME, write_catalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tipl_bench.baselines import predictor_names
from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.store.records import file_name
from tipl_bench.leaderboard.submission.check import check
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import read_windows
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import ProtocolError


@contextlib.contextmanager
def little_memory(more: int = 1 << 30) -> Iterator[None]:
    """No more address space than this process has now, and a little."""
    if sys.platform != "linux":
        yield
        return
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def named(attack: Attack) -> str:
    return attack.apply.__name__ if attack.apply.__name__.startswith("when") else attack.reason[:60]


@pytest.mark.parametrize("attack", ATTACKS, ids=named)
def test_a_hostile_submission_is_told_by_name_and_the_board_stays(attack, workspace):
    attack.apply(workspace)
    board, beside = workspace.board(), sorted(workspace.submission.parent.rglob("*"))
    with little_memory():
        result = workspace.check()
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.output.splitlines()
    assert any(line.startswith(attack.verdict) for line in lines), result.output
    assert any(re.search(attack.reason, line) for line in lines), result.output
    assert len(result.output) < 20_000
    assert result.output.isascii(), "nothing of a stranger's reaches the terminal as it is"
    assert "\x1b" not in result.output
    assert workspace.board() == board
    made = {path for path in workspace.submission.parent.rglob("*") if "store" not in path.parts} - {*beside}
    assert not made


def test_a_good_submission_passes_with_all_its_numbers(workspace):
    board = workspace.board()
    result = workspace.check()
    assert result.exit_code == 0, result.output
    assert re.search(r"ok: run\n  1,\d{3} numbers recomputed from the forecasts; all agree", result.output)
    assert "run again, as a predictor of this package: bitwise" in result.output
    assert workspace.check(workspace.run).exit_code == 0
    assert workspace.board() == board


def test_when_the_commit_is_unknown_then_it_is_doubted(workspace):
    if not (Path(tipl_bench.__file__).parent / ".git").exists():
        pytest.skip("an installed wheel knows no commits")
    workspace.edit("provenance", "git_commit", to="12" * 20)
    result = workspace.check()
    assert result.exit_code == 1
    assert f"names commit {'12' * 20}, which this repository does not have" in result.output


def test_when_the_predictor_is_a_strangers_then_the_check_loads_nothing_of_it(third_party_predictors, workspace):
    (third_party_predictors / "strange.py").write_text("from pathlib import Path\nPath('loaded').touch()")
    names = third_party_predictors / "third_party_predictors-1.0.dist-info" / "entry_points.txt"
    names.write_text(names.read_text() + "strange = strange:Strange\n")
    assert "strange" in predictor_names()
    workspace.edit("key", "method", "name", to="strange")
    workspace.state_code()
    result = workspace.check()
    assert result.exit_code == 0, result.output
    assert not Path("loaded").exists()


def test_when_the_strangers_own_dataset_is_given_then_the_catalog_still_decides(workspace):
    mine = synthetic.walking_dataset(workspace.submission.parent / "mine")
    workspace.edit("key", "dataset", "digest", to=mine.digest)
    workspace.score_honestly(mine)
    result = workspace.check(workspace.submission, "--dataset", mine.folder)
    assert result.exit_code == 1
    assert f"the catalog pins another digest of {NAME}" in result.output


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("stated", ["own", "own beside the real one"])
def test_when_a_run_on_the_strangers_own_dataset_names_the_real_one_then_it_is_not_added(stated, claimed, workspace):
    mine = synthetic.walking_dataset(workspace.submission.parent / "mine")
    digests = {"digest": mine.digest, "digest_format": 2, "former_digest": None}
    if stated != "own":
        digests["former_digest"] = workspace.dataset.digest
    for name, value in digests.items():
        workspace.edit("key", "dataset", name, to=value)
    workspace.score_honestly(mine)
    board = workspace.board()
    workspace.as_guest()
    options = ("--claimed",) if claimed else ()
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records, *options)
    assert result.exit_code == 1
    assert workspace.board() == board
    assert workspace.check(workspace.submission, "--dataset", mine.folder).exit_code == 1


def test_when_the_catalog_knows_a_former_digest_alone_then_a_claim_brings_no_other(workspace):
    workspace.as_guest()
    write_catalog(digest="a" * 64, digest_format=1)
    digests = {"digest": "b" * 64, "digest_format": 2, "former_digest": "a" * 64}
    for name, value in digests.items():
        workspace.edit("key", "dataset", name, to=value)
    added = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records, "--claimed")
    assert added.exit_code == 0, added.output
    kept = read_record(workspace.records / file_name(workspace.record)).key.dataset
    assert (kept.digest, kept.digest_format, kept.former_digest) == ("a" * 64, 1, None)


def test_when_it_is_under_the_name_of_this_packages_predictor_then_no_claim_makes_it_a_row(workspace):
    board = workspace.board()
    result = workspace.typed("leaderboard", "add", workspace.run, "--records", workspace.records, "--claimed")
    assert result.exit_code == 1
    assert "linear is a predictor of this package; a row of it enters by being run again" in result.output
    assert workspace.board() == board


def test_when_one_submission_holds_the_same_forecasts_under_two_names_then_the_second_is_flagged(workspace):
    workspace.as_guest()
    shutil.copytree(workspace.run, workspace.submission / "second")
    workspace.edit("key", "method", "name", to="friend")
    result = workspace.check()
    assert "ok: run" in result.output
    assert re.search(r"NEEDS REVIEW: second\n  needs review: nearly the forecasts of friend v1 \(run\)", result.output)


def test_when_one_run_is_bad_then_the_others_are_still_checked(workspace):
    shutil.copytree(workspace.run, workspace.submission / "again")
    (workspace.submission / "again" / "forecasts.safetensors").write_bytes(b"")
    result = workspace.check()
    assert result.exit_code == 1
    assert "REFUSED: again" in result.output
    assert "REFUSED: run" in result.output, "it is of the same key"


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_record_flips_then_no_other_number_passes(workspace, data):
    path = workspace.run / "record.json"
    good = path.read_bytes()
    record = workspace.record
    place = data.draw(st.integers(0, len(good) - 1))
    content = bytearray(good)
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        (found,) = check([workspace.run], workspace.records, load_dataset)
        if found.passed:
            assert numbers(found.record) == pytest.approx(numbers(record), rel=1e-9, abs=0)
            assert found.record.key.protocol == record.key.protocol
            assert found.record.key.dataset == record.key.dataset
            assert found.record.forecasts_sha256 == record.forecasts_sha256
    finally:
        path.write_bytes(good)


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_forecasts_flips_then_it_does_not_pass(workspace, data):
    path = workspace.run / "forecasts.safetensors"
    good = path.read_bytes()
    # Half of the draws go into the header, where there is most to go wrong.
    last = data.draw(st.sampled_from([300, len(good) - 1]))
    content = bytearray(good)
    content[data.draw(st.integers(0, last))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        (found,) = check([workspace.run], workspace.records, load_dataset)
        assert found.problems
        assert found.rescored is None
    finally:
        path.write_bytes(good)


@given(data=st.data())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_when_any_byte_of_the_windows_flips_then_it_is_told_or_read_in_full(workspace, data):
    path = workspace.run / "windows.parquet"
    good = path.read_bytes()
    like = pd.read_parquet(path)
    run = open_run(workspace.run, workspace.dataset)
    content = bytearray(good)
    content[data.draw(st.integers(len(good) // 2, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        found = read_windows(run, like)
    except ProtocolError:
        found = None
    finally:
        path.write_bytes(good)
    if found is not None:
        assert {name: len(values) for name, values in found.items()} == dict.fromkeys(found, len(like))


def numbers(record):
    """Every number of a record that can be recomputed, in order."""
    from helpers.submission_workspace import leaves

    stated = record.model_dump(mode="json", include={"results", "returns"})
    return [value for _, value in leaves(stated) if isinstance(value, int | float)]


def test_a_record_is_read_as_it_was_written(workspace):
    assert read_record(workspace.run / "record.json") == workspace.record
    assert pq.read_table(workspace.run / "windows.parquet").num_rows == 60
    assert pa.types.is_float64(pq.read_schema(workspace.run / "windows.parquet").field("wpe").type)
