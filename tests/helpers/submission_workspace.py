"""One good, finished run of a toy, and what a stranger may do to its files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file
from tipl_bench.benchmark.forecast.reference_returns import reference_returns
from tipl_bench.benchmark.forecast.scoring import forecast_returns, sample_returns, score, window_rows
from tipl_bench.benchmark.forecast.windows import evaluation_windows
from tipl_bench.benchmark.record import Record, read_record
from tipl_bench.benchmark.request import RunRequest
from tipl_bench.benchmark.run import execute
from tipl_bench.cli import main
from tipl_bench.leaderboard.store.evidence import fingerprint
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.loading import load_dataset
from tipl_bench.registry.locations import cache_root
from tipl_bench.registry.store import dataset_folder

from helpers import synthetic

NAME = "toy-pendulum/synthetic-v1"
COMMIT = "12" * 20
"""Stands in a record that is made by an installed wheel, which knows no commits."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SubmissionWorkspace:
    """A maintainer's machine: a store with the toy in its catalog, a board with one row, and a submission.

    Parameters
    ----------
    submission
        The folder that came in; it holds the run folder `run`.
    records
        The board's records.
    """

    submission: Path
    records: Path

    @property
    def run(self) -> Path:
        return self.submission / "run"

    @property
    def dataset(self) -> Dataset:
        return load_dataset(NAME, download=False)

    @property
    def record(self) -> Record:
        return read_record(self.run / "record.json")

    def typed(self, *arguments: object) -> Result:
        """What `tipl-bench ARGUMENTS` does."""
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    def check(self, submission: object = None, *options: object) -> Result:
        """What `leaderboard check` does with the submission."""
        return self.typed("leaderboard", "check", submission or self.submission, "--records", self.records, *options)

    def board(self) -> dict[str, str]:
        """The sha256 of every file of the board."""
        files = (path for path in sorted(self.records.rglob("*")) if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    # What a stranger may do.

    def edit(self, *place: str | int, to: Any) -> None:
        """Change one place of the record's JSON."""
        record = json.loads(self.text())
        put(record, place, to)
        self.write(json.dumps(record))

    def as_guest(self) -> None:
        """Put the run under the name of a predictor that nobody here has."""
        self.edit("key", "method", "name", to="guest")
        self.state_code()

    def state_code(self) -> None:
        """State a package and a file of the predictor."""
        code = {"distribution": "guest", "version": "1.0", "files": {"guest.py": "0" * 64}}
        self.edit("provenance", "code", to=code)

    def text(self) -> str:
        return (self.run / "record.json").read_text()

    def write(self, text: str) -> None:
        (self.run / "record.json").write_text(text)

    def forecasts(self) -> dict[str, Array]:
        return load_file(self.run / "forecasts.safetensors")

    def forge(self, rescored: bool = False, **tensors: Array) -> None:
        """Put other tensors into the forecasts, and their sha256 into the record; and their scores, if asked to."""
        save_file(self.forecasts() | tensors, self.run / "forecasts.safetensors")
        self.fix_digest()
        if rescored:
            self.score_honestly()

    def raw_forecasts(self, content: bytes) -> None:
        """Put any bytes in the forecasts' place, and their sha256 into the record."""
        (self.run / "forecasts.safetensors").write_bytes(content)
        self.fix_digest()

    def fix_digest(self) -> None:
        content = (self.run / "forecasts.safetensors").read_bytes()
        self.edit("artifacts", "forecasts", to=hashlib.sha256(content).hexdigest())

    def score_honestly(self, dataset: Dataset | None = None) -> None:
        """Write into the record, and over `windows.parquet`, what the forecasts really score."""
        dataset, record = dataset or self.dataset, self.record
        protocol = record.key.protocol
        windows, forecasts = evaluation_windows(dataset, protocol), self.forecasts()["forecasts"]
        returns = forecast_returns(dataset, windows, forecasts, protocol).values
        rows = window_rows(dataset, windows, forecasts, returns, reference_returns(dataset, protocol), protocol)
        rows.to_parquet(self.run / "windows.parquet", index=False)
        recomputed = {"results": score(rows, protocol), "returns": sample_returns(rows)}
        record.model_copy(update=recomputed).write(self.run)

    def targets(self) -> Array:
        """The true weights that were to be forecast, [W, H, P]."""
        dataset, protocol = self.dataset, self.record.key.protocol
        return np.stack(
            [
                dataset.trial(w.trial).weights(w.origin + 1, w.origin + 1 + protocol.horizon)
                for w in evaluation_windows(dataset, protocol)
            ]
        )

    def persisted(self) -> Array:
        """Persistence's forecasts, [W, H, P]."""
        dataset, protocol = self.dataset, self.record.key.protocol
        origins = [
            dataset.trial(w.trial).weights(w.origin, w.origin + 1) for w in evaluation_windows(dataset, protocol)
        ]
        return np.repeat(np.stack(origins), protocol.horizon, axis=1)


def put(record: Any, place: tuple[str | int, ...], value: Any) -> None:
    """Change one place of nested JSON."""
    for part in place[:-1]:
        record = record[part]
    record[place[-1]] = value


def leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every place of nested JSON that holds no object and no list."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        yield place, value
        return
    for name, item in inside:
        yield from leaves(item, (*place, name))


def make_workspace(folder: Path) -> None:
    """Collect the toy into the store, run a predictor on it, and lay out a board with one other row."""
    dataset = synthetic.smooth_dataset(dataset_folder(NAME))
    write_catalog(digest=dataset.digest)
    target = folder / "submission" / "run"
    record = execute(RunRequest("linear", dataset, protocol=synthetic.SMALL, device="cpu"), target).record
    made = {"git_commit": record.provenance.git_commit or COMMIT, "git_dirty": False, "isolation": "landlock"}
    record = record.model_copy(update={"provenance": record.provenance.model_copy(update=made)})
    record.write(target)
    board = folder / "records"
    board.mkdir()
    another = record.key.method.model_copy(update={"options": {"points": 3, "damping": 1.0}})
    worse = [
        result.model_copy(update={"by_trial": {n: _times(2, s) for n, s in result.by_trial.items()}})
        for result in record.results
    ]
    key = record.key.model_copy(update={"seed": 2, "method": another})
    other = record.model_copy(update={"key": key, "results": tuple(worse)})
    (board / "other__seed2.json").write_text(other.model_dump_json() + "\n")
    (board / "evidence").mkdir()
    evidence = {"kind": "rescored", "record": fingerprint(other), "text": "t", "tipl_bench": "0", "git_commit": None}
    evidence |= {"cpu": "c", "platform": "p"}
    (board / "evidence" / "other__seed2.json").write_text(json.dumps([evidence]))


def _times(factor: float, sums: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(factor * value for value in sums)


def copy_workspace(made: Path, folder: Path) -> SubmissionWorkspace:
    """A workspace of one's own, with its store at this process's `cache_root`."""
    shutil.copytree(made / "home", cache_root(), dirs_exist_ok=True)
    for name in ("submission", "records"):
        shutil.copytree(made / name, folder / name)
    return SubmissionWorkspace(folder / "submission", folder / "records")


def write_catalog(**facts: Any) -> None:
    """Write this machine's own catalog, with the toy in it."""
    entry = {"environment": synthetic.PENDULUM, "summary": "A toy"} | facts
    lines = [f'["{NAME}"]', *(f"{key} = {json.dumps(value)}" for key, value in entry.items())]
    cache_root().mkdir(parents=True, exist_ok=True)
    (cache_root() / "catalog.toml").write_text("\n".join(lines) + "\n")
