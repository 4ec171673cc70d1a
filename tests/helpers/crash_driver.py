"""Collections that die: run as a program by `test_interruption.py`, which judges what it prints as JSON.

Every collection runs in a forked child, so that it can be killed for real at a chosen moment and cost no new start of
Python. A child's moments are its file operations: an audit hook sees each one just before it is carried out.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

from tipl_bench.registry.collection import collect as collecting
from tipl_bench.registry.collection.block import collect_block
from tipl_bench.registry.store import dataset_folder
from tipl_bench.utils.errors import DatasetError

from helpers.small_collections import TINY, contents, silent, tiny_config

# Two blocks (the network is so wide that two trials fill one), and a snapshot after every iteration.
CONFIG = tiny_config(
    hidden_sizes=(2700,),
    environment_steps=32,
    trials=3,
    hyperparameters={"steps_per_iteration": 16, "minibatches": 1, "epochs": 2},
)
LONG = tiny_config(environment_steps=8192)
CHANGES = ("os.rename", "os.remove", "open")


def collect(config=CONFIG, progress=silent, snapshot_seconds=0.0):
    collecting.collect_block = functools.partial(collect_block, snapshot_seconds=snapshot_seconds)
    return collecting.collect(TINY, config, threads=1, progress=progress)


def in_child(home, work, until=None):
    """Fork, run `work()` on the store `home`, and tell how it went; `until(pid)` may kill the child meanwhile."""
    answer, pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.environ["TIPL_BENCH_HOME"] = str(home)
        try:
            result = {"done": work()}
        except DatasetError as error:
            result = {"refused": str(error)}
        except BaseException as error:
            result = {"raised": type(error).__name__}
        os.write(pipe, json.dumps(result).encode())
        os._exit(0)
    os.close(pipe)
    if until:
        until(pid)
    with os.fdopen(answer, "rb") as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(text) if text else {"killed": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None}


def changes(home, event, arguments):
    """What an audited operation is about to change in the store, or None; locks aside, which it lets go when done."""
    if event not in CHANGES or (event == "open" and not arguments[2] & os.O_CREAT):
        return None
    path = str(arguments[1] if event == "os.rename" else arguments[0])
    if not path.startswith(str(home)) or path.startswith(f"{home}/locks"):
        return None
    return f"{event} {path.removeprefix(str(home))}"


def dying_at(home, moment, config=CONFIG):
    """Collect, and be killed by SIGKILL just before the store's change number `moment`."""
    seen = []

    def watch(event, arguments):
        if change := changes(home, event, arguments):
            seen.append(change)
            if len(seen) == moment:
                Path(f"{home}.last").write_text(change)
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    collect(config)
    return seen


def stored(home):
    """What stands under the dataset's name in a store."""
    os.environ["TIPL_BENCH_HOME"] = str(home)
    return contents(dataset_folder(TINY))


@functools.cache
def whole(folder, config=CONFIG):
    """The files of a collection that nobody interrupted."""
    home = folder / f"whole-{config.first_seed}-{config.environment_steps}"
    assert in_child(home, lambda: bool(collect(config)))["done"]
    return stored(home)


def every_moment(folder):
    """Kill a collection at each of its changes in turn; continue it, and try to continue it as something else."""
    expected, other = whole(folder), CONFIG.model_copy(update={"first_seed": 101})
    expected_other = whole(folder, other)
    moments = len(in_child(folder / "count", lambda: dying_at(folder / "count", None))["done"])
    results = []
    for moment in range(1, moments + 1):
        home, elsewhere = folder / f"killed-{moment}", folder / f"other-{moment}"
        death = in_child(home, lambda home=home, moment=moment: dying_at(home, moment))
        shutil.copytree(home, elsewhere) if home.exists() else elsewhere.mkdir()
        relabelled = in_child(elsewhere, lambda: bool(collect(other)))
        resumed = in_child(home, lambda: bool(collect()))
        results.append(
            {
                "before": Path(f"{home}.last").read_text(),
                "death": death,
                "resumed": resumed,
                "listed_files_equal": expected.items() <= stored(home).items(),
                "strays": sorted(stored(home).keys() - expected.keys()),
                "relabelled": relabelled,
                "relabelled_lies": "done" in relabelled and not expected_other.items() <= stored(elsewhere).items(),
            }
        )
        shutil.rmtree(home)
        shutil.rmtree(elsewhere)
    return results


def middle_of_a_block(folder):
    """Kill a block between two iterations, then continue it and tell with which iteration it went on."""
    home = folder / "middle"

    def die(stage, done, total, word):
        if 3 * done >= total:
            os.kill(os.getpid(), signal.SIGKILL)

    def go_on():
        reports = []
        collect(LONG, progress=lambda *report: reports.append(report[1:3]))
        return reports

    death = in_child(home, lambda: bool(collect(LONG, progress=die)))
    return {"death": death, "reports": in_child(home, go_on).get("done"), "equal": stored(home) == whole(folder, LONG)}


def random_moments(folder):
    """Kill a collection again and again, wherever it happens to be, then let it finish."""
    home, deaths = folder / "random", 0
    for attempt in range(40):

        def kill(pid, delay=0.05 + 0.8 * ((attempt * 0.618) % 1)):
            time.sleep(delay)
            os.kill(pid, signal.SIGKILL)

        outcome = in_child(home, lambda: bool(collect(LONG, snapshot_seconds=0.1)), kill)
        deaths += "killed" in outcome
        if "done" in outcome:
            break
    last = in_child(home, lambda: bool(collect(LONG)))
    return {"deaths": deaths, "last": last, "lost": sorted(whole(folder, LONG).items() - stored(home).items())}


def two_at_once(folder):
    """Collect while another process does; then kill the other one and collect again."""
    home, answers = folder / "shared", {}
    ready, tell = os.pipe()

    def hold(*_):
        os.write(tell, b"!")
        time.sleep(120)

    def meanwhile(pid):
        os.read(ready, 1)
        answers["second"] = in_child(home, lambda: bool(collect()))
        os.kill(pid, signal.SIGKILL)

    answers["first"] = in_child(home, lambda: bool(collect(progress=hold)), meanwhile)
    answers["third"] = in_child(home, lambda: bool(collect()))
    return answers | {"equal": stored(home) == whole(folder)}


def full_disk(folder):
    """Collect where no file may grow beyond a limit, too low for a trial or for a snapshot; then without the limit."""
    answers = {}
    for what, limit in (("trial", 100_000), ("snapshot", 500_000)):
        home = folder / f"full-{what}"

        def limited(limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return bool(collect())

        under_limit, left = in_child(home, limited), stored(home)
        after = in_child(home, lambda: bool(collect()))
        answers[what] = {"limited": under_limit, "left": left, "after": after, "equal": stored(home) == whole(folder)}
    return answers


def main(folder, *scenarios):
    os.environ["TIPL_BENCH_HOME"] = str(folder / "warm")
    collect()  # loads and compiles everything once, for all the children
    sys.stdout.write(json.dumps({scenario: globals()[scenario](folder) for scenario in scenarios}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
