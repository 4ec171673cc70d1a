"""Collections killed with SIGKILL, run beside one another or out of disk: nothing is lost, mixed up or left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
TESTS = Path(__file__).parents[1]
KILLED = {"killed": int(signal.SIGKILL)}


def drive(folder, *scenarios):
    # The driver forks after torch was used, and a child of a process with an OpenMP pool waits for it forever.
    single = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    answer = subprocess.run(
        [sys.executable, "-m", "helpers.crash_driver", folder, *scenarios],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=single,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    scenarios = ("every_moment", "middle_of_a_block", "two_at_once", "full_disk")
    return drive(tmp_path_factory.mktemp("crashes"), *scenarios)


def test_a_block_killed_in_the_middle_goes_on_from_its_snapshot_to_the_same_bytes(outcomes):
    outcome = outcomes["middle_of_a_block"]
    assert outcome["death"] == KILLED
    first, total = outcome["reports"][0]
    assert total == 160
    assert first == 55, "it began anew instead of with the iteration after the last snapshot"
    assert outcome["equal"]


def test_a_collection_killed_before_any_of_its_file_operations_is_finished_to_the_same_bytes(outcomes):
    moments = outcomes["every_moment"]
    operations = " ".join(moment["before"] for moment in moments)
    assert operations.count("os.rename") >= 10
    assert all(moment["death"] == KILLED for moment in moments)
    failed = [m["before"] for m in moments if m["resumed"] != {"done": True} or not m["listed_files_equal"]]
    assert not failed


def test_a_collection_that_was_killed_leaves_nothing_beside_its_listed_files_when_finished(outcomes):
    strays = {moment["before"]: moment["strays"] for moment in outcomes["every_moment"] if moment["strays"]}
    assert not strays


def test_whenever_a_collection_was_killed_its_trials_never_pass_for_those_of_another_config(outcomes):
    assert any("refused" in moment["relabelled"] for moment in outcomes["every_moment"])
    assert not [moment["before"] for moment in outcomes["every_moment"] if moment["relabelled_lies"]]


def test_a_second_process_is_turned_away_until_the_first_is_gone(outcomes):
    outcome = outcomes["two_at_once"]
    assert "Another process is working on inverted-pendulum/tiny-v1" in outcome["second"]["refused"]
    assert "TIPL_BENCH_HOME" in outcome["second"]["refused"]
    assert outcome["first"] == KILLED
    assert outcome["third"] == {"done": True}
    assert outcome["equal"]


@pytest.mark.parametrize("what", ["trial", "snapshot"])
def test_when_the_disk_is_full_then_nothing_half_made_is_a_dataset_and_room_lets_it_finish(outcomes, what):
    outcome = outcomes["full_disk"][what]
    assert "done" not in outcome["limited"]
    assert outcome["left"] == {}
    assert outcome["after"] == {"done": True}
    assert outcome["equal"]


@pytest.mark.slow
def test_a_collection_killed_at_random_moments_again_and_again_is_finished_to_the_same_bytes(tmp_path):
    outcome = drive(tmp_path, "random_moments")["random_moments"]
    assert outcome["deaths"] >= 3
    assert outcome["lost"] == []
