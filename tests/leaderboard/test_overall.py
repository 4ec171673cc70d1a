"""The leaderboard's comparison across environments, as the document holds it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.board_records import NAMES, PROTOCOL_2, across, catalogue, document_of, record
from hypothesis import given
from hypothesis import strategies as st
from tipl_bench.leaderboard.document import entries as entries_module
from tipl_bench.leaderboard.document.overall import common_environments
from tipl_bench.leaderboard.store.evidence import RowStatus


def test_overall_is_the_mean_skill_of_what_is_on_every_default_board(toys):
    mixed = [*across(), *across(NAMES[:2], [("linear", 1.5)]), record("tipl", 0.1, dataset="env0/other-v1")]
    board = document_of(toys, *mixed)
    (comparison,) = board["overall"]
    first, second = comparison.pop("rows")
    assert (first["method"], first["rank"], first["tied"]) == ("tipl", 1, [])
    assert (second["method"], second["rank"]) == ("mlp", 2)
    assert comparison == {
        "environments": NAMES,
        "left_out": [],
        "resampled": "trials",
        "protocol": 1,
        "ranking": {"metrics": ["skill"], "correction": "none", "practical_tie": 0.0},
    }
    rows = {row["id"]: row for row in board["rows"]}
    each = [rows[name]["phases"]["learning"]["skill"]["mean"]["value"] for name in first["rows"]]
    assert first["environments"] == NAMES
    assert first["skill"]["value"] == pytest.approx(np.mean(each), rel=1e-5)
    assert first["skill"]["low"] < first["skill"]["value"] < first["skill"]["high"]


def test_an_overall_row_has_the_lowest_state_of_its_rows_and_names_what_disputes_any(toys, monkeypatch):
    low, high = RowStatus("claimed", "skill is 0.1 lower", ()), RowStatus("reproduced", None, ())
    lower = ("tipl", "env1")
    monkeypatch.setattr(
        entries_module,
        "row_status",
        lambda path, one: low if (one.key.method.name, one.key.dataset.environment) == lower else high,
    )
    rows = {row["method"]: row for row in document_of(toys, *across())["overall"][0]["rows"]}
    assert (rows["mlp"]["state"], rows["mlp"]["disputed"]) == ("reproduced", None)
    assert (rows["tipl"]["state"], rows["tipl"]["disputed"]) == ("claimed", "env1: seed 0: skill is 0.1 lower")


def test_overall_leaves_out_unranked_yanked_and_superseded_boards(toys, store):
    catalogue(store, env2={"yanked": "broken"})
    board = document_of(toys, *across())
    assert board["overall"][0]["environments"] == NAMES[:2]
    few = document_of(toys / "few", *across(NAMES[:2]), *across(NAMES[2:], trials=5))
    assert few["overall"][0]["environments"] == NAMES[:2]


def test_a_new_version_of_a_default_dataset_leaves_the_comparison_of_older_boards_as_it_was(toys, store):
    before = document_of(toys, *across())["overall"]
    catalogue(store, env1={"default": False})
    newer = '["env1/ppo-v2"]\nenvironment = "env1"\nsummary = "A toy"\ndigest = "%s"\ndefault = true\n' % ("a" * 64)
    (store / "catalog.toml").write_text((store / "catalog.toml").read_text() + "\n" + newer)
    assert document_of(toys, *across())["overall"] == before
    moved = [record(name, 0.3, dataset="env1/ppo-v2", environment="env1") for name in ("mlp", "tipl")]
    (after,) = document_of(toys / "both", *across(), *moved)["overall"]
    assert after["environments"] == NAMES
    assert [name for row in after["rows"] for name in row["rows"] if "env1" in name and "v2" not in name] == []


def test_when_no_two_predictors_are_everywhere_then_overall_is_of_the_largest_common_set(toys):
    records = [*across(NAMES[:2]), *across(NAMES[2:], [("linear", 1.5), ("tipl", 0.5)])]
    board = document_of(toys, *records)
    assert (board["overall"][0]["environments"], board["overall"][0]["left_out"]) == (NAMES[:2], ["env2"])
    assert {row["method"] for row in board["overall"][0]["rows"]} == {"mlp", "tipl"}


def test_when_one_environment_is_ranked_then_there_is_no_overall(toys):
    board = document_of(toys, *across(NAMES[:1]))
    assert board["overall"] == []


def test_of_two_devices_the_overall_takes_the_cpu_whatever_is_better(toys):
    board = document_of(toys, *across(), *across(predictors=[("tipl", 0.1)], device="cuda"))
    rows = {row["id"]: row for row in board["rows"]}
    assert {rows[name]["device"] for row in board["overall"][0]["rows"] for name in row["rows"]} == {"cpu"}


present = st.dictionaries(st.sampled_from("abcde"), st.sets(st.tuples(st.sampled_from("uvwxyz")), max_size=6))


@given(present)
def test_the_common_environments_are_the_largest_set_with_two_predictors_in_common(found):
    chosen = common_environments(found)
    best = 0
    for bits in range(1, 2 ** len(found)):
        subset = [name for number, name in enumerate(sorted(found)) if bits >> number & 1]
        if len(set.intersection(*(found[name] for name in subset))) >= 2:
            best = max(best, len(subset))
    assert len(chosen) == best
    if chosen:
        assert len(set.intersection(*(found[name] for name in chosen))) >= 2


def test_each_protocol_has_its_own_overall_comparison_the_newest_first_and_the_older_one_stays(toys):
    one, two = (
        document_of(toys / str(count), *across(), *across(NAMES[:count], protocol=PROTOCOL_2)) for count in (1, 2)
    )
    assert [comparison["protocol"] for comparison in one["overall"]] == [1]  # of one environment there is none
    newer, older = two["overall"]
    assert [older] == one["overall"]
    assert (newer["protocol"], newer["environments"]) == (2, NAMES[:2])
    protocols = {about["id"]: about["protocol"] for about in two["boards"]}
    rows = {row["id"]: protocols[row["board"]] for row in two["rows"]}
    for comparison in (newer, older):
        assert {rows[name] for row in comparison["rows"] for name in row["rows"]} == {comparison["protocol"]}


def test_beside_the_mean_skill_stand_the_share_of_the_ceiling_and_the_geometric_mean_of_error_ratios(toys):
    board = document_of(toys, *across(predictors=(("mlp", 0.8), ("tipl", 0.4)), protocol=PROTOCOL_2))
    first, second = board["overall"][0]["rows"]
    rows = {row["id"]: row["phases"]["learning"] for row in board["rows"]}
    for one in (first, second):
        skills, shares = (
            [rows[name][metric]["mean"]["value"] for name in one["rows"]] for metric in ("skill", "span_share")
        )
        assert one["skill"]["value"] == pytest.approx(np.mean(skills), rel=1e-5)
        assert one["share"]["value"] == pytest.approx(np.mean(shares), rel=1e-5)
        assert one["error_ratio"]["value"] == pytest.approx(
            np.prod([1 - skill for skill in skills]) ** (1 / 3), rel=1e-5
        )
        assert all(one[name]["low"] < one[name]["value"] < one[name]["high"] for name in ("share", "error_ratio"))
    (pair,) = first["comparisons"]
    assert (first["method"], pair["label"], pair["verdict"]) == ("tipl", second["label"], "better")
    for name in ("share", "error_ratio"):
        value, other = first[name]["value"], second[name]["value"]
        expected = value - other if name == "share" else value / other
        assert pair[name]["value"] == pytest.approx(expected, rel=1e-4)
        assert pair[name]["low"] < pair[name]["value"] < pair[name]["high"]
    (back,) = second["comparisons"]
    assert back["error_ratio"]["low"] == pytest.approx(1 / pair["error_ratio"]["high"], rel=1e-4)


def test_where_records_have_no_sums_of_the_ceiling_the_share_of_it_is_undefined(toys):
    records = across(NAMES[:2])
    lacking = []
    for one in records:
        results = [
            result.model_copy(
                update={"by_trial": {name: sums for name, sums in result.by_trial.items() if name != "wpe_oracle"}}
            )
            for result in one.results
        ]
        lacking.append(one.model_copy(update={"results": tuple(results)}))
    for row in document_of(toys, records[0], *lacking[1:])["overall"][0]["rows"]:
        assert row["share"] is None
        assert row["error_ratio"]["value"] < 1
        assert [pair["share"] for pair in row["comparisons"]] == [None]
