"""A predictor's process: what it is shown, what it cannot reach, and whose fault its faults are."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import synthetic
from helpers.misbehaving import Notes
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.run import RunRequest, run
from tipl_bench.benchmark.worker import sandbox
from tipl_bench.benchmark.worker.channel import PREFIX, Channel
from tipl_bench.benchmark.worker.messages import PredictorCrash
from tipl_bench.benchmark.worker.predictor_process import Limits, PredictorProcess
from tipl_bench.benchmark.worker.sandbox import LANDLOCK
from tipl_bench.registry.store import cache_root
from tipl_bench.utils.errors import OptionError, PredictorError, UnknownNameError


def request(model, dataset, **settings) -> RunRequest:
    return RunRequest(model, dataset, device="cpu", protocol=synthetic.SMALL, **settings)


@pytest.mark.parametrize(
    ("model", "limits", "message"),
    [
        ("crashing", Limits(), r"crashing at trial \d+, origin \d+ .*was killed by SIGSEGV"),
        ("exiting", Limits(), r"exiting at trial .*ended by itself \(exit status 7\)"),
        ("hanging", Limits(timeout=5.0), r"hanging: fitting failed: no answer within 5 s; --timeout raises the limit"),
        (
            "devouring",
            Limits(memory=2 << 30),
            r"devouring: fitting failed: ran out of memory; its limit is 2.0 GiB, which --memory raises",
        ),
        ("flooding", Limits(), r"flooding at trial .*its process answered with a message of"),
    ],
)
def test_when_the_process_fails_then_the_fault_is_the_predictors_and_what_was_done_is_kept(
    model, limits, message, wayward, smooth, tmp_path
):
    folder = tmp_path / "run"
    with pytest.raises(PredictorError, match=message):
        run(request(model, smooth, limits=limits), folder)
    kept = {path.name for path in folder.iterdir()}
    fitted = {"predictor.safetensors", "timings.json"} if model not in ("hanging", "devouring") else set()
    assert kept == {"key.json", *fitted}
    assert not _alive(wayward)


def test_when_a_predictor_prints_then_the_runs_own_output_stays_clean(wayward, smooth, tmp_path, capfd):
    run(request("chattering", smooth), tmp_path / "run")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "chatter" in captured.err


def test_a_predictor_cannot_open_a_test_trial_the_store_or_the_manifest(wayward, smooth, tmp_path, monkeypatch):
    cache_root().mkdir()
    (cache_root() / "secret").write_text("returns of true policies")
    monkeypatch.setenv("WAYWARD_STORE", str(cache_root()))
    monkeypatch.setenv("WAYWARD_DATASET", str(smooth.folder))
    record, _ = run(request("reading", smooth), tmp_path / "run")
    if record.provenance.isolation != LANDLOCK:
        pytest.skip("this kernel has no Landlock")
    seen = {Path(line).relative_to(smooth.folder) for line in wayward["opened"].split()}
    split = smooth.manifest.split
    assert seen == {Path("trials") / f"trial-{i:04d}.safetensors" for i in (*split.train, *split.validation)}
    assert wayward["refused"].split() == sorted(
        [str(cache_root() / "secret"), str(smooth.folder / "manifest.json")]
        + [str(smooth.trial(index).path) for index in split.test]
    )


def test_a_predictor_writes_nowhere_but_into_its_scratch_folder(wayward, smooth, tmp_path, monkeypatch):
    targets = tmp_path / "targets"
    (targets / "empty").mkdir(parents=True)
    (targets / "file").write_text("a record")
    monkeypatch.setenv("WAYWARD_TARGETS", str(targets))
    monkeypatch.setenv("XDG_CACHE_HOME", str(targets))
    record, _ = run(request("writing", smooth), tmp_path / "run")
    if record.provenance.isolation != LANDLOCK:
        pytest.skip("this kernel has no Landlock")
    assert wayward["written"].split() == ["null"]
    assert (targets / "file").read_text() == "a record"
    assert sorted(path.name for path in targets.iterdir()) == ["empty", "file"]


def test_when_the_predictors_package_lies_in_the_store_then_it_is_still_found(wayward, smooth, tmp_path, monkeypatch):
    monkeypatch.setenv("TIPL_BENCH_HOME", str(tmp_path))
    (tmp_path / "secret").write_text("returns of true policies")
    with PredictorProcess("peeking") as predictor:
        assert predictor.version == 1
        assert predictor.isolation != LANDLOCK or not predictor.can_open(tmp_path / "secret")


def test_a_predictor_cannot_reach_the_network(wayward, smooth, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WAYWARD_PORT", str(server.getsockname()[1]))
        record, _ = run(request("dialling", smooth), tmp_path / "run")
    if record.provenance.isolation != LANDLOCK:
        pytest.skip("this kernel has no Landlock")
    assert wayward["dialled"] == "PermissionError"


def test_when_the_run_is_killed_then_its_predictor_does_not_live_on(wayward, smooth, tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux ends a child with its parent")
    child = os.fork()
    if child == 0:
        try:
            run(request("hanging", smooth), tmp_path / "run")
        finally:
            os._exit(1)
    while "process" not in wayward:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _wait_for_end(wayward, "process")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than the first")
@pytest.mark.parametrize("model", ["begetting", "deserting", "lingering"])
def test_what_a_predictor_started_does_not_live_on_however_it_ends(model, wayward, smooth, tmp_path):
    with contextlib.suppress(PredictorError):
        run(request(model, smooth, limits=Limits(timeout=10.0)), tmp_path / "run")
    assert not _alive(wayward, "heir")
    assert not _alive(wayward, "process")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than the first")
def test_when_the_run_is_killed_then_what_its_predictor_started_does_not_live_on(wayward, smooth, tmp_path):
    child = os.fork()
    if child == 0:
        try:
            run(request("lingering", smooth), tmp_path / "run")
        finally:
            os._exit(1)
    while "heir" not in wayward:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _wait_for_end(wayward, "heir")


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_a_predictor_cannot_kill_who_ends_what_it_started(wayward, smooth, tmp_path):
    if sandbox._landlock(sandbox.CREATE_RULESET, None, 0, sandbox.ASK_VERSION) < sandbox.SCOPES_SINCE:
        pytest.skip("this kernel's Landlock does not know of signals")
    run(request("rebelling", smooth), tmp_path / "run")
    assert "killed" not in wayward


def _wait_for_end(notes: Notes, which: str) -> None:
    for _ in range(100):
        if not _alive(notes, which):
            return
        time.sleep(0.05)
    raise AssertionError("the process goes on")


def _alive(notes: Notes, which: str = "process") -> bool:
    """Whether the process that noted its number is still there."""
    try:
        os.kill(int(notes[which]), 0)
    except ProcessLookupError:
        return False
    return True


def test_forecasts_of_the_process_are_those_of_the_predictor_itself(smooth):
    from tipl_bench.baselines import predictor_type
    from tipl_bench.baselines.options import build_options

    settings = ["steps=10", "width=16"]
    split = smooth.manifest.split
    task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20, seed=5)
    contexts = synthetic.contexts_of(smooth, split.test[0], [25, 40])
    kind = predictor_type("mlp")
    here = kind(build_options(kind, "quick", settings))
    here.fit(task)
    with PredictorProcess("mlp", settings=settings) as there:
        there.fit(task)
        assert np.array_equal(there.predict(contexts, 3), here.predict(contexts, 3))
        assert there.parameter_count == here.parameter_count


def test_unknown_names_and_unfit_values_are_told_as_if_there_were_no_process():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        PredictorProcess("lineal")
    with pytest.raises(UnknownNameError, match="Did you mean 'damping'"):
        PredictorProcess("linear", settings=["dampin=1"])
    with pytest.raises(OptionError, match="damping"):
        PredictorProcess("linear", settings=["damping=much"])


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        "[]",
        '{"kind": ["failure"]}',
        '{"kind": "failure"}',
        '{"kind": "failure", "error": ["x"], "text": ""}',
        '{"kind": "failure", "error": "HubError", "text": 1}',
        '{"kind": "failure", "error": "UnknownNameError", "text": "", "unknown": ["x"]}',
        '{"kind": "progress"}',
        '{"kind": "progress", "done": 1, "total": true, "status": ""}',
        '{"kind": "progress", "done": 1e999, "total": 1, "status": ""}',
        '{"kind": "progress", "done": 1, "total": 1, "status": "", "other": 1}',
        '{"kind": "fitted", "peak_memory": 1, "parameter_count": 1, "context_length": 1, "seconds": 1.0}',
        '{"kind": "forecast", "peak_memory": "much", "dtype": "float32", "shape": [1]}',
        '{"kind": "forecast", "peak_memory": -1, "dtype": "float32", "shape": [1]}',
        '{"kind": "forecast", "peak_memory": 1, "dtype": "float32", "shape": "1"}',
        "[" * 100_000,
    ],
)
def test_when_an_answer_is_forged_then_it_is_the_predictors_fault(answer, wayward, smooth, tmp_path, monkeypatch):
    monkeypatch.setenv("WAYWARD_ANSWER", answer)
    with pytest.raises(PredictorError, match=r"forging at trial .*: its process answered with"):
        run(request("forging", smooth), tmp_path / "run")


def test_the_hubs_token_is_kept_from_the_predictor(wayward, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with PredictorProcess("peeking") as predictor:
        environment = Path(f"/proc/{wayward['process']}/environ")
        assert not environment.exists() or b"hf_secret" not in environment.read_bytes()
        assert predictor.version == 1


def test_when_the_predictor_runs_out_of_time_then_the_error_says_how_to_give_more(wayward, smooth):
    split = smooth.manifest.split
    with (
        PredictorProcess("hanging", limits=Limits(timeout=2.0)) as predictor,
        pytest.raises(PredictorCrash, match="--timeout"),
    ):
        predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20))


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf, 1e30])
def test_when_a_timeout_is_none_then_it_is_refused(timeout):
    with pytest.raises(OptionError, match=r"Invalid timeout .*more than 0"):
        Limits(timeout)


@pytest.mark.parametrize("memory", [0, -1, 1 << 80])
def test_when_a_limit_of_memory_is_none_then_it_is_refused(memory):
    with pytest.raises(OptionError, match=r"Invalid memory limit .*more than 0"):
        Limits(memory=memory)


def test_when_the_system_permits_less_memory_than_the_limit_then_the_predictor_still_starts():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30)); "
        "from tipl_bench.benchmark.worker.sandbox import limit_memory; limit_memory(16 << 30); "
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 30)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock is Linux's")
def test_what_is_put_beside_a_hidden_folder_later_is_out_of_reach_and_what_was_there_is_not(tmp_path):
    denied = tmp_path / "denied"
    denied.mkdir()
    (tmp_path / "before").write_text("")
    with PredictorProcess("persistence", denied=[denied]) as predictor:
        (tmp_path / "after").write_text("")
        if predictor.isolation != LANDLOCK:
            pytest.skip("this kernel has no Landlock")
        assert predictor.can_open(tmp_path / "before")
        assert not predictor.can_open(tmp_path / "after")


def test_when_a_predictor_does_not_start_or_resume_then_it_is_named(outside, smooth, tmp_path, monkeypatch):
    with pytest.raises(PredictorError, match=r"failing: starting failed: raised LookupError"):
        run(request("failing", smooth), tmp_path / "failing")
    monkeypatch.setenv("HALTING_FOLDER", str(tmp_path))
    run(request("amnesiac", smooth), tmp_path / "run")
    for name in ("forecasts.safetensors", "record.json"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(PredictorError, match=r"amnesiac: loading its fitted state failed: raised LookupError"):
        run(request("amnesiac", smooth), tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("forger", r"forger at trial \d+, origin \d+ .*: raised PredictorError: \\u001b\[31mno\\u202e\\u000aok"),
        ("forger-in-fit", r"forger-in-fit: fitting failed: raised DatasetError: \\u001b\[31mno"),
        (
            "indebted",
            r"indebted: fitting failed: its process answered with a parameter_count of -3: Input should be greater",
        ),
        ("fractional", r"fractional: starting failed: its process answered with a context_length of 5\.7"),
    ],
)
def test_what_a_predictor_says_of_itself_and_of_others_is_its_own_fault(model, message, outside, smooth, tmp_path):
    words: list[str] = []
    with pytest.raises(PredictorError, match=message) as caught:
        run(request(model, smooth), tmp_path / "run", lambda stage, done, total, word: words.append(word))
    assert all(text.isprintable() and len(text) < 700 for text in (str(caught.value), *words))


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"",
        b"\x00" * 5,
        PREFIX.pack(1 << 30, 0),
        PREFIX.pack(2, 1 << 40) + b"{}",
        PREFIX.pack(2, 0) + b"[]",
        PREFIX.pack(4, 0) + b"nope",
        PREFIX.pack(13, 0) + b'{"a":1,"a":2}',
        PREFIX.pack(2, 8) + b"{}" + b"\xff" * 8,
        *(
            PREFIX.pack(len(text), size) + text
            for text, size in [
                (b'{"arrays":[]}', 0),
                (b'{"arrays":{"a":[]}}', 0),
                (b'{"arrays":{"a":["|O",[1]]}}', 8),
                (b'{"arrays":{"a":["<f4",[-1]]}}', 8),
                (b'{"arrays":{"a":["<f4",[2]]}}', 8),
                (b'{"arrays":{"a":["<f4",[1000000]]}}', 8),
                (b'{"arrays":{"a":["<f4",[8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8,8]]}}', 8),
                (b'{"arrays":{"a":["<f4",[true]]}}', 4),
                (b'{"arrays":{"a":["<f4",["1"]]}}', 4),
                (b'{"arrays":{"a":[["<f4"],[1]]}}', 4),
            ]
        ),
    ],
)
def test_when_bytes_are_no_message_then_they_are_refused(bytes_sent):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(bytes_sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((ValueError, TypeError, EOFError)):
            Channel(ours).receive(1 << 16, time.monotonic() + 5)
