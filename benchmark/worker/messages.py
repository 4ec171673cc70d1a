"""What a predictor's process answers, looked at before it is believed or shown: nothing there is anyone's word."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ...registry.reference import SLUG_LENGTH, SLUG_PATTERN
from ...utils import errors
from ...utils.errors import OptionError, PredictorError, UnknownNameError
from ...utils.text import one_line

MOST = 2**53
"""The largest count that a record holds."""
LONGEST_TIME = 1e9
"""The most seconds that a record holds."""
KNOWN = {
    kind.__name__
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.TiplBenchError)
}


class PredictorCrash(PredictorError):  # noqa: N818
    """What a predictor's process did wrong, in words that follow the predictor's name."""


class PredictorTimeout(PredictorCrash):
    """A predictor's process gave no answer in time."""


class Answer(dict[str, Any]):
    """An answer's facts; one that is missing or cannot be is that process's fault."""

    def __missing__(self, name: str) -> Any:
        raise PredictorCrash(f"its process answered without {name!r}")

    def _refuse(self, name: str, wanted: str) -> PredictorCrash:
        return PredictorCrash(f"its process answered with a {name} of {one_line(self[name], 60)}, not {wanted}")

    def whole(self, name: str) -> int:
        """A whole number that a record may hold."""
        value = self[name]
        if type(value) is not int or not 0 <= value <= MOST:
            raise self._refuse(name, f"a whole number from 0 to {MOST}")
        return value

    def seconds(self, name: str) -> float:
        """A duration that a record may hold."""
        value = self[name]
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= LONGEST_TIME:
            raise self._refuse(name, "a number of seconds")
        return float(value)

    def slug(self, name: str) -> str:
        """A word of a record."""
        value = self[name]
        if not isinstance(value, str) or len(value) > SLUG_LENGTH or not re.fullmatch(SLUG_PATTERN, value):
            raise self._refuse(name, "letters and digits joined by - . or _")
        return value

    def among(self, name: str, choices: tuple[str, ...]) -> str:
        """One of some words."""
        value = self[name]
        if value not in choices:
            raise self._refuse(name, " or ".join(choices))
        return str(value)

    def table(self, name: str) -> dict[str, Any]:
        """Names with values."""
        value = self[name]
        if not isinstance(value, dict):
            raise self._refuse(name, "names with values")
        return value


def progress_report(head: Mapping[str, Any]) -> tuple[int, int, str] | None:
    """A report of progress; None for the answer itself."""
    if "progress" not in head:
        return None
    done, total, word = head["progress"]
    return int(done), int(total), one_line(word, 200)


def parse_error(head: Mapping[str, Any], order: str, predictor: str, memory: int) -> Exception | None:
    """The fault that an answer reports, if it does.

    What is wrong with options, which are someone's who typed them, is told as it is; all else is the predictor's.
    """
    if "fault" not in head:
        return None
    kind = str(head["fault"])
    if kind == "memory":
        return PredictorCrash(f"ran out of memory; it may use {memory / 2**30:.1f} GiB, and --memory allows more")
    if order == "describe" and kind == "UnknownNameError":
        what, name, choices = head["arguments"]
        return UnknownNameError(one_line(what), one_line(name), [one_line(choice) for choice in choices[:100]])
    said = one_line(head["arguments"][0])
    words = said.removeprefix(f"{predictor}: ").rstrip(".")
    if order == "describe" and kind == "OptionError":
        return OptionError(said if said.startswith(("--set", "Option ")) else f"{predictor}: {words}.")
    return PredictorCrash(f"raised {kind}: {words}" if kind in KNOWN else f"raised {said}")
