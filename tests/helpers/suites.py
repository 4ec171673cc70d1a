"""A small suite of both tracks, and its dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tipl_bench.benchmark.collection import collect_named
from tipl_bench.benchmark.record import read_record
from tipl_bench.benchmark.training.record import read_training_record
from tipl_bench.registry.dataset import Dataset

BOARD = "my-pendulum/tiny-v1"
CONFIG = """
environment = "InvertedPendulum-v4"
hidden_sizes = [3]
environment_steps = 512
trials = 3
hyperparameters = { steps_per_iteration = 64, minibatches = 2 }
"""
SUITE = """
summary = "Two predictors, two optimizers"

[[forecast]]
model = "autoregression"
datasets = ["my-pendulum/tiny-v1"]
seeds = [0, 1]

[[forecast]]
model = "MODEL"
datasets = ["my-pendulum/tiny-v1"]

[[training]]
environments = ["InvertedPendulum-v4"]
on = "tuning"
trials = 2
iterations = 1

[[training]]
environments = ["InvertedPendulum-v4"]
outer = ["outer-step"]
settings = ["outer-step.scale=3"]
on = "tuning"
trials = 2
iterations = 1
"""
NAMES = [
    "my-pendulum--tiny-v1/autoregression-quick-seed0-p2",
    "my-pendulum--tiny-v1/autoregression-quick-seed1-p2",
    "my-pendulum--tiny-v1/linear-quick-seed0-p2",
    "training/InvertedPendulum-v4/adam-tuning-trials2-iterations1",
    "training/InvertedPendulum-v4/adam+outer-step-outer-step.scale-3-tuning-trials2-iterations1",
]


def collect_board(folder: Path) -> Dataset:
    """A collected dataset of a second."""
    (folder / "config.toml").write_text(CONFIG)
    return collect_named(BOARD, folder / "config.toml", 1, lambda *_: None)


def suite_file(folder: Path, model: str = "linear") -> Path:
    """The suite's file."""
    path = folder / "mine.toml"
    path.write_text(SUITE.replace("MODEL", model))
    return path


def read_artifacts(folder: Path) -> dict[str, str]:
    """The sha256 of a run's forecasts or curves."""
    is_training = folder.parent.parent.name == "training"
    record = read_training_record(folder) if is_training else read_record(folder / "record.json")
    return record.artifacts


def assert_same_results(there: Path, here: Path, nodes: Iterable[Path], board: Dataset) -> None:
    """Runs on a cluster found what those of this machine did, and its nodes have the dataset that was handed over."""
    assert artifacts(there) == artifacts(here)
    assert len([*there.rglob("record.json")]) == len(NAMES)
    received = [node / "datasets" / BOARD for node in nodes]
    assert {Dataset.open(folder).digest for folder in received if folder.exists()} == {board.digest}


def artifacts(folder: Path) -> dict[str, dict[str, str]]:
    """What the suite's runs found, by task."""
    return {name: read_artifacts(folder / name) for name in NAMES}
