"""Rates of every timed path, their ratio to the limit or peer of the same group, and the bars that they must reach."""

from __future__ import annotations

import pytest

SLACK = 0.8
"""Share of a target that is asserted: shared machines are noisy, a real loss is larger."""


@pytest.fixture
def timed(benchmark, request):
    """Time `work()` a few times; `amount` of `unit` is what one call does. Gives the best round's rate."""
    group = request.node.get_closest_marker("benchmark").kwargs["group"]
    rows = request.config.stash.setdefault(ROWS, {}).setdefault(group, [])

    def measure(name, work, amount, unit, rounds=2, warmup=1):
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=warmup)
        rate = amount / benchmark.stats.stats.min
        benchmark.extra_info.update({"rate": rate, "unit": unit})
        rows.append((name, rate, unit))
        return rate

    return measure


@pytest.fixture
def reaches(request):
    """Assert that one rate measured in this run is at least so many times another one, with slack."""

    def check(name, target, other):
        rates = {name: rate for rows in request.config.stash.get(ROWS, {}).values() for name, rate, _ in rows}
        if missing := {name, other} - rates.keys():
            pytest.skip(f"not measured in this run: {', '.join(sorted(missing))}")
        ratio = rates[name] / rates[other]
        assert ratio >= SLACK * target, f"{name}: {ratio:.2f} of {other!r}; the target is {target}"

    return check


ROWS = pytest.StashKey[dict]()


def pytest_terminal_summary(terminalreporter, config):
    for group, rows in config.stash.get(ROWS, {}).items():
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{group} (best round)")
        first = rows[0][1]
        for name, rate, unit in rows:
            terminalreporter.write_line(f"  {name:<58} {rate:>12,.0f} {unit:<22} {rate / first:>8.3f} of the first")
