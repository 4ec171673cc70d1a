"""A request for a training run: what to run on what, its key and its folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...baselines import predictor_names
from ...baselines.optimizers.jump import Jump
from ...baselines.optimizers.lookup import build_optimizer, rule_code
from ...baselines.optimizers.optim4rl.parameters import shipped_parameters
from ...baselines.optimizers.state_file import state_label
from ...baselines.options import as_settings
from ...baselines.saving import options_dict
from ...registry.collection.processes import ANY_PROCESSOR, ONE_THREAD
from ...rl import Composed, OuterRule
from ...utils.engines.work import Work, program_of
from ...utils.errors import OptionError, ProtocolError, UnknownNameError
from ...utils.files import sha256
from ..fitted.states import fitted_state, shipped_states
from ..forecast.run_folder import FittedState
from ..request import as_file_name, check_whole
from .block import snapshot_name, train_block
from .protocol import TrainingProtocol, training_protocol
from .record import RuleIdentity, Split, TrainingKey

SPLITS: tuple[Split, ...] = ("test", "tuning")
PREDICTOR, WEIGHTS = "predictor", "weights"
"""The settings of a jump that names a predictor or its fitted state, and of a learned optimizer that names a file."""


FILE = "file"
"""What a key has in place of the name of a file that does not ship, which is known by its sha256 alone."""


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
    states
        The fitted states by file.
    protocol
        The protocol of the environment.
    split, trials, iterations
        Which trials, how many of them, and for how many iterations.
    """

    optimizer: str
    outer: tuple[str, ...]
    given: tuple[str, ...]
    settings: tuple[str, ...]
    states: Mapping[str, FittedState]
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
            *with_files(settings),
            protocol,
            split,
            *wanted.values(),
        )

    @classmethod
    def again(cls, key: TrainingKey, states: Iterable[Path | str] = ()) -> TrainingRequest:
        """The request of a run's key.

        Parameters
        ----------
        key
            The key.
        states
            Run folders of fitted states, and files of released weights, where one is used that does not ship with the
            package.

        Raises
        ------
        ProtocolError
            If a fitted state is not among them, or an optimizer or predictor of another version is installed.
        """
        given_files = [Path(place) for place in states if Path(place).is_file()]
        files = {sha256(file): file for file in (*given_files, *shipped_parameters().values())}
        found = [fitted_state(one) for one in (*states, *shipped_states()) if not Path(one).is_file()]
        known = {sha256(one.path): one for one in found}
        settings, used = [], {}
        for rule in (key.optimizer, *key.outer):
            options = dict(rule.options)
            released = WEIGHTS in options
            if rule.state is not None and rule.state not in (files if released else known):
                what = "a file" if released else "a fitted state"
                raise ProtocolError(
                    f"{key.label}: its {rule.name} uses {what} with sha256 {rule.state[:12]}, which does not ship with "
                    f"this package; give {'it' if released else 'its run folder'} (`state=`)."
                )
            if rule.state is not None and released:
                options[WEIGHTS] = str(files[rule.state].absolute())
            elif rule.state is not None:
                path = str(known[rule.state].path.absolute())
                options[PREDICTOR], used[path] = path, known[rule.state]
            prefix = "" if rule is key.optimizer else f"{rule.name}."
            settings += [f"{prefix}{setting}" for setting in as_settings(options)]
        outer, given = tuple(rule.name for rule in key.outer), tuple(settings)
        request = cls(
            key.optimizer.name, outer, given, given, used, key.protocol, key.split, key.trials, key.iterations
        )
        if request.key() != key:
            raise ProtocolError(f"{key.label}: the installed optimizer, outer rule or predictor is of another version.")
        return request

    def key(self) -> TrainingKey:
        """The key of the run; raises as `build_optimizer`."""
        built = build_optimizer(self.optimizer, self.outer, self.settings)
        parts = built.parts if isinstance(built, Composed) else (built,)
        identities = [
            _identity(name, part, self.states) for name, part in zip((self.optimizer, *self.outer), parts, strict=True)
        ]
        return TrainingKey(
            protocol=self.protocol,
            optimizer=identities[0],
            outer=tuple(identities[1:]),
            split=self.split,
            trials=self.trials,
            iterations=self.iterations,
        )

    def work(self, key: TrainingKey, folder: Path, blocks: Sequence[tuple[int, Sequence[int]]]) -> Work:
        """What a process is given; see `block.train_block`."""
        settings, files = [], []
        for setting in self.settings:
            name, _, text = setting.partition("=")
            released = name.rpartition(".")[2] == WEIGHTS and text not in shipped_parameters()
            if text in self.states or (released and Path(text).is_file()):
                files.append(Path(text).absolute())
                setting = f"{name}={files[-1]}"
            settings.append(setting)
        code = rule_code((self.optimizer, *self.outer))
        task = {
            "protocol": key.protocol.model_dump(mode="json"),
            "optimizer": self.optimizer,
            "outer": self.outer,
            "settings": settings,
            "code": code and code.files,
            "iterations": key.iterations,
            "folder": str(folder.absolute()),
            "blocks": blocks,
        }
        resumed_from = (snapshot_name(blocks[0][0]),) if len(blocks) == 1 else ()
        return Work(program_of(train_block), task, ONE_THREAD | ANY_PROCESSOR, folder, tuple(files), resumed_from)


