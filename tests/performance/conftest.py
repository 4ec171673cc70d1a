"""Rates of every timed path, and their ratio to the limit or peer of the same group, printed after the run."""

from __future__ import annotations

import pytest


@pytest.fixture
def timed(benchmark, request):
    """Time `work()` a few times; `amount` of `unit` is what one call does."""
    group = request.node.get_closest_marker("benchmark").kwargs["group"]
    rows = request.config.stash.setdefault(ROWS, {}).setdefault(group, [])

    def measure(name, work, amount, unit, rounds=2, warmup=1):
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=warmup)
        rate = amount / benchmark.stats.stats.min
        benchmark.extra_info.update({"rate": rate, "unit": unit})
        rows.append((name, rate, unit))

    return measure


ROWS = pytest.StashKey[dict]()


def pytest_terminal_summary(terminalreporter, config):
    for group, rows in config.stash.get(ROWS, {}).items():
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{group} (best round)")
        first = rows[0][1]
        for name, rate, unit in rows:
            terminalreporter.write_line(f"  {name:<58} {rate:>12,.0f} {unit:<22} {rate / first:>8.3f} of the first")
