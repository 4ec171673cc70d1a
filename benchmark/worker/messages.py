"""Messages between a run and its worker process; whatever the worker sends is untrusted until validated here.

A message is one JSON object, a model of this module; arrays travel as raw bytes beside it (see `channel`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from ...baselines.options import MAX_CONFIGURATIONS
from ...baselines.predictor import Output
from ...rl import PolicyLayout
from ...utils import errors
from ...utils.errors import OptionError, PredictorError, ProtocolError, UnknownNameError
from ...utils.fields import Count, Slug
from ...utils.text import one_line
from .sandbox import Isolation

if TYPE_CHECKING:
    from ...registry.trial import Trial

MAX_TEXT = 2000
"""Characters of an error's or a status message that the worker sends."""
MAX_CHOICES = 1000
"""Valid choices that an error about an unknown name may list."""
MAX_POINTS = 1000
"""New points of a curve that a message of progress may hold."""
KNOWN_ERRORS = {
    kind.__name__
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.TiplBenchError)
}

Text = Annotated[str, Field(max_length=MAX_TEXT)]


class PredictorCrash(PredictorError):  # noqa: N818
    """A predictor or its process failed; the message continues a sentence that begins with the predictor's name."""


class PredictorTimeout(PredictorCrash):
    """A predictor did not answer in time."""


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def head(self) -> dict[str, Any]:
        """The message as a JSON object."""
        return self.model_dump(mode="json", warnings=False)


# What the run sends.


class Describe(Message):
    """Build a predictor from its options; answered by `Description`."""

    kind: Literal["describe"] = "describe"
    model: str
    budget: str
    settings: tuple[str, ...]
    context: int


class TrialFile(Message):
    """A trial that the worker may read."""

    path: str
    index: int
    checkpoints: int


def trial_files(trials: Iterable[Trial]) -> tuple[TrialFile, ...]:
    """The files of trials."""
    return tuple(
        TrialFile(path=str(trial.path.absolute()), index=trial.index, checkpoints=len(trial)) for trial in trials
    )


class Fit(Message):
    """Fit the predictor; answered by `Fitted`, the array `state`, and the array `curve` if the fit added points."""

    kind: Literal["fit"] = "fit"
    train: tuple[TrialFile, ...]
    validation: tuple[TrialFile, ...]
    layout: PolicyLayout
    horizon: int
    context: int
    device: str
    seed: int
    resume: dict[str, Any] | None = None
    """The values of the state that an interrupted fit kept; its arrays are beside the request."""


class Load(Message):
    """Load a fitted state, the array `state`; answered by `Loaded`."""

    kind: Literal["load"] = "load"
    device: str


class Predict(Message):
    """Forecast the contexts in the arrays; answered by `Forecast` and the array `forecast`."""

    kind: Literal["predict"] = "predict"
    output: Output
    layout: PolicyLayout
    columns: tuple[str, ...]
    horizon: int


class Probe(Message):
    """Try to open a file, to test the sandbox from inside; answered by `Probed`."""

    kind: Literal["probe"] = "probe"
    path: str


Request = Describe | Fit | Load | Predict | Probe
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])


# What the worker sends.


class Answer(Message):
    """Base of the answers to requests."""


class Started(Answer):
    """What isolates the process: sent first, unasked, before any code of the predictor has run."""

    kind: Literal["started"] = "started"
    isolation: Isolation


class Description(Answer):
    """What the predictor is; `options` are validated by the run's key."""

    kind: Literal["description"] = "description"
    name: Slug
    version: Count
    consumes: Slug
    options: dict[str, Any]
    configurations: Annotated[
        tuple[Annotated[tuple[str, ...], Field(max_length=MAX_CHOICES)], ...],
        Field(min_length=1, max_length=MAX_CONFIGURATIONS),
    ]
    """The settings of each run that was asked for; the predictor was built with the first."""
    context_length: Count
    forecasts_normaliser: bool
    transfers: bool


class Loaded(Answer):
    """Properties of the fitted predictor."""

    kind: Literal["loaded"] = "loaded"
    parameter_count: Count
    context_length: Count


class Fitted(Answer):
    """Properties of the fitted predictor."""

    kind: Literal["fitted"] = "fitted"
    parameter_count: Count
    context_length: Count


class Forecast(Answer):
    """Type and shape of what `predict` returned; the array is there only if both are as required."""

    kind: Literal["forecast"] = "forecast"
    dtype: Text
    shape: Annotated[tuple[Count, ...], Field(max_length=64)]


class Probed(Answer):
    """Whether the file could be opened."""

    kind: Literal["probed"] = "probed"
    opened: bool


