"""Meta-training as a command: resuming, selection, and the comparison on gridworlds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from tipl_bench.baselines.optimizers.optim4rl.parameters import MetaParameters, shipped_parameters
from tipl_bench.baselines.optimizers.optim4rl.settings import MetaOptions
from tipl_bench.benchmark.intervals import crossed
from tipl_bench.benchmark.meta_training import run as meta_run
from tipl_bench.benchmark.meta_training.gridworlds import (
    HAND_MADE,
    RATE_SEED,
    GridworldProtocol,
    Method,
    Study,
)
from tipl_bench.benchmark.meta_training.page import BEGIN, render
from tipl_bench.benchmark.meta_training.run import meta_train, read_meta_record, shipped_records
from tipl_bench.benchmark.meta_training.seeds import meta_train_seeds
from tipl_bench.cli import main
from tipl_bench.utils.errors import OptionError, ProtocolError, UnknownNameError
from tipl_bench.utils.files import sha256

ROOT = Path(__file__).parents[2]


class StoppedError(Exception):
    """An interruption."""


@pytest.mark.parametrize("objective", ["loss", "reward"])
def test_an_interrupted_run_ends_with_the_same_bytes(tmp_path, monkeypatch, objective):
    options = {"objective": objective, "iterations": 4}
    whole = meta_train(budget="smoke", options=options, out=tmp_path / "whole")

    def stop(stage, done, total, word):
        if done == 3:
            raise StoppedError

    monkeypatch.setattr(meta_run, "SNAPSHOT_SECONDS", 0.0)
    with pytest.raises(StoppedError):
        meta_train(budget="smoke", options=options, out=tmp_path / "stopped", progress=stop)
    seen = []
    again = meta_train(
        budget="smoke", options=options, out=tmp_path / "stopped", progress=lambda *place: seen.append(place[1])
    )
    assert seen == [3, 4]
    assert again.parameters.read_bytes() == whole.parameters.read_bytes()
    timing = {"cpu_seconds", "provenance"}
    assert again.record.model_dump(exclude=timing) == whole.record.model_dump(exclude=timing)
    assert not (tmp_path / "stopped" / meta_run.SNAPSHOT_NAME).exists()


@pytest.mark.slow
def test_a_killed_command_goes_on_from_its_snapshot(tmp_path):
    options, folder = {"iterations": 60, "validate_every": 60}, tmp_path / "killed"
    code = (
        "from tipl_bench.benchmark.meta_training import run; run.SNAPSHOT_SECONDS = 0.0;"
        f"run.meta_train(budget='smoke', options={options}, out={str(folder)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (folder / meta_run.SNAPSHOT_NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "record.json").exists()
    seen = []
    found = meta_train(budget="smoke", options=options, out=folder, progress=lambda *place: seen.append(place[1]))
    assert seen[0] > 1
    whole = meta_train(budget="smoke", options=options, out=tmp_path / "whole")
    assert found.parameters.read_bytes() == whole.parameters.read_bytes()


def test_the_best_on_validation_agents_is_kept(tmp_path, monkeypatch):
    """By rewards that are made up: of the beginning 9, then 1, 3, 2."""
    made_up, vectors = iter([9.0, 1.0, 3.0, 2.0]), []

    def life(rule, world, seeds, updates, settings, device):
        vectors.append(rule.vector.clone())
        return np.full((updates, len(seeds)), next(made_up))

    monkeypatch.setattr(meta_run, "life", life)
    run = meta_train(budget="smoke", options={"iterations": 3}, out=tmp_path / "run")
    assert run.record.selected == 2
    assert [one.mean for one in run.record.validations] == [9, 1, 3, 2]
    kept = MetaParameters.read(run.parameters)
    assert kept.trained.equal(vectors[2])
    assert kept.initial.equal(vectors[0])
    assert run.record.artifacts["parameters"] == sha256(run.parameters)
    assert run.record.environment_steps == 3 * 4 * 2 * 20 * 5 + 4 * 2 * 2 * 20 * 8
    assert (run.folder / "curve.svg").exists()
    assert meta_train(budget="smoke", options={"iterations": 3}, out=run.folder).record == run.record


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"worlds": "small_dense_long+maze"}, UnknownNameError, "maze"),
        ({"rate": 0}, OptionError, "rate"),
        ({"structure": "2025"}, OptionError, "structure"),
        ({"unrol": 4}, UnknownNameError, "unrol"),
        ({"objective": "reward", "agents": 3}, OptionError, "agents: must be even"),
        ({"objective": "reward", "unroll": 20}, OptionError, "unroll: objective reward does not read it"),
        ({"deviation": 0.2}, OptionError, "deviation: objective loss does not read it"),
    ],
)
def test_options_that_no_run_can_have_are_refused_before_a_folder_is_made(tmp_path, options, error, what):
    with pytest.raises(error, match=what):
        meta_train(budget="smoke", options=options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_meta_trained_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="adam"):
        meta_train("adam", out=tmp_path / "run")
    with pytest.raises(OptionError, match="give a list"):
        meta_train(budget="smoke", options="rate=0.1", out=tmp_path / "run")


def test_another_runs_folder_and_a_damaged_snapshot_are_refused(tmp_path):
    meta_train(budget="smoke", out=tmp_path / "run")
    with pytest.raises(ProtocolError, match="holds another run"):
        meta_train(budget="smoke", seed=1, out=tmp_path / "run")
    (tmp_path / "run" / "record.json").rename(tmp_path / "run" / "kept.json")
    (tmp_path / "run" / meta_run.SNAPSHOT_NAME).write_bytes(b"snap")
    with pytest.raises(ProtocolError, match=r"snapshot\.safetensors: damaged .* Remove"):
        meta_train(budget="smoke", out=tmp_path / "run")


def test_a_record_without_its_parameters_or_of_another_run_is_made_again(tmp_path):
    run, other = (meta_train(budget="smoke", seed=seed, out=tmp_path / str(seed)) for seed in range(2))
    kept = run.parameters.read_bytes()
    run.parameters.unlink()
    assert meta_train(budget="smoke", out=run.folder).parameters.read_bytes() == kept
    (run.folder / "record.json").write_bytes((other.folder / "record.json").read_bytes())
    assert meta_train(budget="smoke", out=run.folder).record.key.seed == 0


def test_what_ships_is_what_its_records_are_of():
    for name, record in shipped_records().items():
        known = MetaParameters.read(shipped_parameters()[name])
        assert known.rule == MetaOptions(**record.key.options).rule
        assert known.initial.equal(known.rule.initial(record.key.seed))
        assert not known.trained.equal(known.initial)


def test_the_command_prints_what_came_out(tmp_path):
    words = ["optimizers", "train", "optim4rl", "--budget", "smoke", "--out", str(tmp_path / "run"), "-q"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    record = read_meta_record(tmp_path / "run" / "record.json")
    assert f"{record.validation(record.selected).mean:.4f} after {record.selected} meta-iterations" in result.output
    again = CliRunner().invoke(main, [*words, "--json"])
    assert json.loads(again.output)["selected"] == record.selected


@pytest.mark.slow
def test_seeds_side_by_side_have_the_bytes_of_each_alone(tmp_path):
    words = ["optimizers", "train", "optim4rl", "--budget", "smoke", "--seeds", "0,3", "--out", str(tmp_path), "-q"]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0, result.output
    assert [one["key"]["seed"] for one in json.loads(result.output)] == [0, 3]
    for seed in (0, 3):
        alone = meta_train(budget="smoke", seed=seed, out=tmp_path / "alone" / str(seed))
        assert (tmp_path / f"seed{seed}" / "optim4rl.safetensors").read_bytes() == alone.parameters.read_bytes()
        assert not (tmp_path / f"seed{seed}" / meta_run.SNAPSHOT_NAME).exists()


def test_seeds_that_no_runs_can_have_are_refused(tmp_path):
    for seeds in ([], [1, 1]):
        with pytest.raises(OptionError, match="each once"):
            meta_train_seeds(seeds=seeds, out=tmp_path / "run")
    result = CliRunner().invoke(main, ["optimizers", "train", "optim4rl", "--seed", "0", "--seeds", "1,2"])
    assert "Give --seed or --seeds, not both." in result.output
    assert not (tmp_path / "run").exists()


def test_a_damaged_record_is_refused(tmp_path):
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(ProtocolError, match="not a record of meta-training"):
        read_meta_record(tmp_path / "record.json")


TINY = GridworldProtocol(updates=12, environments=2, agents=3)


def test_results_are_kept_and_not_run_again(tmp_path, monkeypatch):
    study = Study(tmp_path / "results.json", TINY)
    found = study.result("small_dense_short", HAND_MADE[0], 0, 0.01, "test")
    assert len(found.scores) == len(found.lives) == 3
    monkeypatch.setattr("tipl_bench.benchmark.meta_training.gridworlds.evaluate", None)
    again = Study(tmp_path / "results.json", TINY)
    assert again.result("small_dense_short", HAND_MADE[0], 0, 0.01, "test") == found
    longer = Study(tmp_path / "results.json", GridworldProtocol(updates=13, environments=2, agents=3))
    other = Method("Adam", "adam", (("epsilon=1e-7",),), 1e-3)
    assert longer.known("small_dense_short", HAND_MADE[0], 0, 0.01, "test") is None
    assert again.known("small_dense_short", other, 0, 0.01, "test") is None


def test_two_processes_lose_no_results(tmp_path):
    first, second = (Study(tmp_path / "results.json", TINY) for _ in range(2))
    first.result("small_dense_short", HAND_MADE[0], 0, 0.01, "test")
    second.result("small_dense_short", HAND_MADE[1], 0, 0.01, "test")
    assert len(Study(tmp_path / "results.json", TINY).results) == 2


def test_an_unknown_gridworld_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="maze"):
        Study(tmp_path / "results.json", TINY).result("maze", HAND_MADE[0], 0, 0.01, "test")


def test_the_rate_is_chosen_on_validation_agents_of_all_meta_seeds(tmp_path, monkeypatch):
    method = Method("both", "adam", (("epsilon=1e-8",), ("epsilon=1e-5",)), 1e-3, (None, None))
    scores = {(0, 1e-3): 1.0, (1, 1e-3): 2.0, (0, 1e-2): 5.0, (1, 1e-2): -3.0}

    def made_up(optimizer, settings, world, seeds, protocol):
        assert seeds[0] == RATE_SEED
        return np.full((12, 3), scores[int(settings[0] == "epsilon=1e-5"), float(settings[-1].partition("=")[2])])

    monkeypatch.setattr("tipl_bench.benchmark.meta_training.gridworlds.evaluate", made_up)
    assert Study(tmp_path / "r.json", TINY).tuned("small_dense_short", method, [1e-3, 1e-2]) == 1e-3

    # The highest is the best: higher ones are tried until one is worse.
    scores |= {(0, 1e-2): 9.0, (0, 0.3): 10.0, (1, 0.3): 2.0, (0, 1.0): 0.0, (1, 1.0): 0.0}
    assert Study(tmp_path / "higher.json", TINY).tuned("small_dense_short", method, [1e-3, 1e-2]) == 0.3


def test_damaged_results_are_refused(tmp_path):
    (tmp_path / "r.json").write_text("[{}]")
    with pytest.raises(ProtocolError, match="not the results of gridworlds"):
        Study(tmp_path / "r.json", TINY)


@pytest.mark.parametrize("deviations", [(0, 1, 0.3), (0, 1, 1), (1, 1, 1), (1, 0, 1), (1, 0, 0)])
@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_intervals_cover_the_mean_whatever_varies(seeds, deviations):
    """Deviations of agents, meta-seeds and both together; of one meta-seed the agents' alone."""
    draw, covered = np.random.default_rng(seeds), 0
    of_agents, of_seeds, rest = deviations
    for _ in range(300):
        shared = draw.normal(0, of_seeds, (seeds, 1)) if seeds > 1 else 0.0
        values = draw.normal(0, of_agents, (1, 20)) + shared + draw.normal(0, rest, (seeds, 20))
        found = crossed(values, 0.95)
        covered += found.low <= 0 <= found.high
    assert covered >= 0.92 * 300


