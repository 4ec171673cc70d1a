"""Completion of names in the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from helpers import synthetic
from tipl_bench.cli import main

DATASET = "toy-pendulum/synthetic-v1"


def completed(*words: str) -> list[str]:
    """What the shell offers for the last word."""
    *before, typed = words
    return [item.value for item in ShellComplete(main, {}, "tipl-bench", "_X").get_completions(before, typed)]


def test_predictors_are_completed_with_those_of_installed_packages(third_party_predictors):
    assert completed("run", "--model", "ti") == ["tipl", "tipl-pooled", "tipl-neuron", "tipl-neuron-statistics"]
    assert "keeping" in completed("run", "--model", "")
    assert completed("models", "show", "per") == ["persistence"]
    assert completed("models", "check", "lin") == ["linear"]


def test_optimizers_are_completed_with_outer_rules_where_both_are_meant():
    assert completed("optimizers", "show", "outer") == ["outer-step", "outer-nesterov"]
    assert completed("optimizers", "check", "ju") == ["jump"]
    assert completed("train", "--optimizer", "outer") == []


@pytest.mark.parametrize(
    "words",
    [("run", "--dataset"), ("datasets", "show"), ("datasets", "diff", DATASET), ("verify", "--dataset")],
)
def test_datasets_are_completed_from_the_catalogs_and_the_store(words, store):
    synthetic.write_dataset(store / "datasets" / DATASET, [synthetic.random_walk(i, 31, 32) for i in range(3)])
    assert completed(*words, "toy") == [DATASET]
    pendulums = [
        f"inverted-pendulum/ppo-{name}"
        for name in ("head-500-v1", "head-500-v2", "head-v1", "outer-400-v1", "outer-v1", "v1", "v2", "v3")
    ]
    assert completed(*words, "inverted-pendulum/") == pendulums
    (store / "catalog.toml").write_text('["my-env/ppo-v1"]\nenvironment = "MyEnv-v0"\ndefault = true\n')
    assert completed(*words, "my") == ["my-env/ppo-v1"]
    assert completed("run", "--env", "My") == ["MyEnv-v0"]


@pytest.mark.parametrize("broken", ["[", "x = 1", "\0"])
def test_a_broken_catalog_is_passed_over(broken, store):
    store.mkdir()
    (store / "catalog.toml").write_text(broken)
    assert completed("run", "--dataset", "hopper") == ["hopper/ppo-mini-v1", "hopper/ppo-mini-v2", "hopper/ppo-mini-v3"]


def test_environments_budgets_and_devices_are_completed():
    assert completed("run", "--env", "Inverted") == [
        "InvertedDoublePendulum-v4",
        "InvertedPendulum-v4",
        "InvertedPendulum-v5",
    ]
    assert completed("run", "--budget", "") == ["smoke", "quick", "standard", "paper"]
    assert completed("run", "--device", "c") == ["cpu", "cuda"]


def test_suites_and_files_of_suites_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine.toml", "smoke-2.toml"):
        (tmp_path / name).touch()
    assert completed("suite", "run", "") == ["board", "smoke", "mine.toml", "smoke-2.toml"]
    assert completed("suite", "status", "smo") == ["smoke", "smoke-2.toml"]
    (files,) = ShellComplete(main, {}, "tipl-bench", "_X").get_completions(["suite", "run"], "mi")
    assert (files.type, files.value) == ("file", "mi"), "the shell completes files"


@pytest.mark.parametrize("option", ["--model", "--dataset", "--env", "--budget", "--device"])
def test_completion_imports_nothing_heavy(option):
    code = (
        "import sys, atexit; atexit.register(lambda: print('imported', *sorted({'torch', 'pandas', 'scipy', 'mujoco', "
        "'pyarrow', 'numba', 'gymnasium', 'numpy', 'pydantic', 'safetensors', 'rich'} & set(sys.modules)))); "
        "from tipl_bench.cli import main; main(prog_name='tipl-bench')"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {
        "_TIPL_BENCH_COMPLETE": "bash_complete",
        "COMP_WORDS": f"tipl-bench run {option} ",
        "COMP_CWORD": "3",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=Path())
    assert done.stdout.splitlines()[-1] == "imported", done
    assert done.stdout.startswith("plain,")
