"""The record: what a run writes down, validated when it is read back."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..registry.reference import COMMIT_PATTERN, NAME_PATTERN, SLUG_LENGTH, SLUG_PATTERN
from ..utils.canonical import canonical_json, flatten, strict_json
from ..utils.errors import ProtocolError
from ..utils.files import write_text
from .intervals import Estimate
from .protocol import Protocol

RECORD_NAME = "record.json"
RECORD_LIMIT = 4 << 20


def _plain(text: str) -> str:
    """Refuse what is not seen but changes what is: control, format (bidirectional), private, unassigned, line ends."""
    odd = [character for character in text if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"]
    if odd:
        raise ValueError(f"holds the unseen character U+{ord(odd[0]):04X}")
    return text


# A record may be a stranger's: whatever it holds has a form and a size.
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=500), AfterValidator(_plain)]
Slug = Annotated[str, Field(pattern=SLUG_PATTERN, max_length=SLUG_LENGTH)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Option = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float | Text | None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetIdentity(_Model):
    """Which bytes were used."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=80)]
    digest: Sha256
    environment: Text


class PredictorIdentity(_Model):
    """Which predictor, exactly."""

    name: Slug
    version: Count
    consumes: Slug
    budget: Slug
    options: Annotated[dict[Slug, Option], Field(max_length=100)]


class RunKey(_Model):
    """What a run is of: two runs of one key on one machine give the same numbers."""

    protocol: Protocol
    dataset: DatasetIdentity
    predictor: PredictorIdentity
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    device: Literal["cpu", "cuda"]

    def differences(self, other: RunKey) -> list[str]:
        """Dotted names of the fields that differ, with both values."""
        mine, theirs = flatten(self.model_dump(mode="json")), flatten(other.model_dump(mode="json"))
        names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
        return [f"{name}: {mine.get(name)} here, {theirs.get(name)} there" for name in names]


class Provenance(_Model):
    """Where and with what a run was made."""

    tipl_bench: Text
    git_commit: Annotated[str, Field(pattern=f"^{COMMIT_PATTERN}$")] | None
    git_dirty: bool | None
    python: Text
    platform: Text
    cpu: Text
    gpu: Text | None
    torch_threads: Count
    isolation: Literal["landlock", "none"]
    packages: Annotated[dict[Text, Text], Field(max_length=100)]


class Cost(_Model):
    """What a run took; the only part that differs between two runs of one key on one machine."""

    fit_seconds: Seconds
    forecast_seconds: Seconds
    evaluation_seconds: Seconds
    peak_memory_bytes: Count


PerTrial = Annotated[tuple[float, ...], Field(max_length=10_000)]


class Metric(_Model):
    """All metrics of one phase and horizon, see `scoring.score`."""

    phase: Literal["learning", "converged", "all"]
    horizon: Annotated[int, Field(ge=1, le=1000)]
    windows: Count
    trials: Count
    skill: Estimate
    oracle_skill: Estimate
    wpe: Estimate
    wpe_persistence: Estimate
    repw: Estimate
    repw_persistence: Estimate
    noise_floor: Estimate
    gain: Estimate
    layers: Annotated[dict[Text, float], Field(max_length=1000)]
    by_trial: Annotated[dict[Slug, PerTrial], Field(max_length=10)]


class ReturnPair(NamedTuple):
    """The true and the forecast policy's return at one window and horizon."""

    phase: Literal["learning", "converged"]
    horizon: Annotated[int, Field(ge=1, le=1000)]
    true: Finite
    forecast: Finite


class Record(_Model):
    """A finished run.

    `returns` is a sample, see `scoring.sample_returns`.
    """

    format: Literal[1] = 1
    key: RunKey
    parameter_count: Count
    forecasts_sha256: Sha256
    provenance: Provenance
    cost: Cost
    metrics: Annotated[tuple[Metric, ...], Field(max_length=3000)]
    returns: Annotated[tuple[ReturnPair, ...], Field(max_length=1000)]

    def metric(self, phase: str, horizon: int) -> Metric | None:
        """The metrics of one phase and horizon, or None."""
        return next((m for m in self.metrics if (m.phase, m.horizon) == (phase, horizon)), None)

    def without_cost(self) -> str:
        """Canonical JSON of everything but the timings: equal for equal runs."""
        return canonical_json(self.model_dump(mode="json", exclude={"cost"}))

    def write(self, folder: Path) -> None:
        """Write `record.json` atomically."""
        write_text(folder / RECORD_NAME, self.model_dump_json(indent=1) + "\n")


def read_record(path: Path) -> Record:
    """Read and validate a record file.

    Raises
    ------
    ProtocolError
        If it is missing, oversized, not JSON, or breaks the schema; the message says where.
    """
    try:
        if path.stat().st_size > RECORD_LIMIT:
            raise ProtocolError(f"{path}: larger than {RECORD_LIMIT} bytes; this is not a record.")
        return Record.model_validate(strict_json(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(_shown(part) for part in first["loc"])
        raise ProtocolError(f"{path}: field {where}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a readable record ({error}).") from None


def _shown(part: int | str) -> str:
    """A field's name as a message may hold it: a stranger's may be of any characters and length."""
    return str(part).encode("unicode_escape").decode()[:80]
