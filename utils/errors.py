"""Errors that a user can act on: the message says what is wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TiplBenchError(Exception):
    """Base of all expected errors of this package; the CLI prints them without a traceback."""


class UnknownNameError(TiplBenchError, KeyError):
    """Unknown name; the message suggests the nearest valid name, or the way out that is given, and lists all."""

    def __init__(self, kind: str, name: str, choices: Iterable[str], way_out: str = "") -> None:
        self.kind, self.name, self.choices = kind, name, sorted(choices)
        near = difflib.get_close_matches(name, self.choices, n=1, cutoff=0.5)
        hint = f" {way_out}." if way_out else f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self.choices) or "(none)"
        self.message = f"Unknown {kind} {name!r}.{hint} Known: {known}."
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return self.message


class DatasetError(TiplBenchError):
    """A dataset's files do not match its manifest or the format."""


class HubError(DatasetError):
    """The Hub lacks what was requested, is unreachable, or denies access."""


class ProtocolError(TiplBenchError):
    """A dataset, forecast or record cannot be scored under the protocol."""


class PredictorError(TiplBenchError):
    """A predictor raised an exception or broke its contract; the message names it and the window."""


class OptionError(TiplBenchError, ValueError):
    """Invalid option name or value; the message lists the valid ones."""


class MissingFileError(HubError):
    """The repository exists, but the file does not."""
