"""Branching ceilings on the board: where the catalog pins one, beside the span ceiling; elsewhere nothing."""

from __future__ import annotations

import copy
import hashlib
from urllib.parse import urlencode

import numpy as np
import pytest
from helpers import synthetic_documents
from helpers.board_records import PROTOCOL_2, across, catalogue, write
from helpers.ceilings import COPIES, synthetic_document, truth
from tipl_bench.benchmark.ceiling import document as ceilings
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.protocol import protocol
from tipl_bench.leaderboard.document.build import document
from tipl_bench.leaderboard.render import markdown, table
from tipl_bench.leaderboard.render.site import render
from tipl_bench.leaderboard.statistics.board import Sums, shares
from tipl_bench.registry.catalog import catalog
from tipl_bench.registry.loading import load_dataset
from tipl_bench.utils.errors import DatasetError

NOISE, NAME = 1.0, "env0/ppo-v1"
STATED = "knows the whole training state at the origin, the current batch included"


@pytest.fixture
def pinned(store, tmp_path, monkeypatch):
    """A ceiling of `NAME` under protocol 2 that the catalog pins; its file."""
    folder = tmp_path / "ceilings"
    folder.mkdir()
    monkeypatch.setattr(ceilings, "FOLDER", folder)
    path = ceilings.published_path(NAME, 2)
    path.write_text(synthetic_document(NOISE, trials=12, horizon=3, dataset=NAME, protocol=2).to_json())
    catalogue(store, env0={"ceilings.p2": hashlib.sha256(path.read_bytes()).hexdigest()})
    return path


def built(folder):
    return document(write(folder / "records", *across(["env0", "env1"], protocol=PROTOCOL_2)))


def test_the_ceiling_and_each_rows_share_of_it_stand_on_its_board_alone(pinned, tmp_path):
    board = built(tmp_path)
    known, unknown = sorted(board.boards, key=lambda one: one.id)
    about = known.phases["learning"]
    reference = about.references["branching_ceiling"]
    assert reference.by_horizon == pytest.approx(truth(NOISE, 3), abs=0.02)
    assert reference.mean == reference.interval.value == pytest.approx(np.mean(reference.by_horizon), rel=1e-4)
    assert reference.interval.low < np.mean(truth(NOISE, 3)) < reference.interval.high
    assert about.positions["branching_ceiling"].mean == pytest.approx([reference.mean] * 5, abs=0.05)
    assert known.continuations == COPIES
    assert "branching_ceiling" not in known.phases["all"].references
    assert unknown.continuations is None
    assert "branching" not in unknown.model_dump_json()
    for row in board.rows:
        skill = row.phases["learning"]["skill"].mean.value
        if row.board != known.id:
            assert row.branching_share is None
            continue
        share = row.branching_share
        assert share.value == pytest.approx(skill / reference.mean, rel=1e-5)
        assert share.low <= share.value <= share.high
        assert (share.low < share.high) == (skill != 0)
    lines = table.flat(board).to_pylist()
    found = {line["horizon"]: line["branching_ceiling"] for line in lines if line["phase"] == "learning"
             and line["board"] == known.id}  # fmt: skip
    assert [found[str(h)] for h in (1, 2, 3)] == list(reference.by_horizon)
    assert {line["branching_share"] for line in lines if line["board"] == unknown.id} == {None}
    first, second = markdown.render(board).split("\n## env")[1:]
    assert STATED in first
    assert f"{COPIES} continuations a window" in first
    assert "| share of the branching ceiling |" in first
    assert "\n| branching ceiling |" in first
    assert "branching" not in second


def test_across_environments_a_row_has_its_mean_share_where_all_of_them_have_a_ceiling(pinned, store, tmp_path):
    without = built(tmp_path / "one")
    assert {row.branching_share for row in without.overall[0].rows} == {None}
    assert "branching" not in markdown.render(without).split("\n## ")[1]
    paths = {"env0": pinned, "env1": ceilings.published_path("env1/ppo-v1", 2)}
    other = synthetic_document(2 * NOISE, trials=12, horizon=3, dataset="env1/ppo-v1", protocol=2)
    paths["env1"].write_text(other.to_json())
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    catalogue(store, **{name: {"ceilings.p2": digest} for name, digest in digests.items()})
    board = built(tmp_path / "both")
    rows = {row.id: row for row in board.rows}
    for entry in board.overall[0].rows:
        found, shares = entry.branching_share, [rows[name].branching_share for name in entry.rows]
        assert found.value == pytest.approx(np.mean([share.value for share in shares]), rel=1e-5)
        half = np.linalg.norm([share.high - share.low for share in shares]) / 2 / len(shares)
        assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), rel=1e-5)
    assert "| share of the branching ceiling |" in markdown.render(board).split("\n## ")[1]


