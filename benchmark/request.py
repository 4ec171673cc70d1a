"""A request for a run: what to run on what, its key and its folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..baselines import model_of, predictor_type
from ..baselines.options import as_settings, build_options, describe_options
from ..baselines.plugins.sources import SCRIPT, module_sources
from ..baselines.predictor import NoOptions, Predictor, class_with_fit_set
from ..baselines.saving import options_dict
from ..registry.catalog import identity_of
from ..registry.dataset import Dataset
from ..utils.canonical import canonical_json
from ..utils.errors import OptionError, PredictorError, ProtocolError, UnknownNameError
from ..utils.files import sha256
from ..utils.progress import Progress, silent
from ..utils.text import first_error, one_line
from .forecast.fit_set import check_fit_set
from .forecast.run_folder import FittedState
from .forecast.windows import EvaluationWindow, Split, evaluation_windows
from .protocol import CURRENT, Protocol
from .record import DatasetIdentity, MethodIdentity, Record, RunKey
from .worker.messages import PredictorCrash
from .worker.predictor_process import PredictorProcess
from .worker.usage import Limits

SPLITS: tuple[Split, ...] = ("test", "validation")
MAX_IN_NAME = 60
"""Characters of a setting that a folder is named after."""

Model = str | type[Predictor[Any]] | Predictor[Any]
"""A predictor's name; where its class is, as `module:Class` or `file.py:Class`; its class; or an object of it."""


