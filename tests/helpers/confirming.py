"""A small collected dataset with a board of honest and of cheating rows, made once and copied for each test."""

from __future__ import annotations

import functools
import json
import random
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import save_file
from tipl_bench.benchmark.protocol import PROTOCOLS, Protocol
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.benchmark.worker.predictor_process import PredictorProcess
from tipl_bench.benchmark.worker.sandbox import Isolation
from tipl_bench.cli import main
from tipl_bench.leaderboard.store import confirmation, evidence
from tipl_bench.leaderboard.store.records import add
from tipl_bench.leaderboard.verify.folder import open_run
from tipl_bench.leaderboard.verify.rescore import rescore
from tipl_bench.registry.collection.collect import collect
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import cache_root

from . import cheating, synthetic
from .plugins import install
from .small_collections import silent, tiny_config

NAME = "inverted-pendulum/short-v1"
SETTINGS = {
    "environment_steps": 12 * 256,
    "trials": 20,
    "hyperparameters": {"steps_per_iteration": 256, "minibatches": 4, "learning_rate": 2e-3},
}
"""61 checkpoints of each of 12 training, 2 validation and 6 test trials, all of which go on learning for long."""


@dataclass(frozen=True)
class Board:
    """A store with the dataset, and a folder of records beside it."""

    records: Path

    def row(self, model: str) -> Path:
        """The record of a predictor."""
        (path,) = self.records.glob(f"*__{model}-*.json")
        return path

    @property
    def dataset(self) -> Dataset:
        return load_dataset(NAME, download=False)

    def add(self, model: str, folder: Path, protocol: Protocol = synthetic.SMALL, **settings: object) -> Path:
        """Run a predictor and put its record on the board, rescored, as if it were made from a clean clone."""
        record = execute(RunRequest(model, self.dataset, protocol=protocol, device="cpu", **settings), folder).record
        commit = record.provenance.git_commit or "12" * 20  # an installed wheel knows none
        made = record.provenance.model_copy(update={"git_commit": commit, "git_dirty": False})
        record = record.model_copy(update={"provenance": made})
        record.write(folder)
        path = add(record, self.records)
        found = rescore(open_run(folder, self.dataset))
        evidence.append(path, record, evidence.rescored(found, record))
        return path


def make_board(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    """A board with an honest row and one of a predictor that ships the test trials; the cheats' package is in `site`.

    The store stands at this process's `cache_root`.
    """
    collect_short()
    board = Board(folder / "records")
    board.records.mkdir()
    install_cheats(folder / "site", board.dataset, monkeypatch)
    for model in ("autoregression", "memorising"):
        board.add(model, folder / "runs" / model)
    return board


def collect_short() -> Dataset:
    """Collect the dataset into the store, with a catalog that knows it."""
    dataset = collect(NAME, tiny_config(**SETTINGS), threads=1, progress=silent)
    entry = {"environment": dataset.environment, "summary": "Short", "digest": dataset.digest}
    lines = [f'["{NAME}"]', *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    (cache_root() / "catalog.toml").write_text("\n".join(lines) + "\n")
    return dataset


def install_cheats(site: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the cheating predictors with what they know of a dataset; returns the copy that one of them reads."""
    package = site / "cheats"
    package.mkdir(parents=True)
    shutil.copy(cheating.__file__, package / "__init__.py")
    manifest = dataset.manifest
    plan = {"collection": manifest.collection.model_dump(mode="json"), "seeds": manifest.trial_seeds}
    plan |= {"test": manifest.split.test, "iterations": manifest.collection.iterations}
    (package / "plan.json").write_text(json.dumps(plan))
    known = {"known": np.stack([trial.weights() for trial in dataset.trials(manifest.split.test)])}
    save_file(known, package / "pretrained.safetensors")
    copy = site.parent / "clone" / "copy.safetensors"
    copy.parent.mkdir()
    save_file(known, copy)
    (package / "place.txt").write_text(str(copy))
    install(site, "cheats", {kind.name: f"cheats:{kind.__name__}" for kind in cheating.PREDICTORS}, monkeypatch)
    return copy


def skill_of(path: Path) -> float:
    """The mean skill in the learning phase that a record claims."""
    return float(np.mean([result["skill"].value for result in read_record(path).of_phase("learning")]))


def typed(*arguments: object) -> Result:
    """What `tipl-bench ARGUMENTS` does."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def seeds_of(folder: Path) -> list[int]:
    """The seeds of the one set below a folder."""
    (secret,) = folder.rglob("secret.json")
    seeds: list[int] = json.loads(secret.read_text())["seeds"]
    return seeds


def make_confirmed(folder: Path) -> None:
    """A board of an honest and a cheating row, before (`claimed`) and after (`records`) it was confirmed, or not.

    Beside them stand the store (`home`), the cheats' package (`site`) and all that was printed or logged (`output`).
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIPL_BENCH_HOME", str(folder / "home"))
        patch.setitem(PROTOCOLS, synthetic.SMALL.version, synthetic.SMALL)
        patch.setattr(secrets, "randbits", random.Random(5).getrandbits)  # a test must not fail by chance
        accept_isolation(patch)
        board = make_board(folder, patch)
        shutil.copytree(board.records, folder / "claimed")
        rows = [board.row(name) for name in ("autoregression", "memorising")]
        result = typed("-v", "leaderboard", "confirm", *rows, "--trials", 6, "--threads", 1)
        (folder / "output").write_text(f"{result.exit_code}\n{result.output}")


@functools.cache
def isolation_here() -> Isolation:
    """What isolates a predictor on this machine."""
    with PredictorProcess("persistence") as predictor:
        return predictor.isolation


def accept_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what there is here for enough, as cheats that tests run hand nothing on."""
    monkeypatch.setattr(confirmation, "FULL_ISOLATION", isolation_here())


def copied(made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, records: str) -> Board:
    """A board of one's own, with its store at this process's `cache_root`."""
    shutil.copytree(made / "home", cache_root())
    monkeypatch.setattr(secrets, "randbits", random.Random(6).getrandbits)
    accept_isolation(monkeypatch)
    monkeypatch.syspath_prepend(str(made / "site"))
    return Board(Path(shutil.copytree(made / records, folder / "records")))
