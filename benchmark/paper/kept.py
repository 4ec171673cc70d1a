"""What docs/reproduction.md shows, in files small enough to be kept beside it: it is written again from them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from ...registry.dataset import Dataset
from ...utils.files import replace_atomically, write_text
from ..run import Run

FACTS_NAME, PAPER_NAME, SUITE_NAME, ABLATION_NAME = "facts.json", "paper.parquet", "suite.parquet", "ablation.json"
COLUMNS = ["model", "trial", "origin", "horizon", "phase", "wpe", "return_true", "return_forecast", "repw"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(_Document):
    """What a section says of its dataset, and how its models were trained.

    `order` is the section's place on the page, `updates` the steps of the two TIPLs' training.
    """

    order: int
    dataset: str
    digest: str
    environment: str
    checkpoints: int
    test_trials: int
    budget: str
    updates: int
    protocol: int
    cpu: str
    packages: dict[str, str]


class AblationRun(_Document):
    """One run of the ablation: mean skill and REPW in the learning phase at each forward step."""

    options: tuple[str, ...]
    seed: int
    skill: tuple[float | None, ...]
    repw: tuple[float | None, ...]


class Ablation(_Document):
    """The runs of the ablation on one dataset."""

    dataset: str
    digest: str
    protocol: int
    budget: str
    runs: tuple[AblationRun, ...]


@dataclass(frozen=True)
class Shown:
    """What one section is made of: rows of the paper's presentation, and of the suite's runs in the learning phase."""

    facts: Facts
    paper: pd.DataFrame
    suite: pd.DataFrame


def keep_section(
    dataset: Dataset, order: int, rows: pd.DataFrame, runs: Mapping[str, Run], budget: str, updates: int, folder: Path
) -> None:
    """Write what a section is made of into its folder of `folder`.

    Parameters
    ----------
    dataset, order
        What is shown, and its place on the page.
    rows
        Of its presentation, `present`.
    runs
        Runs in the suite's protocol by model, persistence among them.
    budget, updates
        Of the TIPLs' training.
    folder
        The page's kept files.
    """
    place = folder / dataset.name.replace("/", "--")
    place.mkdir(parents=True, exist_ok=True)
    record = next(iter(runs.values())).record
    learning = [run.windows[run.windows["phase"] == "learning"].assign(model=model) for model, run in runs.items()]
    for name, frame in ((PAPER_NAME, rows), (SUITE_NAME, pd.concat(learning, ignore_index=True))):
        with replace_atomically(place / name) as temporary:
            frame[COLUMNS].to_parquet(temporary, index=False)
    facts = Facts(
        order=order,
        dataset=dataset.name,
        digest=dataset.digest,
        environment=dataset.environment,
        checkpoints=dataset.manifest.checkpoints,
        test_trials=len(dataset.manifest.split.test),
        budget=budget,
        updates=updates,
        protocol=record.key.protocol.version,
        cpu=record.provenance.cpu,
        packages=record.provenance.packages,
    )
    write_text(place / FACTS_NAME, facts.model_dump_json(indent=1) + "\n")


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
    return sorted(found, key=lambda shown: shown.facts.order)


def keep_ablation(ablation: Ablation, folder: Path) -> None:
    """Write the ablation's runs into a folder."""
    write_text(folder / ABLATION_NAME, ablation.model_dump_json(indent=1) + "\n")


def kept_ablation(folder: Path) -> Ablation | None:
    """The ablation's runs in a folder, if it has any."""
    path = folder / ABLATION_NAME
    return Ablation.model_validate_json(path.read_text("utf-8")) if path.exists() else None
