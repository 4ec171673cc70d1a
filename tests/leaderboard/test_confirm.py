"""Confirmation: honest claims hold on fresh trials, those of predictors that know the public test trials do not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers import synthetic
from helpers.confirming import NAME, seeds_of, skill_of, typed
from tipl_bench.benchmark.protocol import PROTOCOLS
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.worker import predictor_process
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.leaderboard.confirm import confirm as confirming
from tipl_bench.leaderboard.confirm.confirm import confirm
from tipl_bench.leaderboard.confirm.fresh_set import find_sets, fresh_root, lock_name, open_or_create
from tipl_bench.leaderboard.store import confirmation
from tipl_bench.leaderboard.store.evidence import append, evidence_path, maintainer_note, row_status
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.store import exclusive
from tipl_bench.utils.errors import (
    DatasetError,
    OptionError,
    PredictorError,
    ProtocolError,
    TiplBenchError,
    UnknownNameError,
)


def status(path):
    return row_status(path, read_record(path))


def is_tried(path):
    kept = evidence_path(path)
    return kept.exists() and any(piece.get("confirmation") for piece in json.loads(kept.read_text()))


def test_an_honest_claim_is_confirmed_and_memorised_test_trials_are_not(board, confirmed):
    output = (confirmed / "output").read_text()
    assert output.startswith("0\n"), output
    honest, cheat = board.row("autoregression"), board.row("memorising")
    assert (status(honest).state, status(cheat).state) == ("confirmed", "not confirmed")
    found = status(cheat).evidence[-1]["confirmation"]
    assert found["skill"]["public"]["value"] == pytest.approx(skill_of(cheat), rel=1e-5)
    assert found["skill"]["public"]["value"] > 0.9
    assert found["skill"]["fresh"]["value"] == pytest.approx(0, abs=0.01)
    assert found["trials"] == 6
    assert status(honest).evidence[-1]["confirmation"]["fresh_set"] == found["fresh_set"], "one set serves all rows"
    for path, kind in ((honest, "confirmed"), (cheat, "not confirmed")):
        assert re.search(rf"^{kind}: {re.escape(path.name)}\n  6 fresh trials, learning phase: skill ", output, re.M)


def test_return_errors_are_compared_as_parts_of_those_of_persistence_on_the_same_trials(board, confirmed):
    found = status(board.row("memorising")).evidence[-1]["confirmation"]
    rows = pd.read_parquet(confirmed / "runs" / "memorising" / "windows.parquet")
    sums = rows[rows["phase"] == "learning"].groupby("horizon")[["repw", "repw_persistence"]].sum()
    part = (sums["repw"] / sums["repw_persistence"]).mean()
    assert found["relative_repw"]["public"]["value"] == pytest.approx(part, rel=1e-5)
    assert found["relative_repw"]["fresh"]["value"] == 1, "it repeats the origin where it knows nothing"


def test_what_is_not_confirmed_passes_every_check_of_a_submission(board, confirmed, tmp_path):
    run, records = confirmed / "runs" / "memorising", tmp_path / "empty"
    result = typed("leaderboard", "check", run, "--records", records)
    assert result.exit_code == 0, result.output
    assert "ok: memorising" in result.output


def test_the_seeds_are_secret_whole_and_in_a_private_folder_alone(confirmed, board):
    home = confirmed / "home"
    seeds = seeds_of(home)
    assert len(set(seeds)) == 6
    assert 100 < max(seed.bit_length() for seed in seeds) <= 128
    private = [home / "fresh", *(home / "fresh").rglob("*")]
    for path in private:
        shared = path.is_file() and path.stat().st_nlink > 1  # a public trial
        assert shared or not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    outside = [path for path in confirmed.rglob("*") if path.is_file() and path not in private]
    assert confirmed / "output" in outside
    for seed in seeds:
        spelt = (str(seed).encode(), f"{seed:x}".encode(), seed.to_bytes(16, "little"), seed.to_bytes(16, "big"))
        for path in outside:
            content = path.read_bytes()
            assert not any(text in content for text in spelt), path
    assert str(seeds[0]) not in repr(find_sets())


def test_a_set_that_others_could_enter_is_used_no_more(board):
    (fresh,) = find_sets()
    fresh.folder.chmod(0o750)
    assert open_or_create(board.dataset, None).id == fresh.id, "the folder above it is closed"
    fresh_root().chmod(0o755)
    with pytest.raises(ProtocolError, match=f"can be entered by others than its user.* reveal {fresh.id}"):
        open_or_create(board.dataset, None)


def test_confirming_again_repeats_nothing_and_finds_the_same(board, monkeypatch):
    path = board.row("autoregression")
    before = {file: file.read_bytes() for file in (*board.records.rglob("*.json"), *fresh_root().rglob("*.json"))}
    monkeypatch.setattr(PredictorProcess, "fit", None)
    (result,) = confirm([path, path])
    assert result.found.kind == "confirmed"
    assert {file: file.read_bytes() for file in before} == before
    with pytest.raises(
        ProtocolError, match=r"holds 6 fresh trials of .* 7 are asked for\. Use them \(leave out `trials=`\)"
    ):
        confirm([path], trials=7)


def test_what_was_not_confirmed_stays_so_until_a_maintainer_resolves_it(board):
    path = board.row("memorising")
    record = read_record(path)
    honest = status(board.row("autoregression")).evidence[-1]["confirmation"]
    assert status(path).state == "not confirmed"
    result = typed("leaderboard", "dispute", path, "--resolve", "--reason", "the machine was broken")
    assert result.exit_code == 0, result.output
    assert status(path).state == "rescored"
    append(path, record, maintainer_note("resolved", record, "again"))
    confirm([path])
    assert status(path).state == "not confirmed"
    assert honest["skill"] != status(path).evidence[-1]["confirmation"]["skill"]


def test_after_ctrl_c_or_a_failure_confirming_goes_on_with_the_same_seeds(claimed):
    path = claimed.row("autoregression")

    def interrupt(at):
        calls = []

        def progress(stage, *report):
            calls.append(stage)
            if calls.count(at) == (3 if at == "collect" else 1):
                raise KeyboardInterrupt

        return progress

    kept = set()
    for stage in ("collect", "forecast", "returns"):
        with pytest.raises(KeyboardInterrupt):
            confirm([path], trials=6, threads=1, progress=interrupt(stage))
        kept.add(tuple(seeds_of(cache_root())))
        assert not is_tried(path)
    assert len(kept) == 1
    (result,) = confirm([path], threads=1)
    assert result.found.kind == "confirmed"
    assert kept == {tuple(seeds_of(cache_root()))}


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["secret.json", "trial-0014.safetensors.partial", "forecasts.safetensors"])
def test_after_a_kill_confirming_goes_on_with_the_same_seeds(moment, claimed, confirmed, tmp_path):
    """`kill -9` as soon as a file is there, its own temporary one included."""
    path = claimed.row("autoregression")
    code = "import sys; from helpers import synthetic; from tipl_bench.benchmark.protocol import PROTOCOLS\n"
    code += "PROTOCOLS[synthetic.SMALL.version] = synthetic.SMALL\nfrom tipl_bench.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "leaderboard", "confirm", str(path), "--trials", "6", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        while not any(fresh_root().rglob(f"*{moment}*")):
            assert process.poll() is None, "it ended before"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    seeds = seeds_of(cache_root()) if any(fresh_root().rglob("secret.json")) else None
    assert not is_tried(path)
    confirm([path], threads=1, trials=6)
    assert is_tried(path)
    assert seeds in (None, seeds_of(cache_root()))


def test_while_one_process_confirms_another_is_told(board):
    with exclusive(lock_name(NAME)):
        result = typed("leaderboard", "confirm", board.row("autoregression"))
    assert result.exit_code == 1
    assert "Another process is working on" in result.output


@pytest.mark.parametrize("trials", [-1, 0, 5, 1001])
def test_too_few_or_too_many_trials_are_refused_before_anything_is_collected(trials, claimed):
    with pytest.raises(OptionError, match=rf"{trials} fresh trials: use 6 to 1000 \(`trials=`\)"):
        confirm([claimed.row("autoregression")], trials=trials)
    assert not fresh_root().exists()


def test_what_cannot_be_confirmed_is_refused_before_anything_is_collected(claimed, confirmed, tmp_path, monkeypatch):
    path = claimed.row("memorising")

    def refused(error, message):
        with pytest.raises(error, match=message):
            confirm([claimed.row("autoregression"), path])
        assert not fresh_root().exists()
        assert not is_tried(path)

    edited = json.loads(path.read_text())
    edited["provenance"]["code"]["files"]["cheats/__init__.py"] = "0" * 64
    honest = path.read_text()
    path.write_text(json.dumps(edited))
    refused(ProtocolError, r"installed here with other code than the record states: cheats/__init__\.py")
    path.write_text(honest)
    for isolation, model in (("none", "autoregression"), ("landlock", "memorising")):
        with monkeypatch.context() as patch:
            patch.setattr(confirmation, "FULL_ISOLATION", "landlock+seccomp+namespaces")
            patch.setattr(confirming, "check_installed", lambda *request, isolation=isolation: isolation)
            refused(ProtocolError, rf"\({isolation}\) does not keep the fresh trials secret from {model}:")
    kept = evidence_path(path).rename(tmp_path / "evidence.json")
    refused(ProtocolError, "memorising.*nobody computed its numbers from its forecasts")
    kept.rename(evidence_path(path))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [entry for entry in sys.path if entry != str(confirmed / "site")])
        refused(UnknownNameError, "Unknown predictor 'memorising'")
    path.rename(tmp_path / path.name)
    refused(ProtocolError, "There is no record .*memorising")
    (tmp_path / path.name).rename(path)
    shutil.rmtree(cache_root() / "datasets")
    refused(DatasetError, f"{NAME} is not on this machine")


def test_when_more_records_would_share_a_set_than_the_rule_allows_then_they_are_refused(
    board, confirmed, tmp_path, monkeypatch
):
    monkeypatch.setattr(confirming, "RECORDS_PER_SET", 2)
    another = board.add("linear", tmp_path / "linear")
    with pytest.raises(
        ProtocolError, match=r"1 records are .* that serve 2\. By rule 2 at most 2 share .* reveal the set"
    ):
        confirm([board.row("autoregression"), another])
    assert not is_tried(another)
    (fresh,) = find_sets()
    shutil.rmtree(fresh.folder)
    with pytest.raises(ProtocolError, match=r"3 records .* that serve 0\. .* Confirm at most 2 of these\.$"):
        confirm([board.row("autoregression"), board.row("memorising"), another])
    assert not find_sets(), "nothing was begun"


def test_when_a_set_is_full_then_what_it_serves_is_found_again(board, confirmed, monkeypatch):
    monkeypatch.setattr(confirming, "RECORDS_PER_SET", 2)
    assert len(confirm([board.row("autoregression")])) == 1, "which the set serves already"


def test_a_predictor_that_fails_on_fresh_trials_keeps_no_other_from_being_confirmed(board, confirmed, monkeypatch):
    """A row that was confirmed before: its run is finished, so that the failing one alone would be run."""
    shutil.copytree(confirmed / "claimed", board.records, dirs_exist_ok=True)
    (fresh,) = find_sets()
    (failing,) = fresh.runs.glob("*__memorising-*")
    shutil.rmtree(failing)

    def fail(self, task):
        raise PredictorError("memorising: fitting failed: out of luck")

    monkeypatch.setattr(PredictorProcess, "fit", fail)
    result = typed("leaderboard", "confirm", board.row("memorising"), board.row("autoregression"))
    assert result.exit_code == 1
    assert f"{board.row('memorising').name}: memorising: fitting failed: out of luck" in result.output
    assert f"confirmed: {board.row('autoregression').name}" in result.output
    assert not is_tried(board.row("memorising"))
    assert not any(path.stat().st_mode & 0o077 for path in fresh.runs.rglob("*"))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 1, "seeds": [340282366920938463463374607431768211455]}'])
def test_a_damaged_secret_is_named_and_not_shown(content, board):
    (secret,) = fresh_root().rglob("secret.json")
    secret.write_text(content)
    result = typed("leaderboard", "confirm", board.row("autoregression"))
    assert result.exit_code == 1
    assert f"{secret}: not readable as the seeds of fresh trials" in result.output
    assert "3402823" not in result.output


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resimulating", "copying"])
def test_simulating_or_copying_the_test_trials_is_not_confirmed(model, claimed, confirmed, tmp_path, monkeypatch):
    copy = confirmed / "clone" / "copy.safetensors"
    if model == "copying":  # the sandbox stops it, so that its row is made where it has a hole
        with pytest.raises(TiplBenchError, match="copying: fitting failed"):
            claimed.add(model, tmp_path / "refused")
        readable = predictor_process.readable_files
        hole = lambda *arguments: [*readable(*arguments), copy]  # noqa: E731
        monkeypatch.setattr(predictor_process, "readable_files", hole)
    path = claimed.add(model, tmp_path / model)
    assert skill_of(path) > 0.9
    result = typed("leaderboard", "check", tmp_path / model, "--records", tmp_path / "empty")
    assert result.exit_code == 0, result.output
    (result,) = confirm([path], trials=6, threads=1)
    assert result.found.kind == "not confirmed"
    assert result.found.skill.fresh.value == pytest.approx(0, abs=0.01)


@pytest.mark.slow
def test_rows_of_protocol_2_are_confirmed_likewise(claimed, tmp_path, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, synthetic.SMALL_2.version, synthetic.SMALL_2)
    paths = [claimed.add(model, tmp_path / f"{model}-2", synthetic.SMALL_2) for model in ("linear", "memorising")]
    assert [result.found.kind for result in confirm(paths, trials=6, threads=1)] == ["confirmed", "not confirmed"]
