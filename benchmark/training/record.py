"""The record of a training run: what acted on which trials, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ...utils.bootstrap import Float64
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError
from ...utils.fields import Count, Document, Finite, Seconds, Sha256, Slug, parse
from ...utils.files import write_text
from ..intervals import UNDEFINED, Estimate
from ..provenance import Provenance
from ..record import MAX_TRIALS, RECORD_LIMIT, RECORD_NAME, DatasetIdentity, Option, Status, read_document
from .metrics import METRICS
from .protocol import PROTOCOLS, TrainingProtocol

Split = Literal["test", "tuning"]


class RuleIdentity(Document):
    """An optimizer or an outer rule, exactly."""

    name: Slug
    """Its name."""
    version: Count
    """Raised when what it does changes."""
    options: Annotated[dict[Slug, Option], Field(max_length=100)]
    """All its settings; of a jump's predictor, its name alone."""
    predictor_version: Count | None = None
    """Of a jump: the version of its predictor."""
    state: Sha256 | None = None
    """The sha256 of the fitted state that a jump's predictor has, or of released weights; none where there are none."""
    fitted_on: DatasetIdentity | None = None
    """The dataset that the state was fitted on."""


class TrainingKey(Document):
    """What a training run is of: two runs of one key give the same curves."""

    protocol: TrainingProtocol
    """What the numbers mean, and on which environment."""
    optimizer: RuleIdentity
    """What makes the steps."""
    outer: Annotated[tuple[RuleIdentity, ...], Field(max_length=10)] = ()
    """Outer rules, in the order in which they act."""
    split: Split = "test"
    """The trials: of the table, or those to tune on."""
    trials: Annotated[int, Field(strict=True, ge=1, le=MAX_TRIALS)]
    """How many of these trials, from the first on."""
    iterations: Annotated[int, Field(strict=True, ge=1, le=10**6)]
    """PPO iterations that they trained."""

    @model_validator(mode="after")
    def _within(self) -> TrainingKey:
        if self.trials > len(self.protocol.seeds(self.split)) or self.iterations > self.protocol.iterations:
            raise ValueError("trials or iterations are more than the protocol has")
        return self

    @property
    def label(self) -> str:
        """The method with those of its settings that a reader needs: `adam learning_rate=0.0009 + outer-step`."""
        return " + ".join(_spell(one) for one in (self.optimizer, *self.outer))

    @property
    def scope(self) -> str:
        """What sets the run apart from a whole test run; empty for one."""
        whole = self.protocol
        parts = {
            "tuning trials": self.split == "tuning",
            f"{self.trials} of {whole.trials} trials": self.split == "test" and self.trials < whole.trials,
            f"{self.iterations} of {whole.iterations} iterations": self.iterations < whole.iterations,
        }
        return ", ".join(part for part, holds in parts.items() if holds)


def _spell(rule: RuleIdentity) -> str:
    from ...baselines.optimizers.lookup import settings_of  # a record of an unknown rule is still read
    from ...baselines.options import option_text

    try:
        usual = {name: info.default for name, info in settings_of(rule.name).items()}
    except Exception:  # an outside package's, not installed here
        usual = {}
    own = {name: option_text(value) for name, value in rule.options.items() if usual.get(name) != value}
    for name in ("predictor", "weights"):
        if rule.state is not None and name in own:
            own[name] += f"@{rule.state[:8]}"
    return " ".join([rule.name, *(f"{name}={value}" for name, value in own.items())])


class TrainingCost(Document):
    """What a run took; the only part that differs between two runs of one key."""

    training_seconds: Seconds
    """CPU seconds of training."""
    evaluation_seconds: Seconds
    """CPU seconds of evaluating J."""
    wall_seconds: Seconds
    """Seconds from the beginning to the end, of the last command alone if it was interrupted."""
    state_bytes: Count
    """What the optimizer and its outer rules remember of each trial."""


PerTrial = Annotated[tuple[Finite | None, ...], Field(max_length=MAX_TRIALS)]


class TrainingRecord(Document):
    """A training run, finished or failed."""

    format: Literal[2]
    """The format of records."""
    track: Literal["training"]
    """The track."""
    status: Status
    """Whether it finished."""
    key: TrainingKey
    """What was run."""
    estimates: Annotated[dict[Slug, Estimate], Field(max_length=50)] = Field(default_factory=dict)
    """By name of the metric, see `metrics.METRICS`."""
    by_trial: Annotated[dict[Slug, PerTrial], Field(max_length=50)] = Field(default_factory=dict)
    """The numbers of each trial that the metrics are computed from; none where undefined."""
    diverged: Count = 0
    """Trials whose weights became infinite or undefined."""
    artifacts: Annotated[dict[Slug, Sha256], Field(max_length=20)] = Field(default_factory=dict)
    """The sha256 of the curves."""
    provenance: Provenance
    """Where and with what it was made."""
    cost: TrainingCost
    """What it took."""

    @model_validator(mode="after")
    def _complete(self) -> TrainingRecord:
        failed = self.status.state == "failed"
        if failed and (self.estimates or self.by_trial or self.artifacts):
            raise ValueError("a failed run has no estimates, by_trial or artifacts")
        if not failed:
            if missing := [metric.name for metric in METRICS if metric.name not in self.estimates]:
                raise ValueError(f"estimates.{missing[0]} is missing")
            if missing := [metric.column for metric in METRICS if metric.column not in self.by_trial]:
                raise ValueError(f"by_trial.{missing[0]} is missing")
            if "curves" not in self.artifacts:
                raise ValueError("artifacts.curves is missing")
        for name, values in self.by_trial.items():
            if len(values) != self.key.trials:
                raise ValueError(f"by_trial.{name} has {len(values)} numbers for {self.key.trials} trials")
        return self

    def __getitem__(self, name: str) -> Estimate:
        """A metric's estimate; undefined if the record does not have it."""
        return self.estimates.get(name, UNDEFINED)

    @property
    def columns(self) -> dict[str, Float64]:
        """`by_trial` as arrays, NaN where undefined."""
        return {name: np.array(values, dtype=np.float64) for name, values in self.by_trial.items()}

    @property
    def seeds(self) -> range:
        """The trials' seeds."""
        return self.key.protocol.seeds(self.key.split)[: self.key.trials]

    def write(self, folder: Path) -> None:
        """Write `record.json` atomically."""
        write_text(folder / RECORD_NAME, self.model_dump_json(indent=1) + "\n")


def as_rows(columns: Mapping[str, Float64]) -> dict[str, tuple[float | None, ...]]:
    """Columns [N] as a record holds them."""
    return {name: tuple(float(v) if np.isfinite(v) else None for v in values) for name, values in columns.items()}


def is_training_record(path: Path) -> bool:
    """Whether a record file, or that of a run folder, is of the training track; False where that cannot be read."""
    file = path / RECORD_NAME if path.is_dir() else path
    if file.is_symlink() or not file.is_file() or file.stat().st_size > RECORD_LIMIT:
        return False
    try:
        document: Any = strict_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("track") == "training"


def read_training_record(path: Path) -> TrainingRecord:
    """Read and validate a record file, or that of a run folder; raises `ProtocolError` for one that is not valid."""
    file = path / RECORD_NAME if path.is_dir() else path
    record = read_document(file, "training", partial(parse, TrainingRecord))
    stated = record.key.protocol
    if PROTOCOLS.get(stated.environment) != stated:
        raise ProtocolError(
            f"{file}: its protocol (version {stated.version}, {stated.environment}) is not one of this package's; such "
            "a run cannot be compared."
        )
    return record
