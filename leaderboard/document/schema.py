"""Schema of the leaderboard's document: what `leaderboard.json` holds, and all that tables and pages are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...benchmark.intervals import Estimate
from ...benchmark.protocol import Protocol
from ...benchmark.record import ReturnPair
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, reason
from ...utils.text import first_error

State = Literal["claimed", "rescored", "reproduced"]
Numbers = tuple[float | None, ...]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MetricInfo(_Model):
    """What a metric means and how tables show it.

    `direction` is None for a reference: every run on a board measures it alike, and it belongs to the board.
    """

    name: str
    label: str
    unit: str
    direction: Literal["higher", "lower"] | None
    digits: int
    averaged: bool
    """Whether its mean over horizons is reported; some metrics grow with the horizon."""
    beside: str | None
    """Of a reference, the metric that it is shown beside."""


class Series(_Model):
    """One metric of one row in one phase."""

    mean: Estimate | None
    """Mean over horizons; None for a metric that is not averaged."""
    by_horizon: tuple[Estimate, ...]


class ReferenceSeries(_Model):
    """One reference of a board in one phase: the median over its records."""

    mean: float | None
    by_horizon: Numbers


class BoardPhase(_Model):
    """What every run on a board has in common in one phase."""

    windows: int
    trials: int
    references: dict[str, ReferenceSeries]


class EnvironmentBoard(_Model):
    """One dataset under one protocol."""

    id: str
    dataset: str
    digest: str
    environment: str
    repo: str | None
    commit: str | None
    published: bool
    yanked: str | None
    superseded: str | None
    """What supersedes it: other bytes of the dataset, or a newer protocol's board; None while nothing does."""
    protocol: int
    trials: int
    ranked: bool
    headline: str
    """The phase that decides ranks."""
    phases: dict[str, BoardPhase]


class RowCost(_Model):
    """Cost of a row as its runs stated it: means over seeds, and the largest memory."""

    fit_seconds: float
    forecast_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int
    parameters: int


class RowProvenance(_Model):
    """Where and with what one seed of a row was run."""

    seed: int
    record: str
    commit: str | None
    dirty: bool | None
    forecasts_sha256: str | None
    cpu: str
    gpu: str | None
    threads: int
    isolation: str
    python: str
    platform: str
    packages: dict[str, str]


class Commands(_Model):
    """Shell commands that run, reproduce and verify each seed of a row."""

    run: tuple[str, ...]
    reproduce: tuple[str, ...]
    verify: tuple[str, ...]


class Comparison(_Model):
    """A row against another of its board."""

    row: str
    difference: Estimate
    win_rate: Estimate


class Row(_Model):
    """One configuration of a method on a board, its seeds together."""

    id: str
    board: str
    method: str
    version: int
    consumes: str
    budget: str
    variant: str
    """The options that differ from the budget's."""
    options: dict[str, bool | int | float | str | None]
    device: str
    state: State
    disputed: str | None
    reproduction: str | None
    """How its reproductions came out, and on what machines."""
    evidence: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]
    seed_skills: Numbers
    spread: float | None
    """Standard deviation of the skill over seeds."""
    cost: RowCost
    returns: tuple[ReturnPair, ...]
    provenance: tuple[RowProvenance, ...]
    commands: Commands
    greyed: str | None
    rank: int | None
    tied: tuple[str, ...]
    above_ceiling: bool
    """Whether its skill is significantly above the span ceiling."""
    phases: dict[str, dict[str, Series]]
    """By phase and name of the metric."""
    layers: dict[str, dict[str, Numbers]]
    """WPE by phase, parameter tensor and horizon."""
    comparisons: tuple[Comparison, ...]


class OverallRow(_Model):
    """A method across environments."""

    label: str
    method: str
    version: int
    consumes: str
    budget: str
    variant: str
    environments: tuple[str, ...]
    skill: Estimate
    rank: int | None
    tied: tuple[str, ...]
    rows: tuple[str, ...]
    state: State
    disputed: str | None


class Scope(_Model):
    """What the comparison across environments is of."""

    environments: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    resampled: Literal["trials", "environments"] | None = None


class LeaderboardDocument(_Model):
    """The whole leaderboard.

    Rows stand best first within their board, greyed ones last.
    """

    format: Literal[2] = 2
    version: str
    protocols: dict[str, Protocol]
    metrics: Annotated[tuple[MetricInfo, ...], Field(min_length=1)]
    """All metrics and references, in the order in which tables show them; the first is what rows are ranked by."""
    boards: tuple[EnvironmentBoard, ...]
    rows: tuple[Row, ...]
    overall: tuple[OverallRow, ...]
    scope: Scope

    @model_validator(mode="after")
    def _linked(self) -> Self:
        boards, rows = {board.id for board in self.boards}, {row.id for row in self.rows}
        for row in self.rows:
            if row.board not in boards:
                raise ValueError(f"row {row.id} is of a board that is not there")
            if not {*row.tied, *(other.row for other in row.comparisons)} <= rows:
                raise ValueError(f"row {row.id} names another row that is not there")
        for entry in self.overall:
            if not {*entry.rows} <= rows:
                raise ValueError(f"overall row {entry.label} names a row that is not there")
        return self

    @property
    def scores(self) -> tuple[MetricInfo, ...]:
        """The metrics of rows."""
        return tuple(metric for metric in self.metrics if metric.direction is not None)

    @property
    def references(self) -> tuple[MetricInfo, ...]:
        """The metrics of boards."""
        return tuple(metric for metric in self.metrics if metric.direction is None)

    def to_json(self) -> str:
        """Compact JSON on one line; the same document gives the same text."""
        return self.model_dump_json() + "\n"


def read_document(path: Path) -> LeaderboardDocument:
    """Read and validate `leaderboard.json`.

    Raises
    ------
    ProtocolError
        If it is missing, not JSON, or breaks the schema; the message says where.
    """
    try:
        return LeaderboardDocument.model_validate(strict_json(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ProtocolError(f"{path}: field {first_error(error)}. Build it with `leaderboard build`.") from None
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a readable leaderboard document ({reason(error)}).") from None
