"""The one form of progress reports, and its form as lines of text."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]
"""Called with a stage, steps done, steps in all, and a word on how it goes."""


def silent(stage: str, done: int, total: int, word: str) -> None:
    """Report nothing."""


class ProgressLines:
    """Progress as lines on standard error, for notebooks, log files and batch jobs: pass one as `progress`.

    A line when a stage starts and when it ends, and now and then one between: `fit 40%, 1:10 gone, about 1:45 left`.

    Parameters
    ----------
    every
        Seconds between two lines of a stage, at least.
    """

    def __init__(self, every: float = 30.0) -> None:
        self.every = every
        self._stage: str | None = None
        self._ended = True
        self._started = self._printed = 0.0
        self._first = 0

    def __call__(self, stage: str, done: int, total: int, word: str) -> None:
        """Report; see `Progress`."""
        now, ending = time.monotonic(), done >= total
        if stage != self._stage or (self._ended and not ending):
            self.finish()
            self._stage, self._ended, self._started, self._printed, self._first = stage, False, now, now, done
            if not ending:
                _write(f"{stage} started")
        if ending:
            self.finish()
        elif now - self._printed >= self.every:
            self._printed = now
            _write(f"{stage} {100 * done // total}%, {self._times(now, done, total)}{f': {word}' if word else ''}")

    def finish(self) -> None:
        """Print the end of the current stage, if that was not printed."""
        if not self._ended:
            _write(f"{self._stage} done in {clock_time(time.monotonic() - self._started)}")
        self._ended = True

    def _times(self, now: float, done: int, total: int) -> str:
        """The time gone, and the time left at the pace so far."""
        gone = now - self._started
        if done == self._first:
            return f"{clock_time(gone)} gone"
        return f"{clock_time(gone)} gone, about {clock_time(gone * (total - done) / (done - self._first))} left"


def clock_time(seconds: float) -> str:
    """Seconds as `1:45` or `2:00:30`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _write(line: str) -> None:
    """Print a line on standard error; a reader that is gone does not end the work that is reported."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(line, file=sys.stderr, flush=True)
