"""Runs of a class or an object that no installed package announces: from a module, a script, not from a notebook."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tipl_bench
from click.testing import CliRunner
from helpers import synthetic
from tipl_bench.baselines.linear import Linear, LinearOptions
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import resolved_model
from tipl_bench.cli import main
from tipl_bench.utils.errors import OptionError, PredictorError, ProtocolError, UnknownNameError

CODE = """
import numpy as np
from pydantic import Field
import shifts
from tipl_bench import Options, Predictor

class ShiftOptions(Options):
    shift: float = 0.0
    by_name: str | None = None
    turned: bool = False

class Shift(Predictor[ShiftOptions]):
    name, version, summary, options_type = "shift", 1, "The last weights and a number.", ShiftOptions
    budgets = {"quick": {"shift": 0.125}}

    def predict(self, contexts, horizon):
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1) + np.float32(self.options.shift) + shifts.NOTHING

class Taken(Shift):
    name = "Linear"
"""
SCRIPT = """
import tipl_bench

if {guard}:
    made = tipl_bench.run(Shift, {dataset!r}, out="run", device="cpu", limit=2, returns=False)
    print(made.record.key.method.name, made.record.why_not_submittable)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module `own_forecaster` with another beside it, in a folder on the path."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "own_forecaster.py").write_text(CODE)
    (folder / "shifts.py").write_text("NOTHING = 0\n")
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("own_forecaster")
    del sys.modules["own_forecaster"]


def run(model, dataset, out, **options):
    return tipl_bench.run(model, dataset, out=out, device="cpu", protocol=synthetic.SMALL, **options)


def test_when_a_class_is_run_then_its_file_is_recorded_and_it_cannot_be_submitted(module, smooth, tmp_path):
    made = run(module.Shift, smooth, tmp_path / "run")
    method, code = made.record.key.method, made.record.provenance.code
    assert (method.name, method.options["shift"]) == ("shift", 0.125)
    assert code.distribution is None
    assert code.files == {"own_forecaster.py": hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()}
    assert "run from a file. Install it as a package" in made.record.why_not_submittable
    result = CliRunner().invoke(main, ["leaderboard", "add", str(tmp_path / "run"), "--records", str(tmp_path / "r")])
    assert result.exit_code == 1


def test_when_an_object_is_run_then_its_options_are_those_of_the_run(module, smooth, tmp_path):
    chosen = module.Shift(module.ShiftOptions(shift=0.0, by_name="x y", turned=True))
    options = run(chosen, smooth, tmp_path / "run").record.key.method.options
    assert options == {"shift": 0.0, "by_name": "x y", "turned": True}
    assert run(chosen, smooth, tmp_path / "more", options={"shift": 2}).record.key.method.options["shift"] == 2.0


def test_when_a_class_of_this_package_is_run_then_it_is_the_predictor_of_its_name(smooth, tmp_path):
    record = run(Linear(LinearOptions(points=3)), smooth, tmp_path / "run").record
    assert (record.key.method.name, record.key.method.options["points"]) == ("linear", 3)
    assert (record.provenance.code, record.why_not_submittable) == (None, None)


def test_when_a_class_is_checked_then_the_report_has_its_name(module):
    report = tipl_bench.check_predictor(module.Shift)
    assert report.passed, report
    assert report.predictor == "shift"


def test_when_a_class_is_named_on_the_command_line_then_it_is_found_in_the_working_folder(module, monkeypatch):
    monkeypatch.chdir(Path(module.__file__).parent)
    for place in ("own_forecaster:Shift", "own_forecaster.py:Shift"):
        result = CliRunner().invoke(main, ["models", "check", place])
        assert result.exit_code == 0, result.output
        assert "shift: " in result.output


def test_the_working_folder_is_on_the_path_only_while_its_predictor_is_used():
    Path("apart.py").touch()
    before = list(sys.path)
    with resolved_model("apart:Method", "quick") as (name, _):
        assert name == "apart:Method"
        assert importlib.util.find_spec("apart")
    assert sys.path == before


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("nowhere:Shift", PredictorError, "there is no module 'nowhere' here or on Python's path"),
        (
            "own_forecaster:Shifty",
            UnknownNameError,
            "Unknown predictor of own_forecaster 'Shifty'. Did you mean 'Shift'\\? Known: Shift, Taken",
        ),
        ("own_forecaster:ShiftOptions", PredictorError, "is not a Predictor"),
        ("own_forecaster:Taken", PredictorError, "its name 'Linear' is another predictor's"),
        ("own_forecaster:a b", PredictorError, "not of the form module:Class"),
        (3, OptionError, "3 is neither a predictor's name nor a Predictor"),
        (int, OptionError, "neither a predictor's name nor a Predictor"),
    ],
)
def test_when_there_is_no_such_class_then_it_is_said(model, error, message, module, smooth, tmp_path):
    with pytest.raises(error, match=message):
        run(model, smooth, tmp_path / "run")


def test_when_a_class_is_in_no_file_then_the_way_out_is_named(smooth, tmp_path):
    cell = {"__name__": "__cell__"}
    exec(CODE.replace("import shifts", "").replace("shifts.NOTHING", "0"), cell)
    with pytest.raises(OptionError, match=r"Shift is in no file .*%%writefile my_forecaster.py"):
        run(cell["Shift"], smooth, tmp_path / "run")

    class Inside(Linear):
        name = "inside"

    with pytest.raises(OptionError, match="inside a function"):
        run(Inside, smooth, tmp_path / "run")


