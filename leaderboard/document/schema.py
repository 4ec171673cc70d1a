"""Schema of the leaderboard's document: what `leaderboard.json` holds, and all that tables and pages are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ...baselines.plugins.sources import MethodCode
from ...benchmark.intervals import Estimate
from ...benchmark.protocol import Protocol
from ...benchmark.record import ReturnPair
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, reason
from ...utils.fields import Document, later
from ...utils.text import first_error
from ..store.evidence import State
from .comparison_schema import BoardRanking, Comparison, OverallComparison, Place

STATES: dict[State, str] = {
    "not confirmed": "significantly worse on fresh trials, collected in secret, than on the public test trials",
    "claimed": "as its submitter measured it",
    "rescored": "scored again from its forecasts",
    "reproduced": "run again from its record, bitwise the same or within tolerance",
    "confirmed": "run on fresh trials, collected in secret, and not significantly worse there",
}
"""How far a row was checked, from least to most."""
DOCUMENT_FORMAT: Literal[4] = 4
"""Raised when fields of `leaderboard.json` or columns of `leaderboard.parquet` and `.csv` change."""
Numbers = tuple[float | None, ...]


class MetricInfo(Document):
    """What a metric means and how tables show it.

    `direction` is None for a reference: every run on a board measures it alike, and it belongs to the board.
    """

    name: str
    """Its key, and its column in tables."""
    label: str
    """What people read."""
    unit: str
    """"share", "squared weight" or "return"."""
    direction: Literal["higher", "lower"] | None
    """Whether higher or lower is better; None for a reference."""
    digits: int
    """Decimals that tables show."""
    averaged: bool
    """Whether its mean over horizons is reported; some metrics grow with the horizon."""
    beside: str | None
    """Of a reference, the metric that it is shown beside."""


class Series(Document):
    """One metric of one row in one phase."""

    mean: Estimate | None
    """Mean over horizons; None for a metric that is not averaged."""
    by_horizon: tuple[Estimate, ...]
    """One checkpoint ahead to H ahead."""


class ReferenceSeries(Document):
    """One reference of a board in one phase: the median over its records, or its branching ceiling if known."""

    mean: float | None
    """Mean over horizons."""
    by_horizon: Numbers
    """One checkpoint ahead to H ahead."""
    interval: Estimate | None = later(None)
    """The mean with its interval, of a reference that is no record's."""


class PositionSeries(Document):
    """One metric at each position within the PPO iteration, from its first checkpoint to its last."""

    mean: Numbers
    """By position, the mean over horizons."""
    by_horizon: tuple[Numbers, ...]
    """One checkpoint ahead to H ahead, each by position."""


class BoardPhase(Document):
    """What every run on a board has in common in one phase."""

    windows: int
    """Windows that every run forecasts."""
    trials: int
    """Test trials that they are of."""
    references: dict[str, ReferenceSeries]
    """By name of the reference."""
    positions: dict[str, PositionSeries]
    """References by position within the PPO iteration, by name; of protocols whose origins are stratified by that."""


class EnvironmentBoard(Document):
    """One dataset under one protocol."""

    id: str
    """Dataset, the start of its first digest, protocol."""
    dataset: str
    """The dataset's name."""
    digest: str
    """The dataset's first digest, which says which bytes it is."""
    environment: str
    """The Gymnasium environment."""
    repo: str | None
    """The dataset's repository on the Hub."""
    commit: str | None
    """The commit of that repository."""
    published: bool
    """Whether others can get the dataset: with the package, or from the Hub."""
    yanked: str | None
    """Why the dataset was withdrawn; None if it was not."""
    superseded: str | None
    """What supersedes it: other bytes of the dataset, or a newer protocol's board; None while nothing does."""
    protocol: int
    """The protocol's version."""
    trials: int
    """Test trials."""
    ranked: bool
    """Whether there are enough test trials to rank rows."""
    ranking: BoardRanking
    """How its rows are ranked."""
    headline: str
    """The phase that decides ranks."""
    phases: dict[str, BoardPhase]
    """By name: learning, converged and all, as far as its runs have them."""
    trial_errors: Numbers = later(())
    """WPE of persistence on each test trial: mean over windows and horizons of the headline phase."""
    continuations: int | None = later(None)
    """Continuations of each window that its branching ceiling is measured with; None where that is not known."""