class CurvePoint(NamedTuple):
    """A point of a fit's curve, on its way to a log; the whole curve comes with `Fitted`."""

    step: Annotated[int, Field(ge=0, le=2**53)]
    training: FiniteFloat | None
    validation: FiniteFloat | None


class Progress(Message):
    """Progress of the current request; any number of these precede the answer."""

    kind: Literal["progress"] = "progress"
    done: Annotated[int, Field(ge=-(2**53), le=2**53)]
    total: Annotated[int, Field(ge=-(2**53), le=2**53)]
    status: Text
    points: Annotated[tuple[CurvePoint, ...], Field(max_length=MAX_POINTS)] = ()
    """New points of a fit's curve."""


class Kept(Message):
    """How far the fit has come, its arrays beside it; any number of these precede `Fitted`."""

    kind: Literal["kept"] = "kept"
    values: dict[str, Any]


class UnknownName(Message):
    """The arguments of an `UnknownNameError`."""

    kind: Text
    name: Text
    choices: Annotated[tuple[Text, ...], Field(max_length=MAX_CHOICES)]


class Failure(Message):
    """An exception in the worker, sent in place of the answer.

    Parameters
    ----------
    error
        Class name of an error of this package, "memory" for a failed allocation, "device memory" for one on a GPU,
        "exposed" for a file that the predictor must not read but could, or "exception" for any other.
    text
        The error's message, or the file; for other exceptions, its repr.
    unknown
        Given with an `UnknownNameError`.
    """

    kind: Literal["failure"] = "failure"
    error: Text
    text: Text
    unknown: UnknownName | None = None


AnswerT = TypeVar("AnswerT", bound=Answer)
MessageT = TypeVar("MessageT", bound=Message)


def parse_request(head: Mapping[str, Any]) -> Request:
    """Validate a message of the run."""
    return _REQUESTS.validate_json(json.dumps(head))


def parse_reply(head: Mapping[str, Any], expected: type[AnswerT]) -> AnswerT | Progress | Kept | Failure:
    """Validate a message of the worker: the expected answer, progress, the state of a fit, or a failure.

    Raises
    ------
    PredictorCrash
        If it is none of these; the message names the first wrong field.
    """
    if head.get("kind") == "progress":
        return _validate(head, Progress)
    if head.get("kind") == "kept" and expected is Fitted:
        return _validate(head, Kept)
    if head.get("kind") == "failure":
        return _validate(head, Failure)
    return _validate(head, expected)


def _validate(head: Mapping[str, Any], kind: type[MessageT]) -> MessageT:
    try:
        return kind.model_validate_json(json.dumps(head))
    except ValidationError as error:
        first = error.errors()[0]
        field, value = one_line(".".join(map(str, first["loc"])), 60), one_line(first["input"], 60)
        if first["type"] == "missing":
            raise PredictorCrash(f"its process answered without {field!r}") from None
        raise PredictorCrash(f"its process answered with a {field} of {value}: {one_line(first['msg'])}") from None


def out_of_memory(limit: int) -> str:
    """The message of a crash for want of memory."""
    return f"ran out of memory; its limit is {limit / 2**30:.3g} GiB, which `memory=` raises"


def parse_error(failure: Failure, request: Request, predictor: str, memory: int) -> Exception:
    """Convert a failure into the exception to raise.

    Unknown names and unfit values in the options are mistakes of the user and raised as such, and so is a held-out file
    that the sandbox leaves open; every other failure is the predictor's, and becomes a `PredictorCrash`.
    """
    kind, text = failure.error, one_line(failure.text)
    if kind == "memory":
        return PredictorCrash(out_of_memory(memory))
    if kind == "device memory":
        return PredictorCrash('ran out of the GPU\'s memory; set smaller batches, or use `device="cpu"`')
    if kind == "exposed":
        return ProtocolError(
            f"The predictor's process could read {text}, which is held out from it, so it was not started. "
            "Move that file out of the folders of Python and its packages, or those out of the folder that holds it."
        )
    unknown = failure.unknown
    if isinstance(request, Describe) and kind == "UnknownNameError" and unknown is not None:
        choices = [one_line(choice) for choice in unknown.choices[:100]]
        return UnknownNameError(one_line(unknown.kind), one_line(unknown.name), choices)
    message = text.removeprefix(f"{predictor}: ").rstrip(".")
    if isinstance(request, Describe) and kind == "OptionError":
        return OptionError(text if text.startswith(("Setting ", "Option ")) else f"{predictor}: {message}.")
    if kind == "PredictorError":
        return PredictorCrash(message)
    return PredictorCrash(f"raised {kind}: {message}" if kind in KNOWN_ERRORS else f"raised {text}")
