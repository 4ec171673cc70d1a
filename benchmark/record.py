"""The record: what a run writes down, validated when it is read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ..baselines.predictor import INFORMATION_CLASSES, class_with_fit_set
from ..registry.reference import NAME_PATTERN
from ..utils.canonical import canonical_json, flatten, strict_json
from ..utils.errors import ProtocolError, reason
from ..utils.fields import Count, Document, Finite, Model, Seed, Sha256, Slug, Text, later, parse
from ..utils.files import write_text
from ..utils.text import first_error
from . import metrics
from .intervals import UNDEFINED, Estimate
from .protocol import Protocol
from .provenance import Cost, Provenance
from .record_v1 import upgrade

RECORD_NAME, KEY_NAME = "record.json", "key.json"
RECORD_LIMIT = 4 << 20
IDENTIFYING = ("dataset.name", "method.name", "method.fitted_on.name", "protocol.version")
"""Fields of a key from which the others of their group follow."""
ROUNDING = 1e-9
"""By less than this part no skill is above another."""


Option = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | Text | None


class DatasetIdentity(Document):
    """Which bytes were used.

    Two identities are equal if they name the same bytes, whichever format their digests were computed in: they have
    the same first digest, and the same digest of format 2 where both state one.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]
    """The dataset's name; that of fresh trials is longer than any other (`NAME_LENGTH`)."""
    digest: Sha256
    """The sha256 of its manifest, which says which bytes it is."""
    digest_format: Literal[1, 2] = 2
    """The manifest format whose digest `digest` is."""
    former_digest: Sha256 | None = None
    """What the dataset's digest was in format 1, if it was named by that once."""
    environment: Text
    """The Gymnasium environment."""

    @model_validator(mode="after")
    def _consistent(self) -> DatasetIdentity:
        if self.digest_format == 1 and self.former_digest is not None:
            raise ValueError("former_digest is the format-1 digest; beside it, digest must be of format 2")
        return self

    @property
    def first_digest(self) -> str:
        """The digest that the dataset was first known by; it names rows, record files and boards."""
        return self.former_digest or self.digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatasetIdentity) and self.facts_beside(other) == other.facts_beside(self)

    def __hash__(self) -> int:
        return hash(tuple(self.stable().values()))

    def facts_beside(self, other: DatasetIdentity) -> dict[str, str]:
        """What to compare with another identity: `stable`, and the digest of format 2 where both state it."""
        both = self.digest_format == other.digest_format == 2
        return self.stable() | ({"format_2_digest": self.digest} if both else {})

    def stable(self) -> dict[str, str]:
        """The identity as row ids and fingerprints spell it: the same in every digest format."""
        return {"name": self.name, "digest": self.first_digest, "environment": self.environment}


def _information_class(text: str) -> str:
    if text not in INFORMATION_CLASSES:
        raise ValueError(f"not an information class; they are {', '.join(INFORMATION_CLASSES)}")
    return text


class MethodIdentity(Document):
    """Which predictor or optimizer, exactly."""

    name: Slug
    """The predictor's name."""
    version: Count
    """Raised when its forecasts change."""
    consumes: Annotated[Slug, AfterValidator(_information_class)]
    """Its information class."""
    budget: Slug
    """The named amount of training."""
    options: Annotated[dict[Slug, Option], Field(max_length=100)]
    """All its options."""
    forecasts_normaliser: bool = later(False)
    """Whether its forecasts act with an observation normaliser that it forecast too, not with the origin's."""
    fitted_on: DatasetIdentity | None = later(None)
    """The dataset whose training and validation trials it was fitted on, if not those of the forecast one."""

    def stable(self) -> dict[str, Any]:
        """The identity as file names, row ids and fingerprints spell it, whatever fields a method gains later."""
        found = {name: getattr(self, name) for name in ("name", "version", "consumes", "budget", "options")}
        found |= {"forecasts_normaliser": True} if self.forecasts_normaliser else {}
        return found | ({"fitted_on": self.fitted_on.stable()} if self.fitted_on else {})


