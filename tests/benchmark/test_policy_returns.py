"""Returns looked up by a policy's bytes: the same bits, resumed policy by policy, from a store that may be damaged."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import tipl_bench
from helpers.users import public_store, read_only, unprivileged
from tipl_bench.benchmark.forecast import policy_returns as module
from tipl_bench.benchmark.forecast.policy_returns import policy_returns
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.store import CacheWarning
from tipl_bench.rl import Policies, PolicyLayout, evaluate_returns

__all__ = ["public_store"]

ENVIRONMENT, SEEDS = "InvertedPendulum-v4", (1, 2)
LAYOUT = PolicyLayout(observation_size=4, hidden_sizes=(8, 8), action_size=1)


def some_policies(count: int, seed: int = 0) -> Policies:
    stream = np.random.default_rng(seed)
    weights = stream.normal(size=(count, LAYOUT.parameter_count)).astype(np.float32)
    return Policies(weights, stream.normal(size=(count, 4)), stream.uniform(0.5, 2.0, size=(count, 4)))


def returns(policies: Policies, **options):
    return policy_returns(ENVIRONMENT, LAYOUT, policies, SEEDS, **options)


@pytest.fixture
def policies() -> Policies:
    return some_policies(12)


@pytest.fixture
def true(policies):
    """J of the policies, evaluated without any store."""
    return evaluate_returns(ENVIRONMENT, LAYOUT, policies, SEEDS).tolist()


def test_returns_are_evaluated_once_and_then_looked_up_bit_for_bit(policies, true):
    first, second = returns(policies), returns(policies)
    assert (first.values.tolist(), first.evaluated) == (true, 12)
    assert (second.values.tolist(), second.evaluated) == (true, 0)


def test_only_the_missing_policies_are_evaluated_in_whatever_order_they_come(policies, true):
    returns(policies[5:8])
    order = np.array([7, 0, 11, 5, 6, 0, 3])
    found = returns(policies[order])
    assert found.values.tolist() == [true[row] for row in order]
    assert found.evaluated == 4, "0 twice, 11 and 3; 5, 6 and 7 were there"


def test_progress_counts_all_policies_and_is_silent_where_nothing_is_evaluated(policies):
    calls: list[int] = []
    returns(policies[0:4])
    returns(policies[np.array([0, 1, 9, 9])], progress=calls.append)
    assert calls[-1] == 4
    calls.clear()
    returns(policies[0:4], progress=calls.append)
    assert calls == []


@pytest.mark.parametrize("change", ["weights", "mean", "variance", "seeds", "environment", "layout"])
def test_a_return_is_found_only_for_all_that_it_depends_on(change, policies):
    returns(policies[0:1])
    other = Policies(*(np.array(part) for part in vars(policies[0:1]).values()))
    environment, layout, seeds = ENVIRONMENT, LAYOUT, SEEDS
    if change in vars(other):
        part = getattr(other, change)
        part[0, 0] = np.nextafter(part[0, 0], np.inf, dtype=part.dtype)
    elif change == "seeds":
        seeds = (2, 1)
    elif change == "environment":
        environment = "InvertedPendulum-v5"
    else:  # 4 * 6 + 6 + 6 * 11 + 11 + 11 + 1 + 1 = 120 parameters and one more pair: the bytes of another network
        layout = PolicyLayout(4, (17, 1), 1)
        other = Policies(np.zeros((1, layout.parameter_count), np.float32), other.mean, other.variance)
    assert policy_returns(environment, layout, other, seeds).evaluated == 1


@pytest.mark.parametrize("name", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"])
def test_code_compiled_for_another_processor_has_returns_of_its_own(name, policies, monkeypatch):
    returns(policies)
    monkeypatch.setenv(name, "generic")
    assert returns(policies).evaluated == 12


EDITED = """
import os, pathlib, sys
sys.path[:0] = {paths}
from benchmark import test_policy_returns as here
package = pathlib.Path({package!r})
assert pathlib.Path(here.tipl_bench.__file__).parent == package
for name in (None, None, "rl/evaluation.py", "rl/environments/pendulums.py", "utils/compilation.py"):
    if name:
        with (package / name).open("a") as source:
            source.write("# edited\\n")
    if os.fork() == 0:  # each reads the sources for itself, as processes of their own do
        print(here.returns(here.some_policies(2)).evaluated, flush=True)
        os._exit(0)
    os.wait()
