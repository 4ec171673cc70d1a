"""Waiting as long as a busy Hub asks, up to a limit."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_session, hf_raise_for_status, parse_ratelimit_headers

from ...utils.errors import OptionError

if TYPE_CHECKING:
    from ...utils.errors import HubError

BUSY = (429, 503)
"""Statuses that ask to come back later."""
WAIT_VARIABLE = "TIPL_BENCH_HUB_WAIT"
DEFAULT_WAIT = 300.0
"""Seconds; the Hub counts requests in windows of this length."""
ATTEMPTS = 5
"""Attempts at one request."""

logger = logging.getLogger(__name__)


def max_wait() -> float:
    """The longest time in seconds to wait for one request because the Hub asks to: `TIPL_BENCH_HUB_WAIT`, or 300."""
    text = os.environ.get(WAIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_WAIT
    if not re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        raise OptionError(f"{WAIT_VARIABLE}={text!r} is not a number of seconds, such as 300; 0 never waits.")
    return float(text)


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer's headers ask to wait before the next request; None if they do not ask.

    They ask by `RateLimit: "api";r=0;t=60` (draft-ietf-httpapi-ratelimit-headers), by `Retry-After: 60`, or by
    `Retry-After` and a date.
    """
    limit = parse_ratelimit_headers(headers)
    waits = [float(limit.reset_in_seconds)] if limit and limit.remaining == 0 else []
    after = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", after):
        waits.append(float(after))
    elif after:
        with contextlib.suppress(ValueError, OverflowError):
            waits.append(max(0.0, parsedate_to_datetime(after).timestamp() - time.time()))
    return max(waits, default=None)


def wait_of(error: BaseException | None) -> float | None:
    """Seconds that the Hub asks to wait by an error; None if it does not."""
    if isinstance(error, HfHubHTTPError) and error.response.status_code in BUSY:
        return requested_wait(error.response.headers)
    return None


class Backoff:
    """The pauses between attempts at one request: as long as the Hub asks, else growing.

    Parameters
    ----------
    attempts
        Attempts before giving up.
    """

    def __init__(self, attempts: int = ATTEMPTS) -> None:
        self.attempts, self.failed, self.waited = attempts, 0, 0.0

    def pause(self, error: HubError) -> None:
        """Sleep before the next attempt; raises the error instead if there is to be none."""
        self.failed += 1
        asked = wait_of(error.__cause__)
        if self.failed == self.attempts or self.waited + (asked or 0.0) > max_wait():
            raise error
        if asked:
            self.waited += asked
            logger.warning("the Hub asks to wait %s; waiting", seconds(asked))
        # A second more than asked for, as the Hub states whole seconds.
        time.sleep(asked + 1.0 if asked else min(8.0, 0.25 * 2**self.failed))


def seconds(wait: float) -> str:
    """A wait as it is printed."""
    return f"{math.ceil(wait):,} s"


@contextlib.contextmanager
def bounded_waits() -> Iterator[None]:
    """Hold the waits inside `huggingface_hub` to the same limit.

    Uploads, listings and Xet downloads repeat requests within the client. It waits for as long as `Retry-After` says,
    hours included, and reads no dates there.
    """
    hooks: list[Any] = get_session().event_hooks["response"]
    hooks.append(_check_wait)
    try:
        yield
    finally:
        hooks.remove(_check_wait)


def _check_wait(response: Any) -> None:
    """Raise for an answer that asks to wait too long, and state other waits as the client reads them."""
    wait = requested_wait(response.headers) if response.status_code in BUSY else None
    if wait is not None and wait > max_wait():
        response.read()
        hf_raise_for_status(response)
    elif wait is not None:
        response.headers["Retry-After"] = str(math.ceil(wait))
