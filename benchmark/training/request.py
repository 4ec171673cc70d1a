"""A request for a training run: what to run on what, its key and its folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...baselines.optimizers.lookup import build_optimizer
from ...baselines.options import as_settings
from ...baselines.predictor import options_dict
from ...registry.collection.child import Message
from ...rl import Composed, OuterRule
from ...utils.errors import OptionError, ProtocolError, UnknownNameError
from ...utils.files import sha256
from ..fitted.states import fitted_state, shipped_states
from ..forecast.run_folder import PREDICTOR_NAME
from ..request import as_file_name, check_whole
from .protocol import TrainingProtocol, training_protocol
from .record import RuleIdentity, Split, TrainingKey

SPLITS: tuple[Split, ...] = ("test", "tuning")
PREDICTOR = "predictor"
"""The setting of a rule that names a predictor or its fitted state."""


@dataclass(frozen=True)
class TrainingRequest:
    """What to run; see `TrainingRequest.of`.

    Parameters
    ----------
    optimizer, outer
        Names.
    given
        Settings as they were given.
    settings
        The same with a fitted state's file in place of its name or run folder.
    protocol
        The protocol of the environment.
    split, trials, iterations
        Which trials, how many of them, and for how many iterations.
    """

    optimizer: str
    outer: tuple[str, ...]
    given: tuple[str, ...]
    settings: tuple[str, ...]
    protocol: TrainingProtocol
    split: Split
    trials: int
    iterations: int

    @classmethod
    def of(
        cls,
        optimizer: str,
        environment: str,
        outer: Sequence[str] = (),
        settings: Sequence[str] = (),
        split: Split = "test",
        trials: int | None = None,
        iterations: int | None = None,
    ) -> TrainingRequest:
        """A request; raises `UnknownNameError` or `OptionError` for names and numbers that no run can have."""
        protocol = training_protocol(environment)
        if split not in SPLITS:
            raise UnknownNameError("trials to run on", str(split), SPLITS)
        wanted = {}
        for name, value, most in (
            ("number of trials", trials, len(protocol.seeds(split))),
            ("number of iterations", iterations, protocol.iterations),
        ):
            wanted[name] = most if value is None else value
            check_whole(name, wanted[name], 1)
            if wanted[name] > most:
                raise OptionError(f"Invalid {name} {value}: {environment} has at most {most}.")
        return cls(
            optimizer,
            tuple(outer),
            tuple(settings),
            tuple(map(_with_file, settings)),
            protocol,
            split,
            *wanted.values(),
        )

    @classmethod
    def again(cls, key: TrainingKey, states: Iterable[Path] = ()) -> TrainingRequest:
        """The request of a run's key.

        Parameters
        ----------
        key
            The key.
        states
            Files or run folders of fitted states, where a rule uses one that does not ship with the package.

        Raises
        ------
        ProtocolError
            If a fitted state is not among them, or an optimizer of another version is installed.
        """
        files = [place / PREDICTOR_NAME if place.is_dir() else place for place in states]
        files += [fitted_state(name).path for name in shipped_states()]
        known = {sha256(path): path for path in files}
        settings = []
        for rule in (key.optimizer, *key.outer):
            options = dict(rule.options)
            if rule.state is not None and rule.state not in known:
                raise ProtocolError(
                    f"{key.label}: its {rule.name} uses a fitted state with sha256 {rule.state[:12]}, which does not "
                    "ship with this package; give its file or run folder (`state=`)."
                )
            if rule.state is not None:
                options[PREDICTOR] = str(known[rule.state].absolute())
            prefix = "" if rule is key.optimizer else f"{rule.name}."
            settings += [f"{prefix}{setting}" for setting in as_settings(options)]
        outer = tuple(rule.name for rule in key.outer)
        name, given = key.optimizer.name, tuple(settings)
        found = cls(name, outer, given, given, key.protocol, key.split, key.trials, key.iterations)
        if found.key() != key:
            raise ProtocolError(f"{key.label}: the installed optimizer or outer rule is of another version.")
        return found

    def key(self) -> TrainingKey:
        """The key of the run; raises as `build_optimizer`."""
        built = build_optimizer(self.optimizer, self.outer, self.settings)
        parts = built.parts if isinstance(built, Composed) else (built,)
        identities = [_identity(name, part) for name, part in zip((self.optimizer, *self.outer), parts, strict=True)]
        return TrainingKey(
            protocol=self.protocol,
            optimizer=identities[0],
            outer=tuple(identities[1:]),
            split=self.split,
            trials=self.trials,
            iterations=self.iterations,
        )

    def task(self, key: TrainingKey, folder: Path, blocks: Sequence[tuple[int, Sequence[int]]]) -> Message:
        """What a worker process is given; see `block.train_block`."""
        return {
            "protocol": key.protocol.model_dump(mode="json"),
            "optimizer": self.optimizer,
            "outer": self.outer,
            "settings": self.settings,
            "iterations": key.iterations,
            "folder": str(folder.absolute()),
            "blocks": blocks,
        }


def _identity(name: str, rule: OuterRule) -> RuleIdentity:
    options: dict[str, Any] = options_dict(rule)
    path = Path(str(options.get(PREDICTOR, "")))
    if PREDICTOR not in options or not path.is_file():
        return RuleIdentity(name=name, version=rule.version, options=options)
    predictor = getattr(rule, "forecaster").name  # noqa: B009 - of a jump
    return RuleIdentity(name=name, version=rule.version, options={**options, PREDICTOR: predictor}, state=sha256(path))


def _with_file(setting: str) -> str:
    """A setting with the file of a fitted state in place of the state's name or run folder."""
    name, equals, text = setting.partition("=")
    if name.rpartition(".")[2] != PREDICTOR or not (text in shipped_states() or Path(text).is_dir()):
        return setting
    return f"{name}{equals}{fitted_state(text).path.absolute()}"


def default_folder(request: TrainingRequest) -> Path:
    """`runs/training/<environment>/<method>[-settings][-tuning][-trials<N>][-iterations<N>]`."""
    method = "+".join((request.optimizer, *request.outer))
    chosen = "".join(f"-{as_file_name(setting.replace('=', '-', 1).replace('/', '--'))}" for setting in request.given)
    scope = "-tuning" if request.split == "tuning" else ""
    scope += f"-trials{request.trials}" if request.trials < len(request.protocol.seeds(request.split)) else ""
    scope += f"-iterations{request.iterations}" if request.iterations < request.protocol.iterations else ""
    return Path("runs") / "training" / request.protocol.environment / f"{method}{chosen}{scope}"
