"""A worker's output, its measured cost, and what it leaves behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest
from helpers import synthetic
from rich.cells import cell_len
from tipl_bench.baselines.predictor import FitTask
from tipl_bench.benchmark import figures
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.worker import channel, output
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.benchmark.worker.usage import Limits
from tipl_bench.utils.errors import OptionError, PredictorError


def request(model, dataset, **settings) -> RunRequest:
    return RunRequest(model, dataset, device="cpu", protocol=synthetic.SMALL, **settings)


def fit(model, dataset) -> tuple[float, int]:
    """Fit a predictor; the seconds and the peak memory that it took."""
    split = dataset.manifest.split
    with PredictorProcess(model) as predictor:
        seconds = predictor.fit(FitTask(dataset.trials(split.train), dataset.trials(split.validation), 3, 20))
    return seconds, predictor.peak_memory


def test_what_a_predictor_prints_is_escaped_prefixed_and_cut(misbehaving_predictors, smooth, capfd):
    fit("garish", smooth)
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if "note" not in line]
    assert captured.out == ""
    assert lines == [
        r"garish | \u001b[31mred\u001b[0m \u009b2J\u0007 \u202edetrevni\u200b    tab",
        r"garish | \xff\xfe invalid",
        "garish | step 3",
        f"garish | {'x' * 71}",
        *[f"garish : {'x' * 71}"] * 56,
        f"garish : {'x' * 49} ... (5,904 bytes of t",
        "garish : his line left out)",
        "garish | unfinished",
    ]


def test_no_row_of_a_terminal_begins_with_what_a_predictor_printed(capfd):
    forged = "error: the run failed"
    for text in (" " * 71 + forged, " " * 80 + forged, "\u5927" * 40 + forged, "e\u0301" * 80 + forged):
        reading, writing = os.pipe()
        os.write(writing, f"{text}\n".encode())
        os.close(writing)
        output.OutputRelay("padding", os.fdopen(reading, "rb")).close()
        first, *others = capfd.readouterr().err.splitlines()
        assert first.startswith("padding | ")
        assert all(row.startswith("padding : ") for row in others)
        assert "".join(row[10:] for row in (first, *others)) == text
        assert all(cell_len(row) <= output.WIDTH for row in (first, *others))


def test_rows_are_as_wide_as_the_terminal(monkeypatch):
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 20, 0, 0))
    reading, writing = os.pipe()
    os.write(writing, b"x" * 30)
    os.close(writing)
    with os.fdopen(end, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        output.OutputRelay("a-long-name", os.fdopen(reading, "rb")).close()
        rows = os.read(terminal, 4096).decode().splitlines()
    os.close(terminal)
    assert rows == [f"a-long- | {'x' * 10}", *[f"a-long- : {'x' * 10}"] * 2]


def test_of_a_flood_the_beginning_and_the_last_lines_are_shown(misbehaving_predictors, smooth, capfd):
    with pytest.raises(PredictorError, match="after 40 MB"):
        fit("verbose", smooth)
    shown = capfd.readouterr().err
    assert len(shown) < output.OUTPUT_LIMIT + output.TAIL_LINES * output.LINE_LIMIT
    lines = [line for line in shown.splitlines() if "note" not in line]
    assert lines[0] == "verbose | line 0 of 0"
    assert lines[-1] == "verbose | ValueError: after 40 MB"
    assert "verbose | Traceback (most recent call last):" in lines[-output.TAIL_LINES :]
    place = next(place for place, line in enumerate(lines) if "left out" in line)
    left_out = lines[place] + lines[place + 1].removeprefix("verbose : ")
    assert "lines left out: only the first 1 MiB and the last 100 lines are shown" in left_out
    number = int(left_out.partition("(")[2].partition(" ")[0].replace(",", ""))
    assert number + sum(line.startswith("verbose | line ") for line in lines) == 2_000_000


def test_lines_without_end_take_no_memory(misbehaving_predictors, smooth, capfd):
    fit("unending", smooth)
    lines = [line for line in capfd.readouterr().err.splitlines() if "note" not in line]
    first, second = (place for place, line in enumerate(lines) if line.startswith("unending | "))
    shown = "".join(line[len("unending | ") :] for line in lines[first:second])
    assert len(shown) < output.LINE_LIMIT + 100
    assert shown.endswith("x ... (20,967,424 bytes of this line left out)")
    assert lines[second].startswith("unending | step 199999...")
    assert len(lines) < second + 3


def test_when_standard_error_is_closed_then_the_run_goes_on(misbehaving_predictors, smooth, tmp_path, monkeypatch):
    with Path(os.devnull).open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
    assert execute(request("garish", smooth), tmp_path / "run").record.status.state == "finished"
    monkeypatch.setattr(sys, "stderr", None)
    fit("garish", smooth)


def test_a_predictor_has_no_terminal(misbehaving_predictors, smooth, tmp_path, monkeypatch):
    """It has none even where the run has one that it controls."""
    code = (
        "import sys; from tipl_bench.registry.dataset import Dataset; from pathlib import Path\n"
        "from tipl_bench.baselines.predictor import FitTask\n"
        "from tipl_bench.benchmark.worker.predictor_process import PredictorProcess\n"
        f"data = Dataset.open(Path({str(smooth.folder)!r}))\n"
        "task = FitTask(data.trials([0]), data.trials([1]), 3, 20)\n"
        "with PredictorProcess('typing') as predictor: predictor.fit(task)"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        paths = os.pathsep.join(filter(None, sys.path))
        os.execve(sys.executable, [sys.executable, "-c", code], os.environ | {"PYTHONPATH": paths})
    text = b""
    with contextlib.suppress(OSError):  # so Linux ends a terminal
        while chunk := os.read(terminal, 4096):
            text += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text.decode()
    assert b'{"note": "terminal", "text": "none"}' in text
    assert b'{"note": "terminals", "text": ""}' in text


def test_fit_seconds_and_peak_memory_are_measured_outside_of_the_predictor(misbehaving_predictors, smooth):
    seconds, memory = fit("understating", smooth)
    assert 0.5 < seconds < 60
    assert memory > 1 << 29
    assert fit("persistence", smooth)[1] < 1 << 28


def test_a_predictor_cannot_make_its_measured_peak_memory_less(misbehaving_predictors, smooth):
    assert fit("resetting", smooth)[1] > 1 << 29
    if not any(Path("/dev").glob("nvidia*")):
        assert "reset" not in misbehaving_predictors


def test_work_at_import_and_in_the_constructor_counts_as_fitting(smooth, tmp_path):
    script = tmp_path / "early.py"
    script.write_text(
        "import time\nfrom helpers.misbehaving import Misbehaving\ntime.sleep(0.3)\n\n"
        "class Early(Misbehaving):\n    name = 'early'\n\n    def __init__(self, options):\n"
        "        super().__init__(options)\n        time.sleep(0.3)\n"
    )
    helpers = list(Path(synthetic.__file__).parent.glob("*.py"))
    split = smooth.manifest.split
    with PredictorProcess(f"{script}:Early", data=helpers) as predictor:
        task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20)
        assert 0.6 < predictor.fit(task) < 10


@pytest.mark.parametrize("way", ["mapping", "memfd", "files"])
def test_shared_memory_and_files_in_memory_are_within_the_limit(
    way, misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    if way == "files":
        monkeypatch.setattr("tempfile.tempdir", "/dev/shm")
    misbehaving_predictors.set(way=way)
    split = smooth.manifest.split
    task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20)
    with (
        PredictorProcess("sharing", limits=Limits(memory=3 << 27)) as predictor,
        pytest.raises(PredictorError, match=r"ran out of memory; its limit is 0\.375 GiB, which `memory=` raises"),
    ):
        predictor.fit(task)


@pytest.mark.parametrize("model", ["untidy", "vanishing"])
def test_a_scratch_folder_that_is_hard_to_remove_is_removed(
    model, misbehaving_predictors, smooth, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record = execute(request(model, smooth), tmp_path / "run").record
    assert record.status.state == "finished"
    assert not list(tmp_path.glob("tipl-bench-*"))


def test_a_scratch_folder_that_cannot_be_removed_is_warned_of(misbehaving_predictors, smooth, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = execute(request("immutable", smooth), tmp_path / "run").record
    assert record.status.state == "finished"
    status, scratch = misbehaving_predictors["immutable"].split()
    if status != "0":
        pytest.skip("this user or file system makes no file immutable")
    subprocess.run(["chattr", "-i", f"{scratch}/kept"], check=True)
    assert f"immutable: its temporary folder {scratch} could not be removed" in str(caught[0].message)
    (Path(scratch) / "kept").unlink()
    Path(scratch).rmdir()


def test_when_figures_timings_and_leftovers_fail_then_the_run_is_finished(smooth, tmp_path, monkeypatch):
    def no_fonts(*_):
        raise RuntimeError("no fonts")

    folder = tmp_path / "run"
    execute(request("persistence", smooth), folder)
    for name in ("record.json", "figure.svg", "figure.png"):
        (folder / name).unlink()
    (folder / "timings.json").mkdir(parents=True)
    (folder / ".record.json.4194305.partial").mkdir()
    monkeypatch.setattr(figures, "draw", no_fonts)
    with pytest.warns(UserWarning, match=r"run: the figures could not be drawn \(no fonts\); the same command draws"):
        run = execute(request("persistence", smooth), folder)
    assert run.record == read_record(folder / "record.json")
    assert run.record.status.state == "finished"


def test_when_an_answer_does_not_fit_into_memory_then_it_is_the_predictors_fault(smooth, tmp_path, monkeypatch):
    def exhausted(*_):
        raise MemoryError

    split = smooth.manifest.split
    task = FitTask(smooth.trials(split.train), smooth.trials(split.validation), 3, 20)
    with PredictorProcess("persistence") as predictor:
        monkeypatch.setattr(channel, "_allocate", exhausted)
        with pytest.raises(PredictorError, match="its state or its forecasts do not fit into this machine's memory"):
            predictor.fit(task)


def test_when_the_memory_limit_is_tiny_then_one_sentence_says_so(smooth, tmp_path, capfd):
    for limit in (1 << 20, 60 << 20):
        with pytest.raises(OptionError, match=r"Invalid memory limit .* GiB: use 0\.125 GiB to"):
            execute(request("mlp", smooth, limits=Limits(memory=limit)), tmp_path / "run")
        assert "Traceback" not in capfd.readouterr().err
