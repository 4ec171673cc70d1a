"""Origins: where in a test trial forecasts are asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from helpers import synthetic
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.benchmark.forecast.windows import (
    EvaluationWindow,
    converged_from,
    evaluation_windows,
    spread_origins,
    spread_windows,
    stratified_origins,
    trial_windows,
)
from tipl_bench.benchmark.protocol import PROTOCOLS, check_known, protocol
from tipl_bench.registry.trial import iteration_positions
from tipl_bench.utils.errors import ProtocolError, UnknownNameError

CURRENT = PROTOCOLS[1]
POSITIONS = iteration_positions(synthetic.epochs(401))


@given(st.integers(19, 380), st.integers(0, 380), st.integers(1, 12))
def test_when_origins_are_chosen_then_they_are_distinct_permitted_and_as_many_as_there_can_be(low, length, count):
    high = min(low + length, 391)
    origins = spread_origins(low, high, POSITIONS, count)
    assert len(origins) == min(count, high - low)
    assert origins == sorted(set(origins))
    assert all(low <= origin < high for origin in origins)
    assert origins == spread_origins(low, high, POSITIONS, count)


@given(st.integers(19, 380), st.integers(10, 380))
def test_when_a_phase_is_long_enough_then_each_place_in_the_iteration_gets_two_of_ten(low, length):
    high = min(low + length, 391)
    origins = spread_origins(low, high, POSITIONS, 10)
    places = Counter(POSITIONS[origins].tolist())
    assert len(origins) < 10 or places == dict.fromkeys(range(5), 2)


@given(st.integers(19, 290), st.integers(100, 380))
def test_when_a_phase_is_long_then_its_origins_lie_evenly(low, length):
    high = min(low + length, 391)
    ideal = low + (np.arange(10) + 0.5) * (high - low) / 10
    origins = np.array(spread_origins(low, high, POSITIONS, 10))
    assert np.abs(origins - ideal).max() <= 3.0  # half an iteration, to stand at the wanted place


def test_when_a_range_is_empty_then_there_are_no_origins():
    assert spread_origins(50, 50, POSITIONS, 10) == []


def test_when_windows_are_drawn_then_each_has_its_whole_context_and_future(smooth):
    windows = evaluation_windows(smooth, CURRENT)
    last = smooth.manifest.checkpoints - 1 - CURRENT.horizon
    assert {window.trial for window in windows} == set(smooth.manifest.split.test)
    assert all(CURRENT.context - 1 <= window.origin <= last for window in windows)
    assert windows == evaluation_windows(smooth, CURRENT)


def test_when_both_phases_are_long_then_each_has_ten_windows_of_two_at_each_place(smooth):
    for trial in smooth.trials(smooth.manifest.split.test):
        windows = trial_windows(trial, CURRENT)
        counted = Counter((window.phase, window.position) for window in windows)
        assert counted == {(phase, place): 2 for phase in ("learning", "converged") for place in range(5)}


def test_when_windows_are_labelled_then_the_phase_and_place_are_the_origins_own(smooth):
    trial = smooth.trial(6)
    boundary = converged_from(trial.columns["episodic_return"], CURRENT.smoothing, CURRENT.learned_fraction)
    for window in trial_windows(trial, CURRENT):
        assert (window.phase == "converged") == (window.origin >= boundary)
        assert window.position == (window.origin - 1) % 5
        assert window.trial == 6


def test_when_the_learning_phase_is_short_then_all_of_it_is_taken(tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "short", learned_at=3)
    trial = dataset.trial(7)
    boundary = converged_from(trial.columns["episodic_return"], CURRENT.smoothing, CURRENT.learned_fraction)
    learning = [window.origin for window in trial_windows(trial, CURRENT) if window.phase == "learning"]
    assert CURRENT.context - 1 < boundary < CURRENT.context + 9
    assert learning == list(range(CURRENT.context - 1, boundary))


def test_when_a_trial_learns_before_a_context_is_full_then_it_has_no_learning_windows(tmp_path):
    dataset = synthetic.walking_dataset(tmp_path / "instant", learned_at=1)
    assert {window.phase for window in evaluation_windows(dataset, CURRENT)} == {"converged"}


def test_when_a_trial_has_exactly_one_window_then_it_is_found(tmp_path):
    weights = [synthetic.random_walk(i, 31, 32) for i in range(3)]
    dataset = synthetic.write_dataset(tmp_path / "least", weights)
    protocol_of_29 = CURRENT.model_copy(update={"context": 21})
    assert [window.origin for window in evaluation_windows(dataset, protocol_of_29)] == [20]


def test_when_trials_are_too_short_then_the_error_says_how_long_they_must_be(tmp_path):
    dataset = synthetic.write_dataset(tmp_path / "tiny", [synthetic.random_walk(i, 26, 32) for i in range(3)])
    with pytest.raises(ProtocolError, match=r"toy-pendulum/synthetic-v1 has 26 checkpoints.* at least 30"):
        evaluation_windows(dataset, CURRENT)


def test_when_places_are_counted_then_the_initialisation_stands_with_the_last():
    assert iteration_positions(np.array([0, 2, 4, 6, 8, 10, 2, 4])).tolist() == [4, 0, 1, 2, 3, 4, 0, 1]


def test_when_places_are_counted_in_a_batch_of_parts_then_each_is_that_of_the_whole():
    epoch = synthetic.epochs(81)
    parts = np.stack([epoch[start : start + 20] for start in (0, 3, 17)])
    whole = iteration_positions(epoch)
    expected = np.stack([whole[start : start + 20] for start in (0, 3, 17)])
    np.testing.assert_array_equal(iteration_positions(parts), expected)


def test_when_checkpoints_come_every_epoch_then_there_are_ten_places():
    epoch = np.concatenate([[0], np.tile(np.arange(1, 11), 3)])
    assert iteration_positions(epoch)[:12].tolist() == [9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]


def test_when_a_protocol_version_is_unknown_then_the_known_ones_are_named():
    assert protocol(1) is PROTOCOLS[1] is protocol(PROTOCOLS[1])
    with pytest.raises(UnknownNameError, match=f"protocol version '7'.*Known: {', '.join(map(str, PROTOCOLS))}"):
        protocol(7)


def test_when_the_validation_trials_are_asked_for_then_the_windows_are_theirs(smooth):
    windows = evaluation_windows(smooth, CURRENT, "validation")
    assert {window.trial for window in windows} == set(smooth.manifest.split.validation)
    assert windows == [
        w for trial in smooth.manifest.split.validation for w in trial_windows(smooth.trial(trial), CURRENT)
    ]


def counted_windows(trials: int, learning: int = 10, converged: int = 10) -> list[EvaluationWindow]:
    """Windows as a protocol gives them: of each trial, of each phase, by origin."""
    phases = {"learning": range(learning), "converged": range(20, 20 + converged)}
    return [
        EvaluationWindow(t, origin, phase, origin % 5)
        for t in range(trials)
        for phase, o in phases.items()
        for origin in o
    ]


@given(st.integers(1, 7), st.integers(0, 10), st.integers(1, 10), st.integers(1, 150))
def test_when_fewer_windows_are_taken_then_they_are_even_over_phases_and_trials(trials, learning, converged, count):
    windows = counted_windows(trials, learning, converged)
    chosen = spread_windows(windows, count)
    assert len(chosen) == min(count, len(windows))
    assert chosen == sorted(set(chosen), key=windows.index) == spread_windows(windows, count)
    for phase, most in (("learning", learning), ("converged", converged)):
        by_trial = Counter(window.trial for window in chosen if window.phase == phase)
        numbers = [by_trial[trial] for trial in range(trials)]
        assert max(numbers) - min(numbers) <= 1
        assert sum(numbers) >= min(count // 2, most * trials)


def test_when_one_window_of_each_trial_and_phase_is_taken_then_their_places_in_the_iteration_differ():
    places = Counter(w.position for w in spread_windows(counted_windows(15), 30) if w.phase == "learning")
    assert set(places) == {0, 1, 2, 3, 4}
    assert max(places.values()) <= 5


@given(st.integers(19, 380), st.integers(0, 380), st.integers(1, 6), st.integers(0, 60))
def test_when_origins_are_stratified_then_each_place_has_its_number_evenly_over_the_phase(low, length, count, turn):
    high = min(low + length, 391)
    origins = np.array(stratified_origins(low, high, POSITIONS, count, turn=turn), dtype=int)
    assert origins.tolist() == sorted({*origins.tolist()})
    assert ((low <= origins) & (origins < high)).all()
    for place in range(5):
        here, chosen = (some[POSITIONS[some] == place] for some in (np.arange(low, high), origins))
        assert len(chosen) == min(count, len(here))
        for part, number in enumerate(np.searchsorted(here, chosen)):  # one from each of equal parts of the phase
            size = len(here) / len(chosen)
            assert int(part * size) <= number < (part + 1) * size


def test_over_the_trials_no_place_is_later_in_the_phase_than_another():
    times = [[], [], [], [], []]
    for turn in range(15):
        for origin in stratified_origins(19, 69, POSITIONS, 4, turn=turn):
            times[POSITIONS[origin]].append((origin - POSITIONS[origin] - 1) // 5)
    means = [np.mean(of_place) for of_place in times]
    assert max(means) - min(means) <= 1.0  # in iterations: the phase may begin within one


def test_version_2_has_four_windows_at_each_place_while_learning_and_one_when_converged(tmp_path):
    weights = [synthetic.random_walk(i, 201, 32) for i in range(8)]
    dataset = synthetic.write_dataset(tmp_path / "set", weights)
    curve = np.interp(np.arange(41), [0, 20, 40], [5.0, 100.0, 100.0])
    for trial in dataset.trials(dataset.manifest.split.test):
        windows = trial_windows(trial, PROTOCOLS[2], curve)
        counted = Counter((window.phase, window.position) for window in windows)
        assert counted == {(phase, k): n for phase, n in (("learning", 4), ("converged", 1)) for k in range(5)}
        assert windows == sorted(windows, key=lambda window: (window.phase == "converged", window.origin))
        for window in windows:
            assert (window.phase == "converged") == (window.origin >= 5 * 20), "95% of the way, smoothed"
            assert CURRENT.context - 1 <= window.origin < 201 - CURRENT.horizon


def test_version_2_is_kept_apart_from_version_1_which_is_written_as_ever():
    first = PROTOCOLS[1].model_dump()
    assert [*first] == [
        "version", "context", "horizon", "origins_per_phase", "smoothing", "learned_fraction", "evaluation_seeds",
        "noise_seeds", "resamples", "confidence", "bootstrap_seed",
    ]  # fmt: skip
    assert type(PROTOCOLS[1]).model_validate(first) == PROTOCOLS[1]
    for known in PROTOCOLS.values():
        assert type(known).model_validate_json(known.model_dump_json()) == known
        check_known(known)
    with pytest.raises(ProtocolError, match="the number 2 but another phases"):
        check_known(PROTOCOLS[2].model_copy(update={"phases": "training return"}))
