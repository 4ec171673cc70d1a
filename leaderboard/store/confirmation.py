"""What a confirmation found: a record's scores on the public test trials and on fresh ones, side by side."""

from __future__ import annotations

import hashlib
import itertools
import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ...baselines.plugins.sources import MethodCode
from ...benchmark.metrics import BY_NAME, HEADLINE
from ...benchmark.record import MAX_TRIALS, Record
from ...benchmark.worker.sandbox import NO_ISOLATION, Isolation
from ...utils.canonical import canonical_json
from ...utils.fields import Document, Finite, Sha256, later
from ..verify.comparison import RETURN_RTOL
from ..verify.reproduce import TOLERANCE

METRICS = (HEADLINE, "repw")
"""The metrics of records that are compared; each as its mean over horizons."""
DIGITS = {HEADLINE: 3, "repw": 2, "relative_repw": 3}
"""The scores of a confirmation, and the decimals that people read."""
LABELS = {
    HEADLINE: BY_NAME[HEADLINE].label,
    "repw": BY_NAME["repw"].label,
    "relative_repw": "REPW as a part of persistence's",
}
"""What people call them."""
SIGNIFICANT_DIGITS = 6
"""Of a number in evidence: no more of the fresh trials gets out before they are revealed."""
RECORDS_PER_SET = 20
"""The most records that a set of fresh trials serves."""
MAX_CHANCE = {1: 0.025, 2: 0.05 / 2 / RECORDS_PER_SET}
"""By rule: an honest claim is refuted by one score in no more than this part of the cases.

Rule 1 allows 5% to each record, by either of two scores, and estimates the chance from random permutations alone;
rule 2 allows 5% to the records of a set together, as they share its trials, and is exact for few trials.
"""
PERMUTATIONS = 9_999
"""Of rule 2, however often the protocol resamples: enough to tell `MAX_CHANCE` from more."""
Rule = Literal[1, 2]
RULE: Rule = 2
"""Of new confirmations."""
FULL_ISOLATION: Isolation = "landlock+seccomp+namespaces"
"""What of docs/sandbox.md leaves a predictor no way to hand anything on but its forecasts."""
CONSISTENCY = 1e-4
"""What rounding may come to in a difference, relative to the larger of the two numbers."""


def enough_trials(public: int, rule: Rule = RULE) -> int:
    """How many fresh trials a claim on so many public ones can be refuted with: that all are worse must be no more
    likely than `MAX_CHANCE` among the ways to deal them out.
    """
    return next(fresh for fresh in itertools.count(1) if math.comb(public + fresh, fresh) * MAX_CHANCE[rule] >= 1)


def code_sha256(code: MethodCode | None) -> str | None:
    """The sha256 of the hashes of a predictor's source files; None for a predictor of this package."""
    return hashlib.sha256(canonical_json(code.files).encode()).hexdigest() if code else None


def keeps_secret(isolation: str, code: object) -> bool:
    """Whether a predictor can neither read the fresh trials nor hand on what it is shown of them.

    A predictor of this package (`code` None) does not try to. What another one saw of the trials, its next run on them
    would know, if it could leave that in the attributes of a file, or send it over a network.
    """
    return isolation != NO_ISOLATION if code is None else isolation == FULL_ISOLATION


class Measured(Document):
    """A number with its interval."""

    value: Finite
    """The number."""
    low: Finite
    """Where its interval begins."""
    high: Finite
    """Where it ends."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("its interval ends before it begins")
        return self

    def spell(self, digits: int) -> str:
        """The number, and its interval in brackets."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


class FreshComparison(Document):
    """One score of a row on the public test trials and on fresh trials."""

    public: Measured
    """On the public test trials, as the record claims."""
    fresh: Measured
    """On the fresh trials."""
    difference: Measured
    """Fresh minus public, with the interval of two independent samples of trials."""
    chance: Annotated[float, Field(ge=0, le=1)]
    """How often trials dealt out at random, to public and fresh ones, come out at least so much worse on the fresh."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        public, fresh = self.public.value, self.fresh.value
        if abs(fresh - public - self.difference.value) > CONSISTENCY * max(1.0, abs(fresh), abs(public)):
            raise ValueError("difference is not fresh minus public")
        return self

    def spell(self, digits: int) -> str:
        """The numbers, and what chance would make of them."""
        return (
            f"{self.fresh.spell(digits)} where the record has {self.public.spell(digits)}, "
            f"difference {self.difference.spell(digits)}, by chance so much worse in {self.chance:.2%}"
        )


class Confirmation(Document):
    """A record's predictor, fitted again and scored on a set of fresh trials."""

    fresh_set: Sha256
    """The sha256 of the set's salt and seeds, stated before anybody could know them."""
    dataset_digest: Sha256
    """The digest of the set's trials."""
    forecasts: Sha256
    """The sha256 of the forecasts of the fresh trials."""
    code: Sha256 | None
    """The sha256 of the hashes of the predictor's source files; None for a predictor of this package."""
    isolation: Isolation
    """What kept the predictor from the fresh trials while it ran."""
    trials: Annotated[int, Field(strict=True, ge=2, le=MAX_TRIALS)]
    """Fresh trials."""
    phase: Literal["learning", "all"]
    """The phase that is compared."""
    skill: FreshComparison
    """Mean skill over horizons."""
    repw: FreshComparison
    """Mean REPW over horizons; it decides nothing, as it depends on how fast the trials happen to learn."""
    relative_repw: FreshComparison
    """Mean over horizons of REPW / REPW of persistence on the same trials."""
    rule: Rule = later(1)
    """Which of `MAX_CHANCE` decides."""

    @model_validator(mode="after")
    def _isolated(self) -> Self:
        if not keeps_secret(self.isolation, self.code):
            raise ValueError(f"isolation {self.isolation} does not keep the fresh trials secret from the predictor")
        return self

    @property
    def shortfalls(self) -> list[str]:
        """The scores that are significantly worse on fresh trials, by more than two machines differ."""
        relative = self.relative_repw
        worse = {
            HEADLINE: self.skill.difference.high < -TOLERANCE,
            "relative_repw": relative.difference.low > RETURN_RTOL * abs(relative.public.value),
        }
        return [LABELS[name] for name in worse if worse[name] and getattr(self, name).chance <= MAX_CHANCE[self.rule]]

    @property
    def kind(self) -> Literal["confirmed", "not confirmed"]:
        """Whether the claim holds on the fresh trials."""
        return "not confirmed" if self.shortfalls else "confirmed"

    def spell(self) -> str:
        """The numbers in a line."""
        scores = "; ".join(f"{LABELS[name]} {getattr(self, name).spell(digits)}" for name, digits in DIGITS.items())
        return f"{self.trials} fresh trials, {self.phase} phase: {scores}"

    def is_of(self, record: Record) -> bool:
        """Whether the public numbers and the code are those of a record."""
        if self.code != code_sha256(record.provenance.code):
            return False
        for name in METRICS:
            values = [result[name].value for result in record.of_phase(self.phase)]
            known = [value for value in values if value is not None]
            mean, stated = sum(known) / max(1, len(known)), getattr(self, name).public.value
            if not known or len(known) < len(values) or abs(mean - stated) > CONSISTENCY * max(1.0, abs(mean)):
                return False
        return True
