"""Training returns in numbers, as text and as a picture."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread
from tipl_bench.registry.views.statistics import draw_curves, return_statistics, terminal_curves

NAN = float("nan")
ordinary = st.floats(-1e6, 1e6, width=32) | st.just(NAN)
extreme = st.floats(width=32)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 90))


def returns_of(elements):
    """Returns [N, T] of one to four trials."""
    return shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=elements))


def by_loops(returns):
    """Final mean, its deviation over trials, and the best return, a number at a time."""
    finals, best = [], NAN
    for curve in returns:
        end = [float(value) for value in curve[-25:] if math.isfinite(value)]
        if end:
            finals.append(math.fsum(end) / len(end))
        for value in curve:
            if math.isfinite(value) and not value <= best:
                best = float(value)
    if not finals:
        return NAN, NAN, best
    mean = math.fsum(finals) / len(finals)
    squares = math.fsum((final - mean) ** 2 for final in finals)
    return mean, math.sqrt(squares / (len(finals) - 1)) if len(finals) > 1 else 0.0, best


@given(returns_of(ordinary | st.just(float("inf"))))
def test_statistics_are_those_of_plain_loops(returns):
    found = return_statistics(dict(enumerate(returns)))
    mean, deviation, best = by_loops(returns)
    assert found.trials == len(returns)
    assert found.final_mean == pytest.approx(mean, rel=1e-9, abs=1e-6, nan_ok=True)
    assert found.final_deviation == pytest.approx(deviation, rel=1e-6, abs=1e-6, nan_ok=True)
    assert found.best == pytest.approx(best, nan_ok=True)


def test_a_trial_whose_end_is_unknown_does_not_count_in_the_mean_or_the_deviation():
    unknown = np.full(30, NAN)
    found = return_statistics({0: np.full(30, 1.0), 1: unknown, 2: np.full(30, 3.0)})
    assert (found.final_mean, found.final_deviation) == (2.0, pytest.approx(math.sqrt(2)))
    alone = return_statistics({1: unknown})
    assert np.isnan([alone.final_mean, alone.final_deviation, alone.best]).all()


def test_of_no_trials_nothing_is_known():
    found = return_statistics({})
    assert found.trials == 0
    assert np.isnan([found.final_mean, found.final_deviation, found.best]).all()


def test_statistics_of_a_dataset_are_of_the_trials_asked_for(smooth):
    assert (smooth.statistics().trials, smooth.statistics([2]).trials) == (8, 1)
    assert smooth.statistics().final_mean == 1000.0
    assert smooth.statistics().best == 1000.0


def cells_of(returns, count):
    """Known returns that each column of a plot stands for: consecutive checkpoints, as equal in number as can be."""
    length = returns.shape[1]
    sizes = [length // count + (i < length % count) for i in range(count)]
    starts = np.cumsum([0, *sizes])
    cells = [returns[:, a:b].ravel() for a, b in pairwise(starts)]
    return [cell[np.isfinite(cell)] for cell in cells]


@given(returns_of(extreme) | returns_of(ordinary), st.integers(1, 70), st.integers(1, 12))
def test_a_plot_is_of_its_size_and_marks_one_mean_where_returns_are_known(returns, width, height):
    lines = terminal_curves(list(returns), width=width, height=height)
    if not np.isfinite(returns).any():
        assert lines == []
        return
    assert len(lines) == height
    assert len({len(line) for line in lines}) == 1
    bodies = [line.partition("│")[2] for line in lines]
    cells = cells_of(returns, min(width, returns.shape[1]))
    assert {len(body) for body in bodies} == {len(cells)}
    assert set("".join(bodies)) <= set(" ·█")
    for column, cell in enumerate(cells):
        marks = "".join(body[column] for body in bodies)
        assert marks.count("█") == (len(cell) > 0)
        if not len(cell):
            assert marks.strip() == ""
        else:
            assert " " not in marks.strip(), "the range has no holes"


@given(returns_of(ordinary))
def test_the_scale_is_labelled_with_the_lowest_and_highest_return(returns):
    lines = terminal_curves(list(returns))
    known = returns[np.isfinite(returns)]
    if len(known):
        top, bottom = (line.partition("│")[0].strip() for line in (lines[0], lines[-1]))
        assert (top, bottom) == (f"{known.max():,.0f}", f"{known.min():,.0f}")
        assert all(not line.partition("│")[0].strip() for line in lines[1:-1])


def test_a_rising_return_rises_from_the_bottom_left_to_the_top_right():
    lines = terminal_curves([np.arange(64.0)], width=64, height=8)
    bodies = [line.partition("│")[2] for line in lines]
    rows = [next(r for r in range(8) if bodies[r][c] == "█") for c in range(64)]
    assert rows == sorted(rows, reverse=True)
    assert (rows[0], rows[-1]) == (7, 0)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(1, 100), st.integers(1, 4))
def test_a_return_that_never_changes_is_a_flat_line(value, length, trials):
    lines = terminal_curves([np.full(length, value, np.float32)] * trials)
    assert lines[-1].partition("│")[2] == "█" * min(64, length)
    assert all("█" not in line for line in lines[:-1])


@pytest.fixture(scope="module")
def curves():
    steps = np.arange(60) * 2048
    rising = np.where(steps < 10_000, NAN, np.sqrt(steps))
    return {0: rising, 1: rising * 2, 2: np.full(60, NAN)}, dict.fromkeys(range(3), steps)


def test_the_picture_is_a_png_of_a_readable_size(curves):
    picture = draw_curves(*curves, "my-env/ppo-v1")
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = imread(io.BytesIO(picture)).shape
    assert 400 <= height < width <= 2000


def test_the_same_returns_give_the_same_bytes_and_others_give_others(curves):
    returns, steps = curves
    first = draw_curves(returns, steps, "my-env/ppo-v1")
    assert draw_curves(returns, steps, "my-env/ppo-v1") == first
    assert draw_curves(returns | {0: returns[0] + 50}, steps, "my-env/ppo-v1") != first
    assert draw_curves(returns, steps, "my-env/ppo-v2") != first


def test_a_picture_of_nothing_known_is_still_a_picture(recwarn):
    assert draw_curves({0: np.full(5, NAN)}, {0: np.arange(5)}, "x").startswith(b"\x89PNG")
    assert not [str(warning.message) for warning in recwarn if issubclass(warning.category, RuntimeWarning)]
