"""The one form of progress reports."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int, str], None]
"""Called with a stage, steps done, steps in all, and a word on how it goes."""


def silent(stage: str, done: int, total: int, word: str) -> None:
    """Report nothing."""
