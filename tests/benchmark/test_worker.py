"""The worker process: its sandbox, its lifetime, its messages, and how its failures are reported."""

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
import torch
from helpers import synthetic
from helpers.misbehaving import Notes
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.worker import sandbox, worker
from tipl_bench.benchmark.worker.channel import PREFIX, Channel
from tipl_bench.benchmark.worker.messages import Describe, PredictorCrash, parse_error
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.benchmark.worker.sandbox import NO_ISOLATION
from tipl_bench.benchmark.worker.usage import Limits
from tipl_bench.registry.locations import cache_root
from tipl_bench.utils.errors import OptionError, PredictorError, UnknownNameError


def request(model, dataset, **settings) -> RunRequest:
    return RunRequest(model, dataset, device="cpu", protocol=synthetic.SMALL, **settings)


@pytest.mark.parametrize(
    ("model", "limits", "message"),
    [
        ("crashing", Limits(), r"crashing at trial \d+, origin \d+ .*was killed by SIGSEGV"),
        ("exiting", Limits(), r"exiting at trial .*ended by itself \(exit status 7\)"),
        ("hanging", Limits(timeout=5.0), r"hanging: fitting failed: no answer within 5 s; `timeout=` raises the limit"),
        (
            "out-of-memory",
            Limits(memory=2 << 30),
            r"out-of-memory: fitting failed: ran out of memory; its limit is 2 GiB, which `memory=` raises",
        ),
        ("flooding", Limits(), r"flooding at trial .*its process answered with a message of"),
    ],
)
def test_when_the_worker_fails_then_the_error_names_the_predictor_and_finished_stages_stay(
    model, limits, message, misbehaving_predictors, smooth, tmp_path
):
    folder = tmp_path / "run"
    with pytest.raises(PredictorError, match=message):
        execute(request(model, smooth, limits=limits), folder)
    kept = {path.name for path in folder.iterdir()}
    fitted = {"predictor.safetensors", "timings.json"} if model not in ("hanging", "out-of-memory") else set()
    assert kept == {"key.json", "record.json", *fitted}
    assert read_record(folder / "record.json").failed
    assert not _alive(misbehaving_predictors)


def test_when_a_predictor_prints_then_standard_output_of_the_run_is_empty(
    misbehaving_predictors, smooth, tmp_path, capfd
):
    execute(request("printing", smooth), tmp_path / "run")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "chatter" in captured.err