class RowCost(Document):
    """Cost of a row as its runs stated it: means over seeds, and the largest memory."""

    fit_seconds: float
    """Seconds of fitting."""
    forecast_seconds: float
    """Seconds of forecasting."""
    evaluation_seconds: float
    """Seconds of evaluating returns."""
    peak_memory_bytes: int
    """The largest resident memory."""
    parameters: int
    """Learned parameters."""


class RowProvenance(Document):
    """Where and with what one seed of a row was run."""

    seed: int
    """The predictor's seed."""
    record: str
    """The record's file."""
    commit: str | None
    """The commit of tipl-bench that made it; None where that is unknown."""
    dirty: bool | None
    """Whether the code differed from that commit."""
    forecasts_sha256: str | None
    """The sha256 of the forecasts that it was scored from."""
    cpu: str
    """The processor."""
    gpu: str | None
    """The GPU, if one was used."""
    threads: int
    """Threads of torch."""
    isolation: str
    """What kept the predictor from the held-out trials while it ran."""
    python: str
    """Python's version."""
    platform: str
    """The operating system."""
    packages: dict[str, str]
    """Versions of the packages that numbers depend on."""
    validation_runs: int | None = None
    """Validation runs of the method before it that its store knew of; None where that is unknown."""
    code: MethodCode | None = None
    """The package that the method is from, where it is none of this package."""


class Commands(Document):
    """Shell commands that run, reproduce and verify each seed of a row."""

    run: tuple[str, ...]
    """Run it."""
    reproduce: tuple[str, ...]
    """Run it again from its record, and compare."""
    verify: tuple[str, ...]
    """Score the forecasts of a run folder again."""


class Row(Document):
    """One configuration of a method on a board, its seeds together."""

    id: str
    """A slug that stays when the board is built again."""
    board: str
    """Its board."""
    method: str
    """The predictor."""
    version: int
    """The predictor's version, raised when its forecasts change."""
    consumes: str
    """Its information class."""
    budget: str
    """The named amount of training."""
    variant: str
    """The options that differ from the budget's, and what it was fitted on if not the board's dataset."""
    options: dict[str, bool | int | float | str | None]
    """All options of the predictor."""
    device: str
    """The kind of device: cpu or cuda."""
    forecasts_normaliser: bool = later(False)
    """Whether its forecasts act with a normaliser that it forecast too, not with the origin's."""
    state: State
    """How far it was checked, at the least of its seeds."""
    disputed: str | None
    """Why it is disputed; None if it is not."""
    reproduction: str | None
    """How its reproductions came out, and on what machines."""
    confirmation: str | None = later(None)
    """What its predictor's runs on fresh trials found."""
    fresh_skill: Estimate | None = later(None)
    """Mean skill on fresh trials: means over seeds of the values and of their bounds."""
    evidence: tuple[dict[str, Any], ...]
    """What was done with each seed's record, and where."""
    seeds: tuple[int, ...]
    """The predictor's seeds; a whole row has 0, 1 and 2."""
    seed_skills: Numbers
    """Each seed's mean skill."""
    spread: float | None
    """Standard deviation of the skill over seeds; None for one seed, which shows none."""
    cost: RowCost
    """Its cost."""
    returns: tuple[ReturnPair, ...]
    """A sample of true and forecast returns, of the first seed."""
    provenance: tuple[RowProvenance, ...]
    """One per seed."""
    commands: Commands
    """One per seed."""
    greyed: str | None
    """Why it is not ranked, or not any more; None if it is."""
    rank: int | None
    """One more than the rows of its information class that are better by skill, see the board's `ranking`."""
    tied: tuple[str, ...]
    """The rows of its class that are not told apart from it by skill."""
    ranks: dict[str, Place]
    """Where it stands by the other metrics that the board is ranked by."""
    above_ceiling: bool
    """Whether its skill is significantly above the span ceiling."""
    branching_share: Estimate | None = later(None)
    """Its mean skill divided by the branching ceiling's mean, on the same test trials; None where that is not known."""
    phases: dict[str, dict[str, Series]]
    """By phase and name of the metric."""
    positions: dict[str, dict[str, PositionSeries]]
    """By phase and name of the metric, by position within the PPO iteration; of protocols stratified by that."""
    trial_errors: Numbers = later(())
    """Its WPE on each test trial, in the board's order: mean over windows, horizons and seeds of the headline phase."""
    layers: dict[str, dict[str, Numbers]]
    """WPE by phase, parameter tensor and horizon."""
    comparisons: tuple[Comparison, ...]
    """Against every other row of the board."""


