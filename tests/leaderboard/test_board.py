"""The board: entries, ties, records that are never changed silently, and pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from tipl_bench.benchmark.protocol import CURRENT
from tipl_bench.benchmark.record import (
    Cost,
    DatasetIdentity,
    PredictorIdentity,
    Provenance,
    Record,
    RunKey,
)
from tipl_bench.benchmark.scoring import score
from tipl_bench.leaderboard.build import build
from tipl_bench.leaderboard.entries import compare, entries, seed_skill
from tipl_bench.leaderboard.records import RECORDS, add, load
from tipl_bench.registry.errors import ProtocolError

PROTOCOL = CURRENT.model_copy(update={"horizon": 3, "resamples": 499})
TRIALS, WINDOWS = 12, 4


def record(name="tipl", ratio=0.5, noise=0.05, seed=0, dataset="toy/ppo-v1", tilt=0.0, keep=WINDOWS, **options):
    """Errors of about `ratio` of persistence's, more by `tilt` on even trials, less on odd; `keep` of trial 0."""
    base = np.random.default_rng(0).uniform(0.5, 2.0, size=(TRIALS, WINDOWS, PROTOCOL.horizon))
    own = np.random.default_rng([seed, *name.encode()]).normal(size=base.shape)
    lean = tilt * np.where(np.arange(TRIALS) % 2, -1.0, 1.0)[:, None, None]
    error = base * np.clip(ratio + lean + noise * own, 0.01, None)
    index = pd.MultiIndex.from_product([range(TRIALS), range(WINDOWS), range(1, PROTOCOL.horizon + 1)])
    rows = pd.DataFrame({"wpe": error.ravel(), "wpe_persistence": base.ravel(), "wpe_oracle": 0.1 * base.ravel()})
    rows["trial"], rows["origin"], rows["horizon"] = (index.get_level_values(level) for level in range(3))
    rows["phase"] = "learning"
    for column in ("repw", "repw_persistence", "noise", "gain", "wpe_of_layer0.weight"):
        rows[column] = rows["wpe"] * 10
    rows = rows[(rows["trial"] > 0) | (rows["origin"] < keep)]
    return Record(
        key=RunKey(
            protocol=PROTOCOL,
            dataset=DatasetIdentity(name=dataset, digest="a" * 64, environment="InvertedPendulum-v4"),
            predictor=PredictorIdentity(name=name, version=1, consumes="weights", budget="quick", options=options),
            seed=seed,
            device="cpu",
        ),
        parameter_count=7,
        forecasts_sha256="b" * 64,
        provenance=Provenance(
            tipl_bench="0", git_commit=None, git_dirty=None, python="3", platform="p", cpu="c", gpu=None,
            torch_threads=1, isolation="none", packages={"numpy": "2"},
        ),
        cost=Cost(fit_seconds=1.0, forecast_seconds=0.0, evaluation_seconds=0.0, peak_memory_bytes=2**30),
        metrics=score(rows, PROTOCOL),
        returns=(),
    )  # fmt: skip


def write(folder, *records):
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(records):
        (folder / f"{number}.json").write_text(one.model_dump_json())
    return folder


def test_when_skills_differ_clearly_then_ranks_follow_them():
    board = next(iter(entries([record("mlp", 0.8), record("tipl", 0.5), record("linear", 1.4)]).values()))
    assert [(entry.label, entry.rank) for entry in board] == [("tipl", 1), ("mlp", 2), ("linear", 3)]


def test_when_the_paired_interval_covers_zero_then_entries_share_a_rank():
    board = next(iter(entries([record("mlp", 0.5, tilt=0.2), record("tipl", 0.5, tilt=-0.2)]).values()))
    assert [entry.rank for entry in board] == [1, 1]
    assert {entry.label: entry.tied_with for entry in board} == {"mlp": ["tipl"], "tipl": ["mlp"]}


def test_when_trials_differ_more_than_predictors_then_pairing_still_tells_them_apart():
    one, other = (next(iter(entries([r]).values()))[0] for r in (record("mlp", 0.50, 0.01), record("tipl", 0.48, 0.01)))
    assert one.skill().low < other.skill().value < one.skill().high or one.skill().high < other.skill().high
    assert compare(other, one) == 1
    assert compare(one, other) == -1


def test_seeds_of_one_configuration_are_one_entry_with_their_spread():
    records = [record(seed=seed, noise=0.3) for seed in (2, 0, 1)]
    (entry,) = next(iter(entries(records).values()))
    skills = [seed_skill(r) for r in records]
    assert [r.key.seed for r in entry.records] == [0, 1, 2]
    assert entry.seed_spread == pytest.approx(np.std(skills, ddof=1))
    assert entry.skill().value == pytest.approx(np.mean(skills))


def test_the_headline_is_the_mean_skill_over_horizons_of_the_record():
    one = record()
    skills = [one.metric("learning", h).skill.value for h in range(1, PROTOCOL.horizon + 1)]
    assert seed_skill(one) == pytest.approx(np.mean(skills))


