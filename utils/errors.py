"""Errors that a user can act on: the message says what is wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable


class TiplBenchError(Exception):
    """Base of all expected errors of this package; the CLI prints them without a traceback."""


class UnknownNameError(TiplBenchError, KeyError):
    """Unknown name; the message suggests the nearest valid name, or the way out that is given, and lists all.

    `otherwise` is said where no valid name is near.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str], way_out: str = "", otherwise: str = "") -> None:
        self.kind, self.name, self.choices = kind, name, sorted(choices)
        near = nearest(name, self.choices)
        way_out = way_out or (f"Did you mean {near!r}?" if near else otherwise)
        hint = f" {way_out}{'' if way_out.endswith('?') else '.'}" if way_out else ""
        known = ", ".join(self.choices) or "(none)"
        self.message = f"Unknown {kind} {name!r}.{hint} Known: {known}."
        super().__init__(self.message)

    def __str__(self) -> str:  # KeyError would print the repr of its argument
        return self.message


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that a misspelt name most likely stands for; None if none is near.

    Names of one kind share much (`hopper/ppo-mini-v1`, `ant/ppo-mini-v1`), so that a ratio alone would find any of
    them alike: a near name has few characters changed, or something added or left out only.
    """
    best: tuple[float, str] | None = None
    for choice in choices:
        matcher = difflib.SequenceMatcher(None, name.casefold(), choice.casefold(), autojunk=False)
        changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
        changed = sum(max(a1 - a0, b1 - b0) for _, a0, a1, b0, b1 in changes)
        one_way = {change[0] for change in changes} in ({"insert"}, {"delete"})
        if matcher.ratio() >= 0.6 and (one_way or changed <= max(2, len(name) // 5)):
            best = max(best or (0.0, ""), (matcher.ratio(), choice))
    return best[1] if best else None


def reason(error: Exception) -> str:
    """What an error of Python's library says, without its jargon: for messages about a file that cannot be used."""
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"not valid TOML: {str(error)[:1].lower()}{str(error)[1:]}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    # pyarrow's: "Failed to open local file 'x'. Detail: [errno 2] No such file or directory"
    found = re.fullmatch(r"(?s).*\[errno \d+\] (.+)", text, re.IGNORECASE)
    return found[1] if found else text


class DatasetError(TiplBenchError):
    """A dataset's files do not match its manifest or the format."""


class HubError(DatasetError):
    """The Hub lacks what was requested, is unreachable, or denies access."""


class ProtocolError(TiplBenchError):
    """A dataset, forecast or record cannot be scored under the protocol."""


class PredictorError(TiplBenchError):
    """A predictor raised an exception or broke its contract; the message names it and the window."""


class ProcessEndedError(PredictorError):
    """A process, here or on a cluster, was killed or lost before its work was done; that tells nothing of the work."""


class OptionError(TiplBenchError, ValueError):
    """Invalid option name or value; the message lists the valid ones."""


class DatasetArgumentError(DatasetError, OptionError):
    """An argument is no dataset's name, address, repository or trial; the message says what would be."""


class MissingFileError(HubError):
    """The repository exists, but the file does not."""
