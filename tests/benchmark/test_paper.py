"""The paper's presentation, the page that shows it, and the ablation's rows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import board_records
from tipl_bench.baselines.fitting import torch_predictor
from tipl_bench.baselines.options import build_options
from tipl_bench.baselines.tipl import TIPLPooled, TIPLPublished
from tipl_bench.baselines.tipl.design import SUITE, Design
from tipl_bench.benchmark.fitting.training_state import TrainingStateFile
from tipl_bench.benchmark.paper import ablation, budget, presentation
from tipl_bench.benchmark.paper.kept import Ablation, AblationRun, keep_ablation, keep_section
from tipl_bench.benchmark.paper.page import render, series
from tipl_bench.benchmark.paper.presentation import CONTEXT, HORIZON, MODELS, Presentation, present
from tipl_bench.benchmark.paper.templating import TEMPLATES
from tipl_bench.benchmark.record import RECORD_NAME, Status
from tipl_bench.registry.dataset import Dataset
from tipl_bench.utils.errors import DatasetError, OptionError, ProtocolError

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / "reproduction" / "paper-budget"
SETTINGS = ("steps=4", "width=16", "rank=8")


@pytest.fixture(scope="module")
def presented(smooth, tmp_path_factory) -> tuple[Presentation, pd.DataFrame]:
    """Three windows of each test trial."""
    folder = tmp_path_factory.mktemp("presentation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "store"))
        shown = Presentation(smooth, folder / "rows", "smoke", SETTINGS, windows=3)
        return shown, present(shown)


def test_when_a_dataset_is_presented_then_every_model_has_the_same_windows_uniform_over_the_trials(presented, smooth):
    shown, rows = presented
    assert list(dict.fromkeys(rows["model"])) == list(MODELS)
    for _, part in rows.groupby("model"):
        assert sorted(set(part["origin"])) == [CONTEXT - 1, 44, 80 - HORIZON]
        assert len(part) == 2 * 3 * HORIZON
    assert {window.phase for window in shown.origins()} == {"learning", "converged"}


def test_when_persistence_is_presented_then_its_errors_are_the_distances_that_weights_move(presented, smooth):
    rows = presented[1]
    still = rows[rows["model"] == "persistence"].set_index(["trial", "origin", "horizon"])
    for (trial, origin, horizon), row in still.iterrows():
        weights = smooth.trial(trial).weights().astype(float)
        assert row["wpe"] == pytest.approx(np.square(weights[origin + horizon] - weights[origin]).mean(), rel=1e-6)
    true = {tuple(key): group["return_true"].nunique() for key, group in rows.groupby(["trial", "origin", "horizon"])}
    assert set(true.values()) == {1}


def test_when_rows_are_there_then_nothing_is_fitted_again_and_other_settings_are_refused(presented, monkeypatch):
    shown, rows = presented
    monkeypatch.setattr(presentation, "_rows", lambda *_: pytest.fail("made again"))
    pd.testing.assert_frame_equal(present(shown), rows)
    with pytest.raises(ProtocolError, match="holds the results of other settings"):
        present(replace(shown, seed=1))


def test_when_a_fit_is_interrupted_then_it_goes_on_and_a_fitted_model_is_not_fitted_again(
    presented, tmp_path, monkeypatch
):
    shown, rows = presented
    again, kept = replace(shown, folder=tmp_path / "rows"), []
    monkeypatch.setattr(torch_predictor, "KEEP_EVERY", 0.0)
    write = TrainingStateFile.write

    def killed(file, state, seconds):
        write(file, state, seconds)
        kept.append(state.values["step"])
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingStateFile, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        present(again)
    assert not (again.folder / "tipl-published.safetensors").exists()
    published = rows[rows["model"] == "tipl-published"].reset_index(drop=True)
    numbers = published.select_dtypes("number").columns
    np.testing.assert_allclose(present(again, models=["tipl-published"])[numbers], published[numbers], rtol=1e-3)
    assert kept == [1, 2, 3, 4]
    (again.folder / "tipl-published.parquet").unlink()
    present(again, models=["tipl-published"])
    assert kept == [1, 2, 3, 4]
    assert {path.name for path in again.folder.iterdir()} == {
        "key.json", "tipl-published.parquet", "tipl-published.safetensors"
    }  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_when_models_were_fitted_on_a_device_then_they_are_shown_without_one(presented, tmp_path):
    shown, rows = presented
    there = replace(shown, folder=tmp_path / "rows", device="cuda")
    with pytest.raises(OptionError, match="torch sees no CUDA device"):
        present(there)
    for model in ("tipl-published", "tipl-pooled"):
        shutil.copy(shown.folder / f"{model}.safetensors", there.folder)
    pd.testing.assert_frame_equal(present(there), rows)


def test_when_a_page_is_rendered_then_its_numbers_are_those_of_the_rows(presented, smooth, tmp_path):
    rows = presented[1]
    still = rows[rows["model"] == "persistence"]
    with pytest.raises(DatasetError, match="kept keeps no section of the page; `--fit DATASET` makes one"):
        render(tmp_path / "kept", tmp_path)
    record = SimpleNamespace(
        key=SimpleNamespace(protocol=SimpleNamespace(version=7)),
        provenance=SimpleNamespace(cpu="A Processor", gpu=None),
    )
    suite = {
        model: SimpleNamespace(windows=still.assign(phase="learning"), record=record)
        for model in ("tipl", "persistence")
    }
    other = Dataset(smooth.folder, smooth.manifest.model_copy(update={"name": "a/first-v1"}))
    for dataset in (smooth, other, smooth):
        keep_section(replace(presented[0], dataset=dataset), rows, suite, tmp_path / "kept")
    run = {"options": (), "skill": [0.1234] * 10, "repw": [None] * 10}
    ablated = Ablation(dataset="a/b-v1", digest="d" * 64, protocol=7, budget="smoke", runs=[run | {"seed": 0}])
    for seed in (0, 1):
        again = [AblationRun(**run, seed=seed)]
        keep_ablation(ablated.model_copy(update={"runs": tuple(again)}), tmp_path / "kept")
    with pytest.raises(DatasetError, match="keeps the ablation of a/b-v1 with budget smoke; choose another folder"):
        keep_ablation(ablated.model_copy(update={"protocol": 8}), tmp_path / "kept")
    text = render(tmp_path / "kept", tmp_path).read_text("utf-8")
    assert text.index(f"Pendulum-v4: {smooth.name}") < text.index("Pendulum-v4: a/first-v1")
    assert (tmp_path / "reproduction" / f"{smooth.name.replace('/', '--')}.png").stat().st_size > 10_000
    found = series(rows[rows["model"] == "tipl-published"], still, "tipl-published")
    assert f"{found.wpe[0]:.2e} | " in text
    assert re.search(rf"{re.escape(f'{found.rise:,.1f}')}. from h = 1 to 10", text)
    assert "the basis sees the future" in text
    assert "protocol 7" in text
    assert f"4 updates (the paper: 500,000), on one A Processor. The dataset's digest is `{smooth.digest[:12]}`" in text
    command = "--fit a/first-v1 --budget smoke --windows 3 --ablation a/b-v1 --seeds 0,1"
    assert f"--fit {smooth.name} {command} " in text
    assert "| published, basis of training trials | 2 | 0.123 ± 0.000 | 0.123 ± 0.000 |" in text
    assert "| + `centred` | not run yet | - |" in text
    assert series(still, still, "persistence").skill == pytest.approx(np.zeros(HORIZON))


@pytest.mark.parametrize(("template", "typed"), [("reproduction", {"500,000"}), ("paper-budget", set())])
def test_no_measured_number_is_typed_into_a_page(template, typed):
    text = (TEMPLATES / f"{template}.md.j2").read_text("utf-8")
    plain = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|https?://\S+|REPW = 0|exactly 0|ppo-v2", "", text)
    assert set(re.findall(r"\d[\d.,]*\d|\d", re.sub(r"(?m)^\d\. ", "", plain))) == typed


PAGES = [("paper_budget", "paper-budget.md"), ("reproduction", "reproduction.md"), ("scaling", "scaling.md")]


@pytest.mark.parametrize(("script", "page"), PAGES)
def test_a_page_is_what_its_command_writes_from_what_is_kept(script, page, tmp_path):
    command = [sys.executable, f"scripts/{script}.py", "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=DOCS.parent, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    text = (tmp_path / page).read_text("utf-8")
    assert text == (DOCS / page).read_text("utf-8")
    figures = re.findall(r"\]\(([a-z]+/[^)]*\.png)\)", text)
    assert figures
    for name in figures:
        assert (tmp_path / name).stat().st_size > 10_000
        assert (DOCS / name).exists()


def test_what_the_page_of_the_papers_budget_claims_is_what_its_files_hold():
    rows = {model: pd.read_parquet(KEPT / f"{model}.parquet") for model in budget.MODELS}
    claimed = budget.compared(rows)
    assert (claimed["series"][0].skill < 0).all()
    assert claimed["difference"].low < 0 < claimed["difference"].high
    one, other = (rows[model].pivot(index=["trial", "origin"], columns="horizon", values="repw") for model in rows)
    wrong = ((one > 0) | (other > 0)).any(axis=1)
    assert claimed["wrong"] == wrong.sum()
    assert claimed["wrong_first"] == wrong.xs(CONTEXT - 1, level="origin").sum()
    means = sorted((one - other).mean(axis=1), key=abs)
    assert claimed["rest"] == pytest.approx(np.mean(means[:-1]))


def test_the_model_that_is_kept_of_the_papers_budget_has_all_of_its_updates_and_loads():
    key = json.loads((KEPT / "key.json").read_text("utf-8"))
    options = build_options(TIPLPooled, "paper", (), CONTEXT)
    assert key["options"].items() <= options.model_dump().items()
    assert budget.training(KEPT / budget.LOG_NAME, 1_000)["updates"] == options.steps == 500_000
    model = TIPLPublished(options)
    model.load(KEPT / "tipl-published.safetensors")
    assert all(np.isfinite(array).all() for array in model.state().values())


def test_the_log_of_a_training_counts_the_later_of_two_parts_and_knows_its_rate(tmp_path):
    log = tmp_path / "fit.log"
    look = "validation skill 1.0, last"
    first = ["A GPU 2.11", "10.0 fit m 0 90 ", f"20.0 fit m 40 90 {look} 0.5", f"30.0 fit m 80 90 {look} 9"]
    second = ["A GPU 2.11", "5.0 fit m 50 90 ", f"15.0 fit m 90 90 {look} 0.75"]
    log.write_text("\n".join([*first, *second]))
    found = budget.training(log, 10)
    assert found["device"] == "A GPU"
    assert (found["updates"], found["resumed"], found["rate"]) == (90, [50], 4.0)
    assert found["looks"] == [(40, 0.5)] * 7 + [(90, 0.75)] * 3


def test_a_presentation_at_the_papers_budget_is_made_logged_and_shown(smooth, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "BUDGET", "smoke")
    budget.make(smooth, tmp_path / "kept", "cpu")
    page = budget.render(tmp_path / "kept", tmp_path).read_text("utf-8")
    assert "20 updates of 16 windows" in page
    before = (tmp_path / "kept" / "tipl-published.parquet").read_bytes()
    budget.make(smooth, tmp_path / "kept", "cpu")
    assert (tmp_path / "kept" / "tipl-published.parquet").read_bytes() == before
    assert budget.render(tmp_path / "kept", tmp_path).read_text("utf-8") == page


def test_a_folder_of_another_presentation_is_refused_and_left_as_it_is(smooth, tmp_path):
    kept = shutil.copytree(KEPT, tmp_path / "kept")
    with pytest.raises(ProtocolError, match="holds the results of other settings"):
        budget.make(smooth, kept, "cpu")
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in KEPT.iterdir()
    }


def test_the_difference_of_return_errors_is_paired_over_windows_whatever_their_order(presented):
    rows = presented[1]
    one, other = (rows[rows["model"] == model] for model in budget.MODELS)
    found = budget.interval(budget.paired(one.sample(frac=1, random_state=0), other))
    by_trial = [
        np.mean(part["repw"].to_numpy() - other[other["trial"] == trial]["repw"].to_numpy())
        for trial, part in one.groupby("trial")
    ]
    assert found.value == pytest.approx(np.mean(by_trial))
    assert [found.low, found.high] == pytest.approx(sorted(by_trial))  # of two trials, the interval holds all resamples
    with pytest.raises(ValueError, match="different windows"):
        budget.paired(one.iloc[1:], other)


def test_the_ablation_goes_from_the_published_model_to_tipl_one_departure_a_row():
    added, removed = ablation.rows().values()
    designs = [
        {name: getattr(build_options(TIPLPooled, "quick", settings, CONTEXT), name) for name in Design.model_fields}
        for _, settings in (*added.values(), *removed.values())
    ]
    assert designs[0] == Design().model_dump()
    assert designs[len(added) - 1] == designs[len(added)] == SUITE.model_dump()
    steps = pairwise(designs[: len(added)])
    assert all(sum(one[name] != other[name] for name in one) == 1 for one, other in steps)
    left_out = [[name for name in one if one[name] != getattr(SUITE, name)] for one in designs[len(added) + 1 :]]
    assert sorted(left_out) == sorted([name] for name in Design.model_fields if name != "centred")


def test_a_run_of_the_ablation_that_failed_is_tried_again_and_not_shown(smooth, tmp_path, monkeypatch):
    made, finished = [], board_records.record("tipl-pooled", 0.25, seed=0)
    failed = finished.model_copy(update={"status": Status(state="failed", stage="fit", reason="it fell")})
    monkeypatch.setattr(ablation, "run", lambda *arguments, out, **settings: made.append(out))
    ablation.ablate(smooth, tmp_path, [0], limit=1)
    (place,) = made
    place.mkdir()
    (place / RECORD_NAME).touch()
    for record in (failed, finished):
        monkeypatch.setattr("tipl_bench.benchmark.paper.kept.read_record", lambda path, record=record: record)
        ablation.ablate(smooth, tmp_path, [0], limit=1)
        assert (made.pop() == place) == record.failed
        rows = [row for table in ablation.tables(ablation.finished(smooth, tmp_path, [0])).values() for row in table]
        shown = [row for row in rows if row.runs]
        assert [row.name for row in shown] == ([] if record.failed else ["published, basis of training trials"])
    for result in finished.of_phase("learning"):
        assert shown[0].cell("skill", result.horizon) == f"{result['skill'].value:.3f}"
        assert shown[0].cell("repw", result.horizon) == f"{result['repw'].value:,.1f}"