@contextlib.contextmanager
def resolved_model(model: Model, budget: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What a predictor is referred to by, and the options of an object that differ from its budget's.

    Within the block, modules of the working folder can be imported if the predictor is in one of them, as for
    `python -m`.

    Raises
    ------
    OptionError
        If it is no predictor, or its own process could not import it.
    """
    if isinstance(model, str):
        module, colon, name = model.rpartition(":")
        if module.endswith(SCRIPT):
            module = str(Path(module).absolute())
        is_elsewhere = bool(colon) and not module.endswith(SCRIPT) and module_sources(module) is None
        with _importable(os.getcwd()) if is_elsewhere else contextlib.nullcontext():  # noqa: PTH109
            yield f"{module}{colon}{name}", ()
    elif isinstance(model, Predictor):
        kind = type(model)
        defaults = {name: option.default for name, option in describe_options(kind).items()}
        usual = defaults | dict(kind.budgets.get(budget, {}))
        chosen = options_dict(getattr(model, "options", NoOptions()))
        yield (
            model_of(kind),
            as_settings({n: value for n, value in chosen.items() if n not in usual or usual[n] != value}),
        )
    elif isinstance(model, type) and issubclass(model, Predictor):
        yield model_of(model), ()
    else:
        raise OptionError(f"{one_line(repr(model))} is neither a predictor's name nor a Predictor.")


@contextlib.contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Put a folder at the front of the module search path, for the block."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the block removed it
            sys.path.remove(folder)


@dataclass(frozen=True)
class RunRequest:
    """What to run.

    Parameters
    ----------
    model
        The predictor's name, or where its class is.
    dataset
        The opened dataset.
    budget, settings
        Named budget, and `name=value` options on top of it.
    seed
        The predictor's seed.
    device
        "auto", "cpu" or "cuda".
    protocol
        The protocol; the current one by default.
    limits
        Time and memory that the predictor may use; not part of what is run.
    split
        The trials to forecast, "test" or "validation".
    limit
        Windows to forecast, spread evenly over phases and trials; all by default.
    returns
        Whether to evaluate the forecasts' returns.
    fit_on
        The dataset to fit on, if not the one that is forecast.
    fitted
        A fitted state of this very run, with which nothing is fitted.
    """

    model: str
    dataset: Dataset
    budget: str = "quick"
    settings: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    protocol: Protocol = CURRENT
    limits: Limits = field(default_factory=Limits)
    split: Split = "test"
    limit: int | None = None
    returns: bool = True
    fit_on: Dataset | None = None
    fitted: FittedState | None = None

    @classmethod
    def of(cls, record: Record, dataset: Dataset, **more: Any) -> RunRequest:
        """The run that a record states, on its dataset; `more` is what it is fitted on or with, and its limits."""
        key, method = record.key, record.key.method
        return cls(
            method.name,
            dataset,
            method.budget,
            as_settings(method.options),
            key.seed,
            key.device,
            key.protocol,
            split=key.split,
            limit=key.limit,
            returns=record.has_returns,
            **more,
        )

    def __post_init__(self) -> None:
        """Raise `OptionError` or `UnknownNameError` for a seed, split, limit or fit set that no run can have."""
        if self.split not in SPLITS:
            raise UnknownNameError("trials to run on", str(self.split), SPLITS)
        check_whole("seed", self.seed, 0)
        if self.limit is not None:
            check_whole("limit of windows", self.limit, 1)
        if not self.returns and self.split == "test" and self.limit is None:
            raise OptionError(
                "A whole test run needs its returns; they can be left out only on the validation trials "
                '(`on="validation"`) or with a limit of windows (`limit=`).'
            )
        if self.fit_on is not None:
            check_fit_set(self.fit_on, self.dataset, self.protocol, self.split)

    @property
    def fit_set(self) -> Dataset:
        """The dataset whose training and validation trials are fitted on."""
        return self.fit_on or self.dataset

    def windows(self, progress: Progress = silent) -> list[EvaluationWindow]:
        """The windows to forecast; see `evaluation_windows`."""
        return evaluation_windows(self.dataset, self.protocol, self.split, self.limit, progress)

    def configurations(self) -> tuple[tuple[str, ...], ...]:
        """The settings of each run that the request's settings stand for: several only of a sweep.

        Raises on unknown names, unfit values, and a sweep on the test trials.
        """
        names = [setting.partition("=")[0] for setting in self.settings]
        if len({*names}) == len(names) and "," not in "".join(self.settings):
            return (self.settings,)
        with self.start(sweep=self.split == "validation") as predictor:
            return predictor.configurations

    def start(self, held_out: Sequence[Path] = (), *, sweep: bool = False, wait: bool = True) -> PredictorProcess:
        """The predictor, unfitted, in a process that can read no trial but the training and validation ones.

        Those are the fit set's; with a fitted state, none. Nor can it read `held_out`, files and folders of other runs.
        Raises on unknown names and unfit values, and `PredictorError` if it does not start.
        """
        fitted_on = () if self.fitted else self.fit_set.manifest.split.fitted
        with attribute_errors(self.model, "starting"):
            return PredictorProcess(
                self.model,
                self.budget,
                self.settings,
                context=self.protocol.context,
                data=[trial.path for trial in self.fit_set.trials(fitted_on)],
                held_out=[self.dataset.folder, self.fit_set.folder, *held_out],
                limits=self.limits,
                sweep=sweep,
                wait=wait,
            )

    def key(self, predictor: PredictorProcess) -> RunKey:
        """The key of this run.

        Raises `OptionError` for a seed or an option that no record may hold, and for a fit set of another environment
        where the predictor does not transfer; `ProtocolError` for a fitted state of another predictor than this one.
        """
        consumes, fitted_on = predictor.consumes, identity(self.fit_on) if self.fit_on else None
        if self.fitted is not None:
            fitted_on = self.fitted.record.key.method.fitted_on
        if fitted_on is not None:
            elsewhere = fitted_on.environment != self.dataset.environment
            if elsewhere and not predictor.transfers:
                raise OptionError(
                    f"{self.dataset.name} cannot be forecast by what is fitted on {fitted_on.name}: the environment "
                    f"of its trials is {fitted_on.environment}, not {self.dataset.environment}, and what "
                    f"{predictor.name} learns does not transfer (`Predictor.transfers`)."
                )
            consumes = class_with_fit_set(consumes, elsewhere=elsewhere)
        try:
            key = RunKey(
                protocol=self.protocol,
                dataset=identity(self.dataset),
                method=MethodIdentity(
                    name=predictor.name,
                    version=predictor.version,
                    consumes=consumes,
                    budget=self.budget,
                    options=predictor.options,
                    forecasts_normaliser=predictor.forecasts_normaliser,
                    fitted_on=fitted_on,
                ),
                seed=self.seed,
                device=resolve_device(self.device),
                split=self.split,
                limit=self.limit,
                state=sha256(self.fitted.path) if self.fitted else None,
            )
        except ValidationError as error:
            raise OptionError(f"{self.model}: {first_error(error)}.") from None
        if self.fitted is not None:
            check_method(key.method, self.fitted.record.key.method)
        return key


def stated_predictor(key: RunKey) -> Predictor[Any]:
    """The predictor that a run's key states, in this process and unfitted.

    Raises `UnknownNameError` if it is not installed, and `OptionError` if it cannot have the options.
    """
    method, kind = key.method, predictor_type(key.method.name)
    predictor: Predictor[Any] = kind(
        build_options(kind, method.budget, as_settings(method.options), key.protocol.context)
    )
    return predictor


def check_method(installed: MethodIdentity, stated: MethodIdentity) -> None:
    """The predictor that is installed is the one that a record states; raises `ProtocolError`."""
    if canonical_json(installed.stable()) != canonical_json(stated.stable()):  # where 1, 1.0 and true are three things
        raise ProtocolError(
            f"The record is of {stated.name} v{stated.version} with options {stated.options}; installed here is "
            f"v{installed.version} with {installed.options}. Install the version that the record names."
        )


def identity(dataset: Dataset) -> DatasetIdentity:
    """Which bytes a dataset is."""
    return DatasetIdentity(name=dataset.name, environment=dataset.environment, **identity_of(dataset)._asdict())


def is_identified(dataset: Dataset, stated: DatasetIdentity) -> bool:
    """Whether a dataset is the one that a record states: by its first digest, and by every other that is stated."""
    known = identity(dataset)
    if stated == known:
        return True
    # A dataset that was migrated and that no catalog knows: what protocol 1 derived gives its former digest.
    return dataset.former_digest is not None and stated == known.model_copy(
        update={"former_digest": dataset.former_digest}
    )


@contextlib.contextmanager
def attribute_errors(name: str, stage: str) -> Iterator[None]:
    """Re-raise a worker failure as PredictorError, naming predictor and stage."""
    try:
        yield
    except PredictorCrash as crash:
        raise PredictorError(f"{name}: {stage} failed: {crash}.") from None


def resolve_device(name: str) -> str:
    """The torch device a name stands for; raises `OptionError` if the device is unavailable."""
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"Unknown device {name!r}. Known: auto, cpu, cuda.")
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            'Device cuda was asked for, but torch sees no CUDA device here; use `device="cpu"` or `device="auto"`.'
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def check_whole(name: str, value: object, least: int) -> None:
    """A number that a user gave is a whole one of at least `least`; raises `OptionError`."""
    if type(value) is not int or not least <= value < 2**63:
        raise OptionError(f"Invalid {name} {value!r}: use a whole number from {least} to {2**63 - 1}.")


def default_folder(request: RunRequest) -> Path:
    """`runs/<dataset>/<model>[-settings]-<budget>[-on-<fit set>]-seed<seed>[-p<version>][-validation][-limit<limit>]`.

    Slashes in names are two hyphens.
    """
    model, fitted_on = request.model.rpartition(":")[2], request.fit_on.name if request.fit_on else None
    folder = run_folder(
        request.dataset.name, model, request.settings, request.budget, request.seed, request.protocol, fitted_on
    )
    scope = ["validation"] if request.split == "validation" else []
    scope += [f"limit{request.limit}"] if request.limit else []
    return folder.with_name("-".join([folder.name, *scope]))


def run_folder(
    dataset: str,
    model: str,
    settings: Iterable[str],
    budget: str,
    seed: int,
    protocol: Protocol,
    fitted_on: str | None = None,
) -> Path:
    """The default folder of a test run, by names alone."""
    chosen = "".join(f"-{as_file_name(setting.replace('=', '-', 1))}" for setting in sorted(settings))
    trained = f"{budget}-on-{fitted_on.replace('/', '--')}" if fitted_on else budget
    return Path("runs") / dataset.replace("/", "--") / f"{model}{chosen}-{trained}-seed{seed}{protocol.suffix}"


def as_file_name(text: str) -> str:
    """A setting as a part of a file name: as it is, or recognisable and with a hash if no file should be named so."""
    plain = re.sub(r"[^\w.+=-]", "_", text, flags=re.ASCII)[:MAX_IN_NAME]
    return text if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def several(name: str, values: Iterable[str]) -> tuple[str, ...]:
    """Values of a list; raises `OptionError` for a text, which is a sequence as well."""
    if isinstance(values, str):
        raise OptionError(f"Invalid {name} {values!r}: give a list, [{values!r}].")
    return tuple(values)
