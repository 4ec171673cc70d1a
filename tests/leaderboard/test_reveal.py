"""Revealing a set of fresh trials, and auditing what was revealed."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from helpers.attesting import recomputed
from helpers.confirming import seeds_of, typed
from safetensors.numpy import load_file, save_file
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.leaderboard.confirm.audit import audit
from tipl_bench.leaderboard.confirm.confirm import confirm
from tipl_bench.leaderboard.confirm.fresh_set import find_sets, fresh_root, open_or_create
from tipl_bench.leaderboard.confirm.reveal import reveal
from tipl_bench.leaderboard.store.evidence import evidence_path
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.utils.errors import DatasetError, ProtocolError, UnknownNameError


@pytest.fixture
def revealed(board, tmp_path):
    (fresh,) = find_sets()
    return reveal(fresh.id, tmp_path / "revealed")


def test_a_revealed_set_opens_verifies_and_can_be_audited_by_anybody(board, tmp_path, monkeypatch):
    seeds, (fresh,) = seeds_of(cache_root()), find_sets()
    result = typed("leaderboard", "reveal", fresh.secret.dataset, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    shutil.rmtree(fresh_root())  # as on another machine
    assert json.loads((tmp_path / "out/seeds.json").read_text())["seeds"] == seeds
    dataset = load_dataset(str(tmp_path / "out/dataset"))
    assert [dataset.manifest.trial_seeds[index] for index in dataset.manifest.split.test] == seeds
    assert typed("datasets", "verify", tmp_path / "out/dataset").exit_code == 0
    assert typed("datasets", "show", tmp_path / "out/dataset").exit_code == 0
    for run in (tmp_path / "out/runs").iterdir():
        result = typed("verify", run, "--dataset", tmp_path / "out/dataset")
        assert result.exit_code == 0, result.output
    result = typed("leaderboard", "audit", tmp_path / "out", "--records", board.records, "--collect")
    assert result.exit_code == 0, result.output
    assert result.output.count("ok: ") == 5, result.output
    assert f"salt and seeds hash to {fresh.secret.commitment}" in result.output
    assert "trained again from their seeds, have the same bytes" in result.output
    assert "; not confirmed, as its evidence says" in result.output


def test_what_is_revealed_can_be_read_by_others_and_the_store_stays_private(revealed):
    for path in revealed.rglob("*"):
        assert path.stat().st_mode & 0o044 == 0o044, path
    assert not any(path.stat().st_mode & 0o077 for path in fresh_root().iterdir())


def test_a_revealed_set_is_never_used_again(board, revealed):
    (old,) = find_sets()
    assert old.secret.revealed
    new = open_or_create(board.dataset, None)
    assert new.id != old.id
    assert not {*new.secret.seeds} & {*old.secret.seeds}
    assert len(new.secret.seeds) == 15
    assert len(find_sets()) == 2


def test_revealing_again_goes_on_where_it_was_interrupted(board, revealed, tmp_path):
    (fresh,) = find_sets()
    for name in ("dataset/manifest.json", "runs"):
        path = revealed / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert reveal(fresh.id, revealed) == revealed
    assert audit(revealed, board.records).problems == ()


def test_what_cannot_be_revealed_is_refused_and_stays_secret(board, tmp_path):
    (fresh,) = find_sets()
    with pytest.raises(UnknownNameError, match=f"Unknown set of fresh trials 'nothing'.*Known: {fresh.id}"):
        reveal("nothing")
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "file").touch()
    with pytest.raises(ProtocolError, match="not an empty folder"):
        reveal(fresh.id, occupied)
    shutil.rmtree(fresh.dataset_folder)
    with pytest.raises(ProtocolError, match="not collected yet, and nothing was confirmed"):
        reveal(fresh.id, tmp_path / "out")
    assert not find_sets()[0].secret.revealed


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def tamper_with_seeds(board, revealed):
    edit(revealed / "seeds.json", lambda found: found["seeds"].reverse())


def tamper_with_a_trial(board, revealed):
    path = sorted((revealed / "dataset/trials").iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def tamper_with_the_manifests_seeds(board, revealed):
    edit(revealed / "dataset/manifest.json", lambda found: found["trial_seeds"].__setitem__(-1, 5))


def tamper_with_the_configuration(board, revealed):
    edit(revealed / "dataset/manifest.json", lambda found: found["collection"].update(environment_steps=99_999))


def tamper_with_forecasts(board, revealed):
    for path in revealed.rglob("forecasts.safetensors"):
        tensors = load_file(path)
        save_file(tensors | {"forecasts": tensors["forecasts"] + np.float32(0.01)}, path)


def tamper_with_a_run(board, revealed):
    for path in revealed.rglob("record.json"):
        edit(path, lambda found: found["results"][0]["by_trial"]["wpe"].__setitem__(0, 0.5))


def exchange_the_key_of_a_run(board, revealed):
    for path in revealed.rglob("record.json"):
        edit(path, lambda found: found["key"].update(seed=1))


def tamper_with_evidence(board, revealed):
    def improve(found):
        comparison = found[-1]["confirmation"]["skill"]
        for part in ("fresh", "difference"):
            comparison[part]["value"] += 0.01

    edit(evidence_path(board.row("autoregression")), improve)


def lose_a_run(board, revealed):
    shutil.rmtree(next((revealed / "runs").iterdir()))


def lose_the_evidence(board, revealed):
    shutil.rmtree(board.records / "evidence")


@pytest.mark.parametrize(
    ("tamper", "problem"),
    [
        (tamper_with_seeds, "of other seeds|no record has evidence"),
        (tamper_with_a_trial, "trial-0019"),
        (tamper_with_the_manifests_seeds, "of other seeds"),
        (tamper_with_the_configuration, "or another configuration"),
        (tamper_with_forecasts, "has sha256|lacks the forecasts"),
        (tamper_with_a_run, "numbers differ"),
        (exchange_the_key_of_a_run, r"is not the record's \(seed: 0 here, 1 there\)"),
        (tamper_with_evidence, "the evidence has another .*skill.fresh.value"),
        (lose_a_run, "lacks the forecasts"),
        (lose_the_evidence, "no record has evidence of the set"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_audit_names_what_was_tampered_with(tamper, problem, board, revealed, tmp_path):
    tamper(board, revealed)
    result = typed("leaderboard", "audit", revealed, "--records", board.records)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    problems = "\n".join(line for line in result.output.splitlines() if line.startswith("PROBLEM: "))
    assert re.search(problem, problems), result.output


def test_a_failed_run_of_an_earlier_record_of_a_row_is_passed_over(board, revealed):
    run = sorted((revealed / "runs").iterdir())[0]
    (run.parent / f"{run.name[:-8]}00000000").mkdir()
    assert audit(revealed, board.records).problems == ()


def test_what_refuted_an_earlier_record_of_a_row_is_not_held_against_the_present_one(board, revealed):
    recomputed(board.row("memorising"), by=1e-3)
    found = audit(revealed, board.records)
    assert found.problems == ()
    assert [line.split(":")[0] for line in found.passed[2:]] == [board.row("autoregression").name]


@pytest.mark.parametrize("content", [None, "{", '{"format": 1}'])
def test_a_folder_that_is_no_revealed_set_is_refused(content, board, tmp_path):
    (tmp_path / "other").mkdir()
    if content:
        (tmp_path / "other/seeds.json").write_text(content)
    with pytest.raises((ProtocolError, DatasetError), match=r"seeds\.json"):
        audit(tmp_path / "other", board.records)


def test_a_predictor_that_came_after_the_reveal_gets_another_set(board, revealed, monkeypatch):
    monkeypatch.setattr(PredictorProcess, "fit", _stop)
    with pytest.raises(KeyboardInterrupt):
        confirm([board.row("autoregression")], trials=6, threads=1)
    assert len(find_sets()) == 2


def _stop(*arguments):
    raise KeyboardInterrupt
