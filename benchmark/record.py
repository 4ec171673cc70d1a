"""The record: what a run writes down, validated when it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..registry.canonical import canonical_json, flatten, strict_json
from ..registry.errors import ProtocolError
from ..registry.files import write_text
from .intervals import Estimate
from .protocol import Protocol

RECORD_NAME = "record.json"
RECORD_LIMIT = 4 << 20

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetIdentity(_Model):
    """Which bytes were used."""

    name: Text
    digest: Sha256
    environment: Text


class PredictorIdentity(_Model):
    """Which predictor, exactly."""

    name: Text
    version: int
    consumes: Text
    budget: Text
    options: dict[str, bool | int | float | str | None]


class RunKey(_Model):
    """What a run is of: two runs of one key on one machine give the same numbers."""

    protocol: Protocol
    dataset: DatasetIdentity
    predictor: PredictorIdentity
    seed: int
    device: Text

    def differences(self, other: RunKey) -> list[str]:
        """Dotted names of the fields that differ, with both values."""
        mine, theirs = flatten(self.model_dump(mode="json")), flatten(other.model_dump(mode="json"))
        names = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
        return [f"{name}: {mine.get(name)} here, {theirs.get(name)} there" for name in names]


class Provenance(_Model):
    """Where and with what a run was made."""

    tipl_bench: Text
    git_commit: Text | None
    git_dirty: bool | None
    python: Text
    platform: Text
    cpu: Text
    gpu: Text | None
    torch_threads: int
    isolation: Literal["landlock", "none"]
    packages: dict[str, Text]


class Cost(_Model):
    """What a run took; the only part that differs between two runs of one key on one machine."""

    fit_seconds: float
    forecast_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int


class Metric(_Model):
    """All metrics of one phase and horizon, see `scoring.score`."""

    phase: Literal["learning", "converged", "all"]
    horizon: Annotated[int, Field(ge=1)]
    windows: int
    trials: int
    skill: Estimate
    oracle_skill: Estimate
    wpe: Estimate
    wpe_persistence: Estimate
    repw: Estimate
    repw_persistence: Estimate
    noise_floor: Estimate
    gain: Estimate
    layers: dict[str, float]
    by_trial: dict[str, tuple[float, ...]]


class ReturnPair(NamedTuple):
    """The true and the forecast policy's return at one window and horizon."""

    phase: Literal["learning", "converged"]
    horizon: int
    true: Finite
    forecast: Finite


class Record(_Model):
    """A finished run.

    `returns` is a sample, see `scoring.sample_returns`.
    """

    format: Literal[1] = 1
    key: RunKey
    parameter_count: int
    forecasts_sha256: Sha256
    provenance: Provenance
    cost: Cost
    metrics: tuple[Metric, ...]
    returns: tuple[ReturnPair, ...]

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
        where = ".".join(str(part) for part in first["loc"])
        raise ProtocolError(f"{path}: field {where}: {first['msg']}.") from None
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a readable record ({error}).") from None