class RunKey(Document):
    """What a run is of: two runs of one key on one machine give the same numbers."""

    protocol: Protocol
    """What the numbers mean."""
    dataset: DatasetIdentity
    """What was forecast."""
    method: MethodIdentity
    """What forecast it."""
    seed: Seed
    """The predictor's seed."""
    device: Literal["cpu", "cuda"]
    """The kind of device that it ran on."""
    split: Literal["test", "validation"] = "test"
    """The trials that are forecast."""
    limit: Annotated[int, Field(strict=True, ge=1, le=2**53)] | None = None
    """Windows that were asked for, where that is not all of them."""
    state: Sha256 | None = later(None)
    """The sha256 of the fitted state that was given, where nothing was fitted."""

    @model_validator(mode="after")
    def _admits_its_fit_set(self) -> RunKey:
        if fitted_on := self.method.fitted_on:
            elsewhere = fitted_on.environment != self.dataset.environment
            least = class_with_fit_set(self.method.consumes, elsewhere=elsewhere)
            if self.method.consumes != least:
                kind = "trials of another environment" if elsewhere else "more trials"
                raise ValueError(f"consumes is {self.method.consumes}, of a method fitted on {kind} at least {least}")
        return self

    @property
    def scope(self) -> str:
        """What is forecast where that is not every window of the test trials; empty otherwise."""
        parts = {"validation trials": self.split == "validation", f"limited to {self.limit} windows": self.limit}
        return ", ".join(part for part, holds in {**parts, "with a given state": self.state}.items() if holds)

    def differences(self, other: RunKey) -> list[str]:
        """Dotted names of the fields that differ, with both values; without those that follow from another of them."""
        mine, theirs = (
            flatten(key.model_dump(mode="json") | {"dataset": key.dataset.facts_beside(beside.dataset)})
            for key, beside in ((self, other), (other, self))
        )
        names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
        groups = tuple(f"{name.rpartition('.')[0]}." for name in names if name in IDENTIFYING)
        shown = [name for name in names if name in IDENTIFYING or not name.startswith(groups)]
        return [f"{name}: {mine.get(name)} here, {theirs.get(name)} there" for name in shown]


MAX_TRIALS = 10_000
PerTrial = Annotated[tuple[float, ...], Field(max_length=MAX_TRIALS)]
PerPosition = Annotated[tuple[float, ...], Field(max_length=1000)]
Horizon = Annotated[int, Field(ge=1, le=1000)]


class Result(Document):
    """What came out in one phase and at one horizon."""

    phase: Literal["learning", "converged", "all"]
    """The phase of training that its windows are in."""
    horizon: Horizon
    """Checkpoints ahead."""
    environment: None = None
    """Always null: records of format 2 have the field."""
    windows: Count
    """Its windows."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)]
    """Trials that the windows are of."""
    estimates: Annotated[dict[Slug, Estimate], Field(max_length=50)]
    """By name of the metric, see `metrics.METRICS`."""
    layers: Annotated[dict[Text, float], Field(max_length=1000)] = Field(default_factory=dict)
    """WPE by parameter tensor."""
    by_trial: Annotated[dict[Slug, PerTrial], Field(max_length=50)]
    """Sums over each trial's windows, and their number, in the order of trial numbers."""
    by_position: Annotated[dict[Slug, PerPosition], Field(max_length=50)] = later({})
    """Sums over the windows of each position within the PPO iteration, and their number, where origins are stratified
    by that."""

    @model_validator(mode="after")
    def _whole(self) -> Result:
        for name, sums in self.by_trial.items():
            if len(sums) != self.trials:
                raise ValueError(f"by_trial.{name} has {len(sums)} numbers for {self.trials} trials")
        if len({len(sums) for sums in self.by_position.values()}) > 1:
            raise ValueError("by_position has different numbers of positions")
        return self

    def __getitem__(self, name: str) -> Estimate:
        """A metric's estimate; undefined if the result does not have it."""
        return self.estimates.get(name, UNDEFINED)

    def at_positions(self, name: str) -> tuple[float | None, ...]:
        """A metric at each position within the PPO iteration; None where undefined, empty if that is not recorded."""
        return metrics.BY_NAME[name].values(self.by_position)

    @property
    def place(self) -> str:
        """Where in the record it is, as messages say it."""
        return f"{self.phase}, h = {self.horizon}"

    @property
    def above_span_ceiling(self) -> bool:
        """Whether the forecasts beat the best in the span of their contexts, significantly if there is an interval.

        Records without the share of the ceiling say so by their skills alone.
        """
        share, skill, ceiling = self["span_share"], self["skill"].value, self["oracle_skill"].value
        if "span_share" in self.estimates:
            edge = share.value if share.low is None else share.low
            return edge is not None and edge > 1 + ROUNDING
        return skill is not None and ceiling is not None and skill > ceiling + ROUNDING


