"""Errors that a person can act on: what is wrong, where, and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TiplBenchError(Exception):
    """Base of every error this package raises on purpose; the CLI prints it without a traceback."""


class UnknownNameError(TiplBenchError, KeyError):
    """A name that is not in a table; the message gives the nearest one and all valid ones."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        self.kind, self.name, self.choices = kind, name, sorted(choices)
        near = difflib.get_close_matches(name, self.choices, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self.choices) or "(none)"
        self.message = f"Unknown {kind} {name!r}.{hint} Known: {known}."
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return self.message


class DatasetError(TiplBenchError):
    """A dataset's files do not say what its manifest or the format says they must."""


class HubError(DatasetError):
    """The Hub does not have what was asked of it, cannot be reached, or does not permit it."""


class ProtocolError(TiplBenchError):
    """A dataset, forecast or record cannot be scored under the protocol."""


class PredictorError(TiplBenchError):
    """A predictor raised or broke its contract; the message names it and the window."""


class OptionError(TiplBenchError, ValueError):
    """An option's name or value is not valid; the message lists what is."""


class MissingFileError(HubError):
    """A repository is there, but not the file."""
