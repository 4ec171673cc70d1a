"""A process that works for this one: what it sent is received, and its end however it ends."""

from __future__ import annotations

from queue import SimpleQueue

from helpers.pieces_of_work import break_off
from tipl_bench.utils.engines.child import ChildProcess
from tipl_bench.utils.engines.work import Work, program_of


def test_a_process_that_is_killed_while_it_sends_a_message_is_at_an_end():
    received: SimpleQueue = SimpleQueue()
    with ChildProcess(Work(program_of(break_off), {}), received.put) as process:
        assert [received.get(timeout=60) for _ in range(2)] == [{"done": 1}, None]
        assert "was killed (SIGKILL)" in process.failure()