def test_a_predictor_cannot_read_test_trials_the_store_or_the_manifest(
    misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    cache_root().mkdir()
    (cache_root() / "secret").write_text("returns of true policies")
    misbehaving_predictors.set(store=cache_root(), dataset=smooth.folder)
    record = execute(request("reading", smooth), tmp_path / "run").record
    if record.provenance.isolation == NO_ISOLATION:
        pytest.skip("this kernel has no Landlock")
    seen = {Path(line).relative_to(smooth.folder) for line in misbehaving_predictors["opened"].split()}
    split = smooth.manifest.split
    assert seen == {Path("trials") / f"trial-{i:04d}.safetensors" for i in split.fitted}
    hidden = [cache_root() / "secret", smooth.folder / "manifest.json", *(smooth.trial(i).path for i in split.test)]
    assert {str(path) for path in hidden} <= set(misbehaving_predictors["refused"].split())


def test_a_predictor_can_write_only_to_its_scratch_folder(misbehaving_predictors, smooth, tmp_path, monkeypatch):
    targets = tmp_path / "targets"
    (targets / "empty").mkdir(parents=True)
    (targets / "file").write_text("a record")
    misbehaving_predictors.set(targets=targets)
    monkeypatch.setenv("XDG_CACHE_HOME", str(targets))
    record = execute(request("writing", smooth), tmp_path / "run").record
    if record.provenance.isolation == NO_ISOLATION:
        pytest.skip("this kernel has no Landlock")
    cuda = ["thread-name"] if any(Path("/dev").glob("nvidia*")) else []
    assert misbehaving_predictors["written"].split() == [*cuda, "null"]
    assert (targets / "file").read_text() == "a record"
    assert sorted(path.name for path in targets.iterdir()) == ["empty", "file"]


def test_when_the_run_is_killed_then_the_worker_is_killed(misbehaving_predictors, smooth, tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux can kill a child with its parent")
    child = os.fork()
    if child == 0:
        try:
            execute(request("hanging", smooth), tmp_path / "run")
        finally:
            os._exit(1)
    while "process" not in misbehaving_predictors:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _wait_for_end(misbehaving_predictors, "process")


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers exist only on Linux")
@pytest.mark.parametrize("model", ["leaves-child", "leaves-child-and-exits", "leaves-child-and-hangs"])
def test_when_the_worker_ends_then_processes_that_it_started_are_killed(
    model, misbehaving_predictors, smooth, tmp_path
):
    with contextlib.suppress(PredictorError):
        execute(request(model, smooth, limits=Limits(timeout=10.0)), tmp_path / "run")
    assert not _alive(misbehaving_predictors, "child")
    assert not _alive(misbehaving_predictors, "process")


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers exist only on Linux")
def test_when_the_run_is_killed_then_processes_that_the_worker_started_are_killed(
    misbehaving_predictors, smooth, tmp_path
):
    child = os.fork()
    if child == 0:
        try:
            execute(request("leaves-child-and-hangs", smooth), tmp_path / "run")
        finally:
            os._exit(1)
    while "child" not in misbehaving_predictors:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _wait_for_end(misbehaving_predictors, "child")


@pytest.mark.skipif(sys.platform != "linux", reason="Landlock exists only on Linux")
def test_a_predictor_cannot_kill_the_subreaper(misbehaving_predictors, smooth, tmp_path):
    version = sandbox._landlock(sandbox.SYS_LANDLOCK_CREATE_RULESET, None, 0, sandbox.LANDLOCK_CREATE_RULESET_VERSION)
    if version < sandbox.SCOPES_SINCE:
        pytest.skip("this kernel's Landlock does not restrict signals")
    execute(request("kills-parent", smooth), tmp_path / "run")
    assert "killed" not in misbehaving_predictors


def test_when_the_run_ignores_the_end_of_children_then_the_worker_works_and_its_end_is_told(
    misbehaving_predictors, smooth, tmp_path
):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which every process started by this one inherits
    try:
        with PredictorProcess("persistence") as predictor:
            assert predictor.version == 1
        with pytest.raises(
            PredictorError, match="its process ended; how is not known, because this process ignores SIGCHLD"
        ):
            execute(request("exiting", smooth), tmp_path / "run")
    finally:
        signal.signal(signal.SIGCHLD, before)


def _wait_for_end(notes: Notes, which: str) -> None:
    for _ in range(100):
        if not _alive(notes, which):
            return
        time.sleep(0.05)
    raise AssertionError("the process is still running")


def _alive(notes: Notes, which: str = "process") -> bool:
    """Whether the process that noted its number is still there."""
    try:
        os.kill(int(notes[which]), 0)
    except ProcessLookupError:
        return False
    return True


def test_forecasts_of_the_worker_equal_those_of_the_predictor_in_this_process(smooth):
    from tipl_bench.baselines import predictor_type
    from tipl_bench.baselines.options import build_options

    settings = ["steps=10", "width=16"]
    split = smooth.manifest.split
    task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20, seed=5)
    contexts = synthetic.contexts_of(smooth, split.test[0], [25, 40])
    kind = predictor_type("mlp")
    here = kind(build_options(kind, "quick", settings, 20))
    here.fit(task)
    data = [trial.path for trial in (*task.train, *task.validation)]
    with PredictorProcess("mlp", settings=settings, data=data) as there:
        there.fit(task)
        assert np.array_equal(there.predict(contexts, 3), here.predict(contexts, 3))
        assert there.parameter_count == here.parameter_count


def test_when_an_option_is_wrong_then_the_error_is_the_same_as_without_a_worker():
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
        '{"kind": "fitted", "parameter_count": 1, "context_length": 1, "seconds": 1.0}',
        '{"kind": "forecast", "peak_memory": "much", "dtype": "float32", "shape": [1]}',
        '{"kind": "forecast", "peak_memory": -1, "dtype": "float32", "shape": [1]}',
        '{"kind": "forecast", "dtype": "float32", "shape": "1"}',
        "[" * 100_000,
    ],
)
def test_when_an_answer_is_forged_then_the_error_names_the_predictor(
    answer, misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    misbehaving_predictors.set(answer=answer)
    with pytest.raises(PredictorError, match=r"forging at trial .*: its process answered with"):
        execute(request("forging", smooth), tmp_path / "run")


def test_when_fitting_exceeds_the_timeout_then_the_error_names_the_option_that_raises_it(
    misbehaving_predictors, smooth
):
    split = smooth.manifest.split
    with (
        PredictorProcess("hanging", limits=Limits(timeout=2.0)) as predictor,
        pytest.raises(PredictorCrash, match="`timeout=` raises the limit"),
    ):
        predictor.fit(FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20))


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf, 1e30])
def test_when_a_timeout_is_out_of_range_then_it_is_refused(timeout):
    with pytest.raises(OptionError, match=r"Invalid timeout .*more than 0"):
        Limits(timeout)


