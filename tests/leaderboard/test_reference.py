"""The reference page: all that is there, explained, and as the tables are now."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import get_args

import pytest
from markdown_it import MarkdownIt
from tipl_bench.baselines import IN_TREE
from tipl_bench.baselines.predictor import INFORMATION_CLASSES
from tipl_bench.benchmark.metrics import METRICS
from tipl_bench.benchmark.provenance import ISOLATIONS, Provenance
from tipl_bench.leaderboard.document.metric_values import SHOWN
from tipl_bench.leaderboard.document.schema import STATES, State, read_document
from tipl_bench.leaderboard.render import predictors, reference, table
from tipl_bench.leaderboard.training import reference as training_reference

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference.md"


def test_the_page_is_as_the_tables_are():
    text = f"{reference.render()}\n{training_reference.render()}"
    assert PAGE.read_text(encoding="utf-8") == text, "write it with `tipl-bench leaderboard build`"


def test_the_page_of_predictors_is_as_their_classes_and_the_boards_are():
    board = read_document(ROOT / "docs" / "board" / "leaderboard.json")
    text = (ROOT / "docs" / "predictors.md").read_text(encoding="utf-8")
    assert text == predictors.render(board), "write it with `tipl-bench leaderboard build`"
    assert [line[4:-1] for line in text.splitlines() if line.startswith("## `")] == [*IN_TREE]
    first = board.boards[0]
    skills = [row.phases[first.headline]["skill"].mean.value for row in board.rows if row.board == first.id]
    assert all(f"| {skill:.3f} | [" in text for skill in skills)


def test_what_the_page_says_of_the_rows_holds_on_the_bundled_board():
    board = read_document(ROOT / "docs" / "board" / "leaderboard.json")
    first = board.boards[0]
    assert (first.dataset, first.protocol) == ("inverted-pendulum/ppo-head-v1", 2)
    rows = {(row.method, row.budget): row for row in board.rows if row.board == first.id and not row.variant}
    skill = {name: row.phases[first.headline]["skill"].mean.value for name, row in rows.items()}
    assert abs(skill.pop(("mean-trajectory", "quick"))) < 0.02
    for averaged in ("linear", "ema", "lawa"):
        assert skill.pop((averaged, "quick")) < -0.5
    line = skill["autoregression", "quick"]
    for network in ("introspection", "farcasting", "wnn", "wnn-plus", "nino"):
        assert skill["dmd", "quick"] < skill[network, "quick"] < line
    assert 0.2 < skill["holt", "quick"] < line < skill["adam-moments", "quick"] < line + 0.01
    assert line < skill["mlp", "quick"] < line + 0.02 < skill["tipl", "standard"]
    assert skill["tipl", "standard"] < skill["tipl-neuron", "quick"] < skill["ensemble", "quick"]
    for one, other in (
        (("tipl", "quick"), ("autoregression", "quick")),
        (("ensemble", "quick"), ("tipl-neuron", "quick")),
    ):
        assert rows[one].id in rows[other].tied
    gain = {
        name: fmean(one.value for one in row.phases[first.headline]["gain"].by_horizon) for name, row in rows.items()
    }
    assert max(gain["ema", "quick"], gain["lawa", "quick"]) < -50
    assert abs(gain["linear", "quick"] - gain["tipl-neuron", "quick"]) < 10
    assert round(skill["tipl-neuron", "quick"], 2) == 0.55
    assert abs(skill["tipl-neuron-statistics", "quick"] - skill["tipl-neuron", "quick"]) < 0.01
    larger = [row for row in board.rows if (row.board, row.method, row.budget) == (first.id, "tipl-neuron", "standard")]
    assert {round(row.phases[first.headline]["skill"].mean.value, 2) for row in larger} == {0.63}
    assert {round(row.branching_share.value, 2) for row in larger} == {0.83}
    assert {round(row.phases[first.headline]["repw"].mean.value) for row in larger} == {49, 50}
    double = [row for row in board.rows if row.board.startswith("inverted-double-pendulum/ppo-mini-v2")]
    means = {(row.method, row.variant): row.phases[first.headline]["skill"].mean.value for row in double}
    for method in ("autoregression", "mlp", "tipl"):
        share = means[method, "fitted on hopper/ppo-mini-v2"] / means[method, ""]
        assert share == pytest.approx(5 / 6, abs=0.02)
    for one in rows.keys() - {("tipl-neuron", "quick"), ("ensemble", "quick")}:
        assert rows[one].id not in rows["tipl-neuron", "quick"].tied


@pytest.mark.parametrize("place", [*reference.RECORD.items(), *reference.DOCUMENT.items()], ids=lambda item: item[0])
def test_every_field_is_explained(place):
    _, model = place
    found = reference.descriptions(model)
    assert {*found} == {*(getattr(model, "model_fields", None) or model._fields)}
    assert [name for name, text in found.items() if not text] == []


def test_every_column_metric_class_state_and_isolation_is_on_it():
    text = PAGE.read_text(encoding="utf-8")
    names = {*table.schema(SHOWN).names, *INFORMATION_CLASSES, *STATES, *ISOLATIONS}
    names |= {metric.name for metric in METRICS}
    assert [name for name in sorted(names) if f"| `{name}` |" not in text] == []


def test_what_is_explained_is_what_there_is():
    assert {*STATES} == {*get_args(State)}
    assert {*get_args(Provenance.model_fields["isolation"].annotation)} == {*ISOLATIONS}


def test_its_tables_are_tables_with_no_empty_cell():
    tokens = MarkdownIt("commonmark").enable("table").parse(PAGE.read_text(encoding="utf-8"))
    cells = [after.content for token, after in pairwise(tokens) if token.type == "td_open"]
    assert len(cells) > 400
    assert all(cells)


@pytest.mark.parametrize("place", ["docs/maintaining-the-board.md", "docs/your-own-predictor.md"])
def test_pages_lead_to_it(place):
    assert "reference.md" in (ROOT / place).read_text(encoding="utf-8")
