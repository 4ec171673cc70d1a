"""Waiting as long as a busy Hub asks, up to a limit."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import _http, hf_raise_for_status, parse_ratelimit_headers

from ...utils.errors import OptionError

if TYPE_CHECKING:
    from ...utils.errors import HubError

BUSY = (429, 503)
"""Statuses that ask to come back later."""
WAIT_VARIABLE = "TIPL_BENCH_HUB_WAIT"
DEFAULT_WAIT = 300.0
"""Seconds; the Hub counts requests in windows of this length."""
LONGEST_WAIT = 1e9
"""Seconds; longer than any limit, and what longer waits count as."""
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
    `Retry-After` and a date. What is neither of these asks for nothing.
    """
    waits: list[float] = []
    with contextlib.suppress(ValueError):  # a number of thousands of digits
        limit = parse_ratelimit_headers(headers)
        waits += [min(limit.reset_in_seconds, LONGEST_WAIT)] if limit and limit.remaining == 0 else []
    after = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", after):
        waits.append(min(float(after), LONGEST_WAIT))
    elif after:
        with contextlib.suppress(ValueError, OverflowError):
            waits.append(min(max(0.0, parsedate_to_datetime(after).timestamp() - time.time()), LONGEST_WAIT))
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


class _BoundedClients:
    """A client factory of `huggingface_hub` whose clients hold to the limit while `bounded_waits` does.

    Its hook is there from the start: a client that the library replaces, as it does when a connection fails, has it
    too, and no thread changes the hooks that another one is going through.
    """

    lock, bounded = threading.Lock(), 0

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory

    def __call__(self) -> Any:
        client = self.factory()
        client.event_hooks["response"].append(_check_wait)
        return client

    @classmethod
    def change(cls, requests: int) -> None:
        """Count the requests that are held to the limit; whatever factory is set by now makes clients with the hook."""
        with cls.lock:
            cls.bounded += requests
            if not isinstance(_http._GLOBAL_CLIENT_FACTORY, cls):
                set_client_factory(cls(_http._GLOBAL_CLIENT_FACTORY))


@contextlib.contextmanager
def bounded_waits() -> Iterator[None]:
    """Hold the waits inside `huggingface_hub` to the same limit.

    Uploads, listings and Xet downloads repeat requests within the client. It waits for as long as `Retry-After` says,
    hours included, and reads no dates there.
    """
    _BoundedClients.change(+1)
    try:
        yield
    finally:
        _BoundedClients.change(-1)


def _check_wait(response: Any) -> None:
    """Raise for an answer that asks to wait too long, and state other waits as the client reads them."""
    if not _BoundedClients.bounded or response.status_code < 400:
        return
    wait = requested_wait(response.headers) if response.status_code in BUSY else None
    for name in ("Retry-After", "RateLimit"):  # the client would obey any number in them, or fail to read it
        response.headers.pop(name, None)
    if wait is not None:
        response.headers["Retry-After"] = str(math.ceil(wait))
        if wait > max_wait():
            response.read()
            hf_raise_for_status(response)
