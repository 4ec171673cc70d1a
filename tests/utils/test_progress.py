"""Progress as lines of text."""

from __future__ import annotations

import sys

import pytest
from tipl_bench.utils import progress
from tipl_bench.utils.progress import ProgressLines, clock_time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock whose only item is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_stage_has_a_line_at_its_start_and_end_and_every_half_minute_between(clock, capsys):
    report = ProgressLines()
    for done in range(101):
        report("fit", done, 100, f"loss {done}")
        clock[0] += 1.5
    assert capsys.readouterr().err.splitlines() == [
        "fit started",
        "fit 20%, 0:30 gone, about 2:00 left: loss 20",
        "fit 40%, 1:00 gone, about 1:30 left: loss 40",
        "fit 60%, 1:30 gone, about 1:00 left: loss 60",
        "fit 80%, 2:00 gone, about 0:30 left: loss 80",
        "fit done in 2:30",
    ]


def test_the_time_left_follows_from_what_was_done_here(clock, capsys):
    report = ProgressLines()
    report("download", 500, 1000, "")  # half of it was here before
    clock[0] += 60
    report("download", 500, 1000, "")
    clock[0] += 40
    report("download", 600, 1000, "")
    assert capsys.readouterr().err.splitlines() == [
        "download started",
        "download 50%, 1:00 gone",
        "download 60%, 1:40 gone, about 6:40 left",
    ]


def test_a_new_stage_ends_the_one_before_and_a_stage_that_is_done_at_once_has_one_line(clock, capsys):
    report = ProgressLines()
    report("check", 3, 9, "")
    clock[0] += 5
    report("reference", 4, 4, "")
    report("reference", 4, 4, "")
    report("returns", 0, 0, "")
    report.finish()
    report("returns", 0, 5, "")
    assert capsys.readouterr().err.splitlines() == [
        "check started",
        "check done in 0:05",
        "reference done in 0:00",
        "returns done in 0:00",
        "returns started",
    ]


def test_when_the_reader_is_gone_then_the_work_goes_on(monkeypatch):
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    for stream in (Closed(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        ProgressLines()("fit", 0, 2, "")


def test_a_clock_time_has_hours_only_when_there_are_any():
    assert [clock_time(seconds) for seconds in (0.4, 65, 3599.6, 7230)] == ["0:00", "1:05", "1:00:00", "2:00:30"]