@pytest.mark.parametrize("guarded", [True, False])
def test_when_a_script_runs_its_own_class_then_the_script_is_imported_once_more(guarded, module, smooth, tmp_path):
    script = tmp_path / "code" / "my-script.py"
    guard = '__name__ == "__main__"' if guarded else "True"
    script.write_text(CODE + SCRIPT.format(dataset=str(smooth.folder), guard=guard))
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    if guarded:
        assert done.stdout.startswith("shift its predictor was run from a file."), done.stderr
    else:
        assert 'besides defining classes belongs under `if __name__ == "__main__":`' in done.stderr


@pytest.mark.parametrize("model", ["shift_file.py:Shift", "shift_file:Shift"])
def test_when_the_command_names_a_file_or_module_of_this_folder_then_its_class_is_run(
    model, smooth, tmp_path, monkeypatch
):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "shift_file.py").write_text(CODE)
    (folder / "shifts.py").write_text("NOTHING = 0\n")
    monkeypatch.chdir(folder)
    command = ["--model", model, "--dataset", str(smooth.folder), "--limit", "2", "--no-returns", "--device", "cpu"]
    result = subprocess.run(
        [sys.executable, "-P", "-m", "tipl_bench", "run", *command, "--out", "run", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert '"name": "shift"' in result.stdout


EDITED = """
import numpy as np
from tipl_bench import Options, Predictor

class Mine(Predictor[Options]):
    name, version, summary, options_type = "mine", 1, "The last weights times k.", Options
    k = 1.0

    def fit(self, task):
        self.k = {fitted}

    def state(self):
        return {{"k": np.array([self.k], np.float32)}}

    def load_state(self, state):
        self.k = state["k"]

    def predict(self, contexts, horizon):
        return np.repeat(contexts.weights[:, -1:], horizon, axis=1) * np.float32(self.k)
"""


@pytest.fixture
def edit(tmp_path):
    """Write the file of `Mine` with what its `fit` keeps; returns the predictor's name."""
    path = tmp_path / "mine.py"

    def written(fitted):
        path.write_text(EDITED.format(fitted=fitted))
        return f"{path}:Mine"

    return written


def test_when_the_code_of_a_failed_run_is_mended_then_it_is_fitted_anew(edit, smooth, tmp_path):
    with pytest.raises(PredictorError, match="not finite"):
        run(edit("float('nan')"), smooth, tmp_path / "run")
    with pytest.warns(UserWarning, match="another version of the code.*begins anew"):
        made = run(edit("1.0"), smooth, tmp_path / "run")
    assert not made.record.failed
    np.testing.assert_array_equal(made.forecasts, run(edit("1.0"), smooth, tmp_path / "fresh").forecasts)


def test_when_the_code_changed_since_a_finished_run_then_its_results_are_not_shown_as_the_new_ones(
    edit, smooth, tmp_path
):
    run(edit("1.0"), smooth, tmp_path / "run")
    before = (tmp_path / "run" / "record.json").read_bytes()
    with pytest.raises(ProtocolError, match=r"finished run of other code: mine\.py changed since"):
        run(edit("1.5"), smooth, tmp_path / "run")
    assert (tmp_path / "run" / "record.json").read_bytes() == before
    assert run(edit("1.0"), smooth, tmp_path / "run").repeated


def test_when_lost_files_are_made_again_then_nothing_is_counted_twice_and_a_failure_keeps_the_record(
    edit, smooth, tmp_path
):
    once = "(_ for _ in ()).throw(OSError('no')) if __import__('os').path.exists(r'{}') else 1.0"
    model, folder = edit(once.format(tmp_path / "failing")), tmp_path / "run"
    first = run(model, smooth, folder).record
    for name in ("forecasts.safetensors", "predictor.safetensors"):
        (folder / name).unlink()
    (tmp_path / "failing").touch()
    with pytest.raises(PredictorError, match="no"):
        run(model, smooth, folder)
    assert read_record(folder / "record.json") == first
    (tmp_path / "failing").unlink()
    (folder / "timings.json").unlink(missing_ok=True)
    again = run(model, smooth, folder).record
    assert again.results == first.results
    # Only the state is still there: its fit counts once, and what is made again is of this time alone.
    (folder / "forecasts.safetensors").unlink()
    assert run(model, smooth, folder).record.cost.fit_seconds == again.cost.fit_seconds


def test_when_a_folder_is_given_to_two_runs_at_once_then_the_second_finds_it_finished(edit, smooth, tmp_path):
    model = edit("__import__('time').sleep(1) or 1.0")
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: run(model, smooth, tmp_path / "run"), range(2)))
    assert sorted(one.repeated for one in made) == [False, True]


def test_when_a_file_is_named_without_its_class_then_the_error_says_so(edit, smooth, tmp_path):
    with pytest.raises(UnknownNameError, match=r"Name the class in that file, as .*mine\.py:MyForecaster"):
        run(edit("1.0").removesuffix(":Mine"), smooth, tmp_path / "run")