class Status(Document):
    """Whether the run came to its end, and if not, at what it failed and what its user was told."""

    state: Literal["finished", "failed"]
    """Whether it came to its end."""
    stage: Slug | None = None
    """What it failed at."""
    reason: Text | None = None
    """What its user was told."""

    @model_validator(mode="after")
    def _reasoned(self) -> Status:
        if (self.state == "failed") != (self.stage is not None) or (self.stage is None) != (self.reason is None):
            raise ValueError("a failed run has a stage and a reason, a finished one has neither")
        return self


class ReturnPair(NamedTuple):
    """The true and the forecast policy's return at one window and horizon."""

    phase: Literal["learning", "converged"]
    """The window's phase."""
    horizon: Horizon
    """Checkpoints ahead."""
    true: Finite
    """The return of the true policy."""
    forecast: Finite
    """The return of the forecast policy."""


class Record(Document):
    """A run of the forecast track, finished or failed.

    `returns` is a sample, see `scoring.sample_returns`; a failed run has neither results nor returns. A run of the
    validation trials or of fewer windows may lack the metrics of returns, and then has no `returns` either.
    """

    format: Literal[2]
    """The format of records."""
    track: Literal["forecast"]
    """The track."""
    status: Status
    """Whether it finished."""
    key: RunKey
    """What was run."""
    parameter_count: Count
    """Learned parameters."""
    artifacts: Annotated[dict[Slug, Sha256], Field(max_length=20)]
    """The sha256 of what the results were computed from, by name."""
    results: Annotated[tuple[Result, ...], Field(max_length=3000)]
    """What came out, by phase and horizon."""
    returns: Annotated[tuple[ReturnPair, ...], Field(max_length=1000)] = ()
    """A sample of returns."""
    provenance: Provenance
    """Where and with what it was made."""
    cost: Cost
    """What it took."""

    @model_validator(mode="after")
    def _complete(self) -> Record:
        if self.failed:
            if self.results or self.returns or self.artifacts:
                raise ValueError("a failed run has no results, returns or artifacts")
            return self
        if not self.results:
            raise ValueError("results is empty, which only a failed run's may be")
        partial = bool(self.key.scope) and not self.has_returns
        if partial and self.returns:
            raise ValueError("returns is of a run whose results have no metrics of returns")
        places = [result.place for result in self.results]
        for number, (place, result) in enumerate(zip(places, self.results, strict=True)):
            if place in places[:number]:
                raise ValueError(f"results.{number} is of the same place as results.{places.index(place)}")
            _check_result(f"results.{number}", result, self.key.protocol, with_returns=not partial)
        if "forecasts" not in self.artifacts:
            raise ValueError("artifacts.forecasts is missing")
        return self

    @property
    def failed(self) -> bool:
        """Whether the run failed."""
        return self.status.state == "failed"

    @property
    def has_returns(self) -> bool:
        """Whether any result was scored by a return."""
        return any(not metrics.OF_RETURNS.isdisjoint(result.estimates) for result in self.results)

    @property
    def scope(self) -> str:
        """What sets the run apart from a whole test run, as tables and messages say it; empty for one."""
        if not self.key.scope:
            return ""
        return f"{self.key.scope}, without returns" if self.results and not self.has_returns else self.key.scope

    @property
    def why_not_submittable(self) -> str | None:
        """Why a leaderboard does not take the run, as the end of a sentence; None if it does."""
        code = self.provenance.code
        if code is not None and code.distribution is None:
            return "its predictor was run from a file. Install it as a package (`tipl-bench models new` writes one)."
        if not self.scope:
            return None
        return (
            f"it is not a whole test run ({self.scope}). Run it with `tipl-bench run --on test`, on all windows and "
            "with returns."
        )

    @property
    def forecasts_sha256(self) -> str | None:
        """The sha256 of the forecasts that the results were computed from."""
        return self.artifacts.get("forecasts")

    def result(self, phase: str, horizon: int) -> Result | None:
        """The result of one phase and horizon, or None."""
        return next((one for one in self.results if (one.phase, one.horizon) == (phase, horizon)), None)

    def of_phase(self, phase: str) -> list[Result]:
        """The results of a phase, by horizon."""
        return sorted((one for one in self.results if one.phase == phase), key=lambda one: one.horizon)

    @property
    def above_span_ceiling(self) -> list[Result]:
        """The results that beat every forecast in the span of its context: by the interval where there is one."""
        return [one for one in self.results if one.above_span_ceiling]

    def without_cost(self) -> str:
        """Canonical JSON of everything but the timings and the validation runs before it: equal for equal runs."""
        beside: Any = {"cost": True, "provenance": {"validation_runs"}}
        return canonical_json(self.model_dump(mode="json", exclude=beside))

    def write(self, folder: Path) -> None:
        """Write `record.json` atomically."""
        write_text(folder / RECORD_NAME, self.model_dump_json(indent=1) + "\n")