def _identity(name: str, rule: OuterRule, states: Mapping[str, FittedState]) -> RuleIdentity:
    options: dict[str, Any] = options_dict(rule)
    if not isinstance(rule, Jump):
        file: Path = getattr(rule, "file", Path(str(options.get(WEIGHTS, ""))))
        if WEIGHTS not in options or not file.is_file():
            return RuleIdentity(name=name, version=rule.version, options=options)
        digest = sha256(file)
        known = next((name for name, path in shipped_parameters().items() if sha256(path) == digest), FILE)
        return RuleIdentity(name=name, version=rule.version, options={**options, WEIGHTS: known}, state=digest)
    state = states.get(rule.predictor)
    if state is None:
        predictor = rule.forecaster
        return RuleIdentity(name=name, version=rule.version, options=options, predictor_version=predictor.version)
    key = state.record.key
    return RuleIdentity(
        name=name,
        version=rule.version,
        options={**options, PREDICTOR: key.method.name},
        predictor_version=key.method.version,
        state=sha256(state.path),
        fitted_on=key.method.fitted_on or key.dataset,
    )


def with_files(settings: Sequence[str]) -> tuple[tuple[str, ...], dict[str, FittedState]]:
    """Settings with the file of a fitted state in place of its name or run folder, and the states by file.

    A name is a shipped state's or a predictor's before it is a folder's.

    Raises
    ------
    OptionError
        For a bare file, which does not say what it was fitted on.
    """
    found, states = [], {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if name.rpartition(".")[2] == PREDICTOR and text not in predictor_names():
            if text in shipped_states() or Path(text).is_dir():
                state = fitted_state(text)
                _check_label(state)
                text = str(state.path.absolute())
                states[text] = state
            elif Path(text).is_file():
                raise OptionError(
                    f"{setting}: give the run folder of the fitted state, whose record says what it was fitted on."
                )
        found.append(f"{name}{equals}{text}")
    return tuple(found), states


def _check_label(state: FittedState) -> None:
    """Refuse a state of another predictor than its record's: the row would name what did not jump."""
    label, method = state_label(state.path), state.record.key.method
    stated = {"predictor": method.name, "version": method.version, "options": dict(method.options)}
    for name, value in stated.items():
        if label[name] != value:
            raise ProtocolError(f"{state.path}: its {name} is {label[name]}, and the record beside it says {value}.")


def default_folder(request: TrainingRequest) -> Path:
    """`runs/training/<environment>/<method>[-settings][-tuning][-trials<N>][-iterations<N>]`."""
    method = "+".join((request.optimizer, *request.outer))
    chosen = "".join(
        f"-{as_file_name(setting.replace('=', '-', 1).replace('/', '--'))}" for setting in sorted(request.given)
    )
    scope = "-tuning" if request.split == "tuning" else ""
    scope += f"-trials{request.trials}" if request.trials < len(request.protocol.seeds(request.split)) else ""
    scope += f"-iterations{request.iterations}" if request.iterations < request.protocol.iterations else ""
    return Path("runs") / "training" / request.protocol.environment / f"{method}{chosen}{scope}"