def test_one_meta_seeds_interval_is_students():
    values = np.random.default_rng(0).normal(1, 2, (1, 20))
    found = crossed(values, 0.95)
    expected = stats.ttest_1samp(values[0], 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_page_is_what_is_kept(tmp_path):
    (tmp_path / "optim4rl" / "variants").mkdir(parents=True)
    run = meta_train(budget="smoke", out=tmp_path / "run")
    (tmp_path / "optim4rl" / "variants" / "one.json").write_bytes((run.folder / "record.json").read_bytes())
    (tmp_path / "optim4rl.md").write_text(f"# Optim4RL\n\nText.\n\n{BEGIN}old numbers")
    render(tmp_path)
    text = (tmp_path / "optim4rl.md").read_text()
    assert text.startswith("# Optim4RL\n\nText.\n\n")
    assert "old numbers" not in text
    kept = next(one for one in run.record.validations if one.iteration == run.record.selected)
    assert f"{kept.mean:.4f}" in text
    assert json.loads((run.folder / "record.json").read_text())["key"]["seed"] == 0


def test_the_committed_page_is_what_the_committed_records_give(tmp_path):
    shutil.copytree(ROOT / "docs" / "optim4rl", tmp_path / "optim4rl")
    shutil.copy(ROOT / "docs" / "optim4rl.md", tmp_path)
    render(tmp_path, ROOT / "leaderboard" / "results" / "training")
    assert (tmp_path / "optim4rl.md").read_text() == (ROOT / "docs" / "optim4rl.md").read_text()


def test_inside_ppo_each_meta_seed_has_the_rate_that_the_tuning_trials_choose():
    folder = ROOT / "leaderboard" / "results" / "training"
    found = [json.loads(path.read_text()) for path in folder.glob("InvertedPendulum-v4__optim4rl-*.json")]
    auc = {}
    for one in found:
        options = one["key"]["optimizer"]["options"]
        name, _, seed = options["weights"].rpartition("-")
        if name == "2023-normalised" and options["trained"]:
            by_seed = auc.setdefault((one["key"]["split"], options["learning_rate"]), {})
            by_seed[seed] = np.mean(one["by_trial"]["auc"])
    rates = {rate for split, rate in auc if split == "tuning"}
    best = [max(rates, key=lambda rate, seed=seed: auc["tuning", rate].get(seed, -1)) for seed in "012"]
    mean = np.mean([auc["test", rate][seed] for rate, seed in zip(best, "012", strict=True)])
    row = f"| Optim4RL 2023-normalised | 3 | {', '.join(f'{rate:g}' for rate in best)} | {mean:.3f} ["
    assert row in (ROOT / "docs" / "optim4rl.md").read_text()