def test_other_options_datasets_and_devices_are_other_rows():
    records = [record(), record(width=3), record(dataset="toy/ppo-v2")]
    assert [len(board) for board in entries(records).values()] == [2, 1]


def test_when_a_result_differs_then_add_refuses_and_keeps_the_old_one(tmp_path):
    run, records = tmp_path / "run", tmp_path / "records"
    run.mkdir()
    record(ratio=0.5).write(run)
    path = add(run, records)
    before = path.read_bytes()
    record(ratio=0.4).write(run)
    with pytest.raises(ProtocolError, match="never changed silently"):
        add(run, records)
    assert path.read_bytes() == before
    slower = record(ratio=0.5)
    slower.model_copy(update={"cost": slower.cost.model_copy(update={"fit_seconds": 9.0})}).write(run)
    assert add(run, records) == path


def test_when_a_record_was_edited_then_the_build_names_its_file(tmp_path):
    folder = write(tmp_path / "records", record())
    path = folder / "0.json"
    path.write_text(path.read_text().replace('"windows":', '"wins":', 1))
    with pytest.raises(ProtocolError, match=re.escape(str(path))):
        build(folder, tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_when_there_are_no_records_then_the_build_says_how_to_add_some(tmp_path):
    with pytest.raises(ProtocolError, match="leaderboard add"):
        load(tmp_path)


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_holds_every_row_and_asks_nothing_of_the_network(tmp_path):
    folder = write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5), record("tipl", 0.5, seed=1))
    markdown, html = (path.read_text() for path in build(folder, tmp_path))
    page = Page(html)
    assert page.links == ["data:,"]
    assert page.tags.count("tbody") == 2
    assert re.search(r"\| 1 \| tipl .*\| 2 \(0\.\d+\) \|", markdown)
    assert re.search(r"\| 2 \| mlp ", markdown)
    assert not re.search("https?:", html)


def test_when_an_option_holds_markup_then_the_page_shows_it_as_text(tmp_path):
    name = "<script>alert(1)</script>"
    folder = write(tmp_path / "records", record("tipl", 0.5, note=name))
    plain = Page((build(write(tmp_path / "plain", record("tipl")), tmp_path)[1]).read_text())
    page = Page(build(folder, tmp_path)[1].read_text())
    assert page.tags.count("script") == plain.tags.count("script")
    assert any(name in words for words in page.words)


def test_the_same_records_give_the_same_bytes(tmp_path):
    folder = write(tmp_path / "records", record("mlp", 0.8), record("tipl", 0.5))
    first = [path.read_bytes() for path in build(folder, tmp_path / "a")]
    assert [path.read_bytes() for path in build(folder, tmp_path / "b")] == first


def test_the_packages_own_records_are_valid_and_cover_five_predictors_and_three_seeds():
    found = {(r.key.predictor.name, r.key.seed) for r in load(RECORDS) if r.key.dataset.name.endswith("ppo-head-v1")}
    names = ("persistence", "linear", "autoregression", "mlp", "tipl")
    assert found >= {(name, seed) for name in names for seed in (0, 1, 2)}


def test_when_there_are_too_few_trials_then_nothing_is_ranked(monkeypatch, tmp_path):
    monkeypatch.setitem(record.__globals__, "TRIALS", 5)
    records = [record("tipl", 0.2), record("mlp", 0.8)]
    assert [entry.rank for entry in next(iter(entries(records).values()))] == [1, 1]
    assert "Not ranked" in build(write(tmp_path / "records", *records), tmp_path)[0].read_text()


def test_when_a_trial_has_fewer_windows_then_the_return_error_is_still_the_mean_over_windows():
    run = record(keep=1)
    ((entry,),) = entries([run]).values()
    estimate = entry.return_error()
    mean = np.mean([metric.repw.value for metric in run.metrics if metric.phase == "learning"])
    assert estimate.value == pytest.approx(mean, rel=1e-12)
    assert estimate.low < estimate.value < estimate.high


def test_when_the_dataset_is_yanked_then_its_rows_are_greyed_and_the_reason_is_told(tmp_path, store):
    folder = write(tmp_path / "records", record("tipl", 0.5))
    assert "yanked:" not in build(folder, tmp_path)[1].read_text()
    store.mkdir()
    entry = {"environment": "InvertedPendulum-v4", "summary": "A toy", "yanked": "wrong <seeds>"}
    lines = [f"{name} = {value!r}" for name, value in (entry | {"digest": "a" * 64}).items()]
    (store / "catalog.toml").write_text("\n".join(['["toy/ppo-v1"]', *lines]))
    markdown, page = (path.read_text() for path in build(folder, tmp_path))
    assert "wrong &lt;seeds&gt;" in markdown
    assert "wrong &lt;seeds&gt;" in page
    assert 'class="scroll yanked"' in page