"""


def test_when_the_code_that_evaluates_changes_then_nothing_of_the_former_code_is_found(policies, tmp_path):
    package = tmp_path / "edited" / "tipl_bench"
    shutil.copytree(
        Path(tipl_bench.__file__).parent,
        package,
        ignore=lambda folder, names: {*names} & {"tests", "docs", "leaderboard", "bundled", ".git", "build"},
    )
    program = EDITED.format(paths=[str(package.parent), str(Path(__file__).parents[1])], package=str(package))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["2", "0", "2", "2", "2"]


def test_while_another_process_holds_the_database_then_only_one_write_waits_for_it(policies, true, store, monkeypatch):
    returns(policies[0:1])
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.3)
    monkeypatch.setattr("tipl_bench.rl.evaluation.CHUNK_POLICIES", 1)
    holder = sqlite3.connect(store / "returns.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    tried = []
    insert = module._insert
    monkeypatch.setattr(module, "_insert", lambda *given: (tried.append(1), insert(*given)))
    with pytest.warns(CacheWarning, match="locked"):
        found = returns(policies)
    holder.close()
    assert (found.values.tolist(), found.evaluated, len(tried)) == (true, 11, 1)


def test_fresh_returns_are_evaluated_and_replace_what_the_store_says(policies, true):
    returns(policies)
    change("UPDATE returns SET value = 7.0")
    assert set(returns(policies).values) == {7.0}
    assert returns(policies, fresh=True).values.tolist() == true
    assert returns(policies).values.tolist() == true


@pytest.mark.parametrize("value", ["'much'", "9e999", "-9e999", "x'00'"])
def test_a_value_that_is_no_number_is_evaluated_again(value, policies, true):
    returns(policies)
    change(f"UPDATE returns SET value = {value}")
    assert returns(policies).values.tolist() == true
    assert returns(policies).evaluated == 0


def change(statement: str) -> None:
    with sqlite3.connect(cache_root() / "returns.sqlite") as connection:
        connection.execute(statement)
    connection.close()


def overwrite(path: Path) -> None:
    path.write_bytes(b"nothing of a database" * 1000)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribble(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def another_table(path: Path) -> None:
    change("DROP TABLE returns")
    change("CREATE TABLE returns (other)")


@pytest.mark.parametrize("damage", [overwrite, cut, scribble, another_table])
def test_a_damaged_database_is_set_aside_with_a_warning_and_begun_anew(damage, policies, true, store):
    returns(policies)
    damage(store / "returns.sqlite")
    with pytest.warns(CacheWarning, match=r"returns.sqlite is damaged .* was renamed returns.sqlite.damaged"):
        assert returns(policies).values.tolist() == true
    assert (store / "returns.sqlite.damaged").exists()
    assert returns(policies).evaluated == 0


def test_an_empty_file_is_filled(policies, store):
    store.mkdir()
    (store / "returns.sqlite").touch()
    assert returns(policies).evaluated == 12
    assert returns(policies).evaluated == 0


@pytest.mark.parametrize("kind", ["a file as the store", "a folder as the database"])
def test_a_store_that_cannot_be_written_costs_a_warning_and_no_return(kind, policies, true, store):
    store.write_text("") if kind == "a file as the store" else (store / "returns.sqlite").mkdir(parents=True)
    with pytest.warns(CacheWarning) as warned:
        found = [returns(policies) for _ in range(2)]
    assert [(one.values.tolist(), one.evaluated) for one in found] == [(true, 12)] * 2
    written = [str(one.message) for one in warned if "cannot be written" in str(one.message)]
    assert len(written) == 1
    assert f"The cache in {store} cannot be written" in written[0]
    assert "Set TIPL_BENCH_HOME to a folder that you can write." in written[0]


def test_a_read_only_database_is_read_and_what_it_lacks_is_evaluated(policies, true, public_store):
    returns(policies[0:8])
    with read_only(public_store), unprivileged(), pytest.warns(CacheWarning) as warned:
        found = [returns(policies) for _ in range(2)]
    assert [(one.values.tolist(), one.evaluated) for one in found] == [(true, 4)] * 2
    assert len(warned) == 1


def test_the_database_is_created_as_the_umask_says(policies, store):
    before = os.umask(0o002)
    try:
        returns(policies)
    finally:
        os.umask(before)
    assert stat.S_IMODE((store / "returns.sqlite").stat().st_mode) == 0o664


def test_an_environment_that_gymnasium_does_not_define_is_not_looked_up(policies):
    gymnasium.register("OwnPendulum-v0", lambda: gymnasium.make("InvertedPendulum-v4"), max_episode_steps=5)
    try:
        for _ in range(2):
            assert policy_returns("OwnPendulum-v0", LAYOUT, policies, SEEDS).evaluated == 12
    finally:
        gymnasium.registry.pop("OwnPendulum-v0")


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from benchmark import test_policy_returns as here
here.returns(here.some_policies(2000), progress=lambda done: print(done, flush=True))
"""


def started() -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    program = PROGRAM.format(tests=tests)
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def test_a_process_killed_while_it_evaluates_has_kept_what_it_had_evaluated(store):
    process = started()
    assert process.stdout
    reported = [int(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with sqlite3.connect(store / "returns.sqlite") as connection:
        (kept,) = connection.execute("SELECT count(*) FROM returns").fetchone()
    connection.close()
    assert kept >= reported[-1] > 0


def test_processes_that_evaluate_at_once_share_one_store(store):
    both = [started(), started()]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(output.split()[-1] == "2000" for output, _ in outputs)
    assert returns(some_policies(2000)).evaluated == 0


def test_the_sources_of_stored_returns_are_all_that_evaluation_imports_of_its_package():
    package, pending, seen = Path(module.rl.__file__).parent, ["evaluation.py"], set()
    while pending:
        name = pending.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((package / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module != "environments":
                pending += {f"{node.module}.py"} - seen
    assert {*module.EVALUATION} == seen
    for file in (package / "environments").glob("*.py"):
        imported = [
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
        ]
        assert not [node.module for node in imported if node.level == 2]