def test_a_share_is_of_both_ratios_on_the_same_trials():
    stream = np.random.default_rng(0)
    gained, baseline = stream.uniform(1, 2, (8, 3)), stream.uniform(2, 3, (8, 3))
    settings = {"resamples": 199, "level": 0.95, "seed": 1}
    row = np.stack([0.5 * gained, stream.uniform(0, 1, (8, 3))])
    sums = Sums(["half", "other"], {"error": baseline - row, "baseline": np.stack([baseline] * 2)})
    found = shares(sums, gained, baseline, **settings)
    assert found.loc["half"].tolist() == pytest.approx([0.5] * 3), "draws that were not paired would vary"
    value, low, high = found.loc["other"]
    assert low < value < high
    single = Sums(["one"], {"error": np.ones((1, 1, 3)), "baseline": np.full((1, 1, 3), 2.0)})
    value, low, high = shares(single, gained[:1], baseline[:1], **settings).loc["one"]
    assert value == pytest.approx(0.5 / (gained[0] / baseline[0]).mean())
    assert np.isnan([low, high]).all()


def test_the_page_shows_the_ceiling_of_a_board_and_says_what_it_knows(visit, tmp_path):
    made = copy.deepcopy(synthetic_documents.document(rows=8, boards=2))
    board = made["boards"][0]
    about = copy.deepcopy(board["phases"]["learning"])
    reference = {"mean": 0.7, "by_horizon": [0.7] * len(about["references"]["oracle_skill"]["by_horizon"])}
    about["references"]["branching_ceiling"] = reference | {"interval": {"value": 0.7, "low": 0.66, "high": 0.74}}
    about["positions"]["branching_ceiling"] = {"mean": [0.7] * 5, "by_horizon": [[0.7] * 5]}
    board["phases"]["learning"], board["continuations"] = about, 32
    for row in made["rows"]:
        row["branching_share"] = {"value": 0.5, "low": 0.4, "high": 0.6} if row["board"] == board["id"] else None
    render(synthetic_documents.typed(made), tmp_path)
    visiting = visit(tmp_path)
    page = visiting.go("#" + urlencode({"view": board["id"]}))
    text = page.locator("#view-about").text_content()
    assert STATED in text
    assert "0.700 [0.660, 0.740] over all horizons, by 32 continuations of each window" in text
    assert page.locator("#plots path.line.branching").first.get_attribute("d")
    assert "branching ceiling" in page.locator("#plots figure").first.text_content()
    assert {cell.strip() for cell in visiting.column("share of the branching ceiling")} == {"0.500\n[0.400, 0.600]"}
    page = visiting.go("#" + urlencode({"view": made["boards"][1]["id"]}))
    assert "ranching" not in page.locator("main").inner_text()


@pytest.mark.parametrize("how", ["other bytes", "missing"])
def test_a_ceiling_that_is_not_the_pinned_one_is_refused(how, pinned, tmp_path):
    if how == "missing":
        pinned.unlink()
    else:
        pinned.write_text(pinned.read_text().replace("0.0", "0.1", 1))
    with pytest.raises(DatasetError, match=r"the catalog pins .* branching ceiling of env0/ppo-v1 under protocol 2"):
        built(tmp_path)


def test_every_ceiling_that_ships_is_pinned_and_of_enough_continuations():
    found = {}
    for name, entry in catalog().items():
        for key in entry.ceilings:
            shipped = ceilings.published_ceiling(name, int(key[1:]), entry)
            assert shipped.copies >= 32
            found[ceilings.published_path(name, shipped.protocol)] = shipped
    assert {*ceilings.FOLDER.iterdir()} == {*found}


def test_the_bundled_datasets_ceiling_is_of_its_learning_phase_windows():
    dataset = load_dataset("inverted-pendulum/ppo-head-v1")
    shipped = ceilings.published_ceiling(dataset.name, 2, catalog()[dataset.name])
    expected = [window for window in evaluation_windows(dataset, protocol(2)) if window.phase == "learning"]
    assert [one.window for one in shipped.windows] == expected
    assert shipped.digest == dataset.digest
    for one in (shipped.windows[0], shipped.windows[-1]):
        weights = dataset.trial(one.trial).weights(one.origin, one.origin + 11).astype(np.float64)
        assert one.stored_displacement == pytest.approx(((weights[1:] - weights[0]) ** 2).mean(axis=1), rel=1e-4)
