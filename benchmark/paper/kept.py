"""What is kept of runs: docs/reproduction.md is written from these files alone, small enough to be kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...utils.errors import DatasetError
from ...utils.fields import Document
from ...utils.files import replace_atomically, write_text
from ..record import RECORD_NAME, Record, read_record
from ..run import Run
from .presentation import Presentation

FACTS_NAME, PAPER_NAME, SUITE_NAME, ABLATION_NAME = "facts.json", "paper.parquet", "suite.parquet", "ablation.json"
COLUMNS = ["model", "trial", "origin", "horizon", "phase", "wpe", "return_true", "return_forecast", "repw"]


class Facts(Document):
    """What a section says of its dataset, and how its models were trained.

    `place` is the section's on the page, `windows` the origins of each trial in the paper's presentation, `updates` the
    steps of the two TIPLs' training, and `processor` what the suite's runs were made on, a GPU where one was used.
    """

    place: int
    dataset: str
    digest: str
    environment: str
    checkpoints: int
    test_trials: int
    windows: int
    budget: str
    updates: int
    protocol: int
    processor: str


class AblationRun(Document):
    """One run of the ablation: mean skill and REPW in the learning phase at each forward step."""

    options: tuple[str, ...]
    seed: int
    skill: tuple[float | None, ...]
    repw: tuple[float | None, ...]


class Ablation(Document):
    """The runs of the ablation on one dataset."""

    dataset: str
    digest: str
    protocol: int
    budget: str
    runs: tuple[AblationRun, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(sorted({run.seed for run in self.runs}))


@dataclass(frozen=True)
class Shown:
    """What one section is made of: rows of the paper's presentation, and of the suite's runs in the learning phase."""

    facts: Facts
    paper: pd.DataFrame
    suite: pd.DataFrame


def keep_section(presentation: Presentation, rows: pd.DataFrame, runs: Mapping[str, Run], folder: Path) -> None:
    """Write what a section is made of into its folder of `folder`, in place of what is there of the same dataset.

    Parameters
    ----------
    presentation, rows
        What is presented, and `present` of it.
    runs
        Runs in the suite's protocol by model, persistence among them.
    folder
        The page's kept files. A section that is new there comes last on the page.
    """
    dataset, places = presentation.dataset, {one.facts.dataset: one.facts.place for one in kept_sections(folder)}
    own = folder / dataset.name.replace("/", "--")
    own.mkdir(parents=True, exist_ok=True)
    record = next(iter(runs.values())).record
    learning = [run.windows[run.windows["phase"] == "learning"].assign(model=model) for model, run in runs.items()]
    for name, frame in ((PAPER_NAME, rows), (SUITE_NAME, pd.concat(learning, ignore_index=True))):
        with replace_atomically(own / name) as temporary:
            frame[COLUMNS].to_parquet(temporary, index=False)
    facts = Facts(
        place=places.get(dataset.name, max(places.values(), default=0) + 1),
        dataset=dataset.name,
        digest=dataset.digest,
        environment=dataset.environment,
        checkpoints=dataset.manifest.checkpoints,
        test_trials=len(dataset.manifest.split.test),
        windows=presentation.windows,
        budget=presentation.budget,
        updates=presentation.options().steps,
        protocol=record.key.protocol.version,
        processor=record.provenance.gpu or record.provenance.cpu,
    )
    write_text(own / FACTS_NAME, facts.model_dump_json(indent=1) + "\n")


def kept_sections(folder: Path) -> list[Shown]:
    """The sections of a folder, in the page's order."""
    found = [
        Shown(
            Facts.model_validate_json(path.read_text("utf-8")),
            pd.read_parquet(path.with_name(PAPER_NAME)),
            pd.read_parquet(path.with_name(SUITE_NAME)),
        )
        for path in folder.glob(f"*/{FACTS_NAME}")
    ]
    return sorted(found, key=lambda shown: shown.facts.place)


def keep_ablation(ablation: Ablation, folder: Path) -> None:
    """Write the ablation's runs into a folder, beside those of other seeds and options that are kept there.

    Raises
    ------
    DatasetError
        If the folder keeps runs of another dataset, protocol or budget.
    """
    if kept := kept_ablation(folder):
        if kept.model_copy(update={"runs": ablation.runs}) != ablation:
            raise DatasetError(
                f"{folder / ABLATION_NAME} keeps the ablation of {kept.dataset} with budget {kept.budget}; choose "
                "another folder, or remove the file."
            )
        made = {(run.options, run.seed) for run in ablation.runs}
        others = [run for run in kept.runs if (run.options, run.seed) not in made]
        ablation = ablation.model_copy(update={"runs": (*others, *ablation.runs)})
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ABLATION_NAME, ablation.model_dump_json(indent=1) + "\n")


def kept_ablation(folder: Path) -> Ablation | None:
    """The ablation's runs in a folder, if it has any."""
    path = folder / ABLATION_NAME
    return Ablation.model_validate_json(path.read_text("utf-8")) if path.exists() else None


def record_in(folder: Path) -> Record | None:
    """The record of the run in a folder; None if there is none, or it failed and is to be tried again."""
    path = folder / RECORD_NAME
    record = read_record(path) if path.exists() else None
    return None if record is None or record.failed else record