class OverallRow(Document):
    """A method across environments."""

    label: str
    """What people read."""
    method: str
    """The predictor."""
    version: int
    """Its version."""
    consumes: str
    """Its information class."""
    budget: str
    """The named amount of training."""
    variant: str
    """The options that differ from the budget's, and what it was fitted on if not the board's dataset."""
    environments: tuple[str, ...]
    """The environments that it is compared in."""
    skill: Estimate
    """Mean skill over them."""
    share: Estimate | None
    """Mean over them of the share of the span ceiling; None where some records have no sums of it."""
    branching_share: Estimate | None = later(None)
    """Mean over them of the share of the branching ceiling; None where one of them has no such ceiling."""
    error_ratio: Estimate
    """Geometric mean over them of WPE / WPE of persistence: no environment counts more for its scale."""
    rank: int | None
    """As on a board."""
    tied: tuple[str, ...]
    """The labels of overall rows that it is not told apart from."""
    comparisons: tuple[OverallComparison, ...]
    """Against every other one."""
    rows: tuple[str, ...]
    """Its rows, one per environment."""
    state: State
    """The lowest of its rows' states."""
    disputed: str | None
    """What disputes any of its rows."""


class Overall(Document):
    """The comparison across environments under one protocol."""

    protocol: int
    """The version of the protocol of its boards."""
    environments: tuple[str, ...]
    """What methods are compared in."""
    left_out: tuple[str, ...]
    """Environments that share no two predictors with those."""
    resampled: Literal["trials", "environments"]
    """What its intervals take for the sample."""
    ranking: BoardRanking
    """How its rows are ranked: by mean skill, as rows of these boards are by theirs."""
    rows: tuple[OverallRow, ...]
    """Methods, best first."""


class LeaderboardDocument(Document):
    """The whole leaderboard.

    Rows stand best first within their board, greyed ones last.
    """

    format: Literal[4] = DOCUMENT_FORMAT
    """The format of this document."""
    version: str
    """The version of tipl-bench that built it."""
    protocols: dict[str, Protocol]
    """By version."""
    metrics: Annotated[tuple[MetricInfo, ...], Field(min_length=1)]
    """All metrics and references, in the order in which tables show them; the first is what rows are ranked by."""
    boards: tuple[EnvironmentBoard, ...]
    """One per dataset and protocol."""
    rows: tuple[Row, ...]
    """Rows of all boards."""
    overall: tuple[Overall, ...]
    """The comparisons across environments, one a protocol, the newest first."""

    @model_validator(mode="after")
    def _linked(self) -> Self:
        boards, rows = {board.id for board in self.boards}, {row.id for row in self.rows}
        for row in self.rows:
            if row.board not in boards:
                raise ValueError(f"row {row.id} is of a board that is not there")
            if not {*row.tied, *(other.row for other in row.comparisons)} <= rows:
                raise ValueError(f"row {row.id} names another row that is not there")
        for board in self.boards:
            if not {*board.ranking.metrics} <= {metric.name for metric in self.metrics}:
                raise ValueError(f"board {board.id} is ranked by a metric that is not there")
        for entry in (entry for comparison in self.overall for entry in comparison.rows):
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
