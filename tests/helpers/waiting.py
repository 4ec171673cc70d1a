"""Wait for a page; Playwright's own waiting evaluates strings in the page, which its content policy forbids."""

from __future__ import annotations

import time


def until(page, expression, seconds=20):
    """Return once a JavaScript expression is true in the page."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(20)