def test_when_a_gpu_is_out_of_memory_then_the_error_says_so_and_names_the_way_out(capsys):
    failure = worker._failure(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), started=True)
    error = parse_error(failure, Describe(model="mlp", budget="quick", settings=(), context=30), "mlp", 1 << 30)
    assert str(error) == 'ran out of the GPU\'s memory; set smaller batches, or use `device="cpu"`'
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("memory", [0, -1, 1 << 20, 1 << 80])
def test_when_a_memory_limit_is_out_of_range_then_it_is_refused(memory):
    with pytest.raises(OptionError, match=r"Invalid memory limit .*: use 0\.125 GiB to"):
        Limits(memory=memory)


def test_when_the_hard_memory_limit_is_lower_then_it_applies():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30)); "
        "from tipl_bench.benchmark.worker.sandbox import limit_memory; limit_memory(16 << 30); "
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 30)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "8"), done.stderr


def test_when_a_predictor_fails_to_start_or_to_load_then_the_error_names_it_and_the_stage(
    third_party_predictors, smooth, tmp_path, monkeypatch
):
    with pytest.raises(PredictorError, match=r"raising-in-init: starting failed: raised LookupError"):
        execute(request("raising-in-init", smooth), tmp_path / "raising-in-init")
    with pytest.raises(PredictorError, match=r"fails-to-load: loading its fitted state failed: raised LookupError"):
        execute(request("fails-to-load", smooth), tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "forges-error",
            r"forges-error at trial \d+, origin \d+ .*: \\u001b\[31mno\\u202e\\u000aok",
        ),
        ("forges-error-in-fit", r"forges-error-in-fit: fitting failed: raised DatasetError: \\u001b\[31mno"),
        (
            "negative-parameter-count",
            r"negative-parameter-count: fitting failed: its process answered with a parameter_count of -3",
        ),
        (
            "fractional-context",
            r"fractional-context: starting failed: its process answered with a context_length of 5\.7",
        ),
    ],
)
def test_when_a_predictor_reports_nonsense_then_the_error_names_it_and_is_printable(
    model, message, third_party_predictors, smooth, tmp_path
):
    statuses: list[str] = []
    with pytest.raises(PredictorError, match=message) as caught:
        execute(request(model, smooth), tmp_path / "run", lambda stage, done, total, status: statuses.append(status))
    assert all(text.isprintable() and len(text) < 700 for text in (str(caught.value), *statuses))


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
def test_when_bytes_are_not_a_message_then_they_are_refused(bytes_sent):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(bytes_sent)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises((ValueError, TypeError, EOFError)):
            Channel(ours).receive(1 << 16, time.monotonic() + 5)