def _check_result(name: str, result: Result, protocol: Protocol, *, with_returns: bool) -> None:
    """A result has what the table of metrics says; raises `ValueError`."""
    found = {field: [*getattr(result, field)] for field in metrics.TABLES}
    stratified = protocol.origins_per_position is not None and result.phase != "all"
    metrics.check_tables(name, found, protocol, with_returns=with_returns, stratified=stratified)


def read_record(path: Path) -> Record:
    """Read and validate a record file; raises `ProtocolError` saying where it is missing, oversized or not valid."""
    return read_document(path, "forecast", lambda document: parse(Record, upgrade(document)))


def read_document(path: Path, track: Literal["forecast", "training"], form: Callable[[Any], Model]) -> Model:
    """Read a record file of a track, whose parsed JSON `form` validates; raises as `read_record`."""
    try:
        if path.stat().st_size > RECORD_LIMIT:
            raise ProtocolError(f"{path}: larger than {RECORD_LIMIT} bytes; this is not a record.")
        document = strict_json(path.read_text(encoding="utf-8"))
        stated = document.get("track") if isinstance(document, dict) else None
        if stated in {"forecast", "training"} - {track}:
            raise ProtocolError(f"{path}: a record of the {stated} track, where one of the {track} track is needed.")
        return form(document)
    except ValidationError as error:
        raise ProtocolError(f"{path}: field {first_error(error)}.") from None
    except (OSError, ValueError) as error:
        why = unfinished(path.parent) if isinstance(error, FileNotFoundError) and path.name == RECORD_NAME else None
        raise ProtocolError(why or f"{path}: not a readable record ({reason(error)}).") from None


def unfinished(folder: Path) -> str | None:
    """That a folder's run was begun and not finished, and what to do; None for any other folder."""
    if (folder / RECORD_NAME).exists() or not (folder / KEY_NAME).is_file():
        return None
    return (
        f"{folder}: {RECORD_NAME} is missing, the run was not finished. Repeat the command that began it, which goes "
        "on from there."
    )
