"""Meta-train a learned optimizer: a run folder, from which a killed run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ...baselines.optimizers.optim4rl.meta_training import life, meta_training
from ...baselines.optimizers.optim4rl.optimizer import GivenRule, Optim4RL
from ...baselines.optimizers.optim4rl.parameters import MetaParameters, shipped_parameters
from ...baselines.optimizers.optim4rl.settings import MetaOptions
from ...baselines.options import Configurable, as_settings, build_options
from ...baselines.saving import options_dict
from ...registry.collection.block import one_thread
from ...utils.canonical import strict_json
from ...utils.errors import ProtocolError, UnknownNameError, reason
from ...utils.fields import parse
from ...utils.files import replace_atomically, sha256, write_text
from ...utils.progress import Progress, silent
from ..forecast.run_folder import claim_folder
from ..provenance import provenance
from ..record import RECORD_NAME
from ..request import as_file_name, check_whole, resolve_device, several
from . import figures
from .record import MetaKey, MetaRecord, Validation

LEARNED = Configurable(MetaOptions.name, MetaOptions, MetaOptions.budgets)
"""What can be meta-trained."""
VALIDATION_SEED = 1_000_000
"""First seed of the validation agents."""
PARAMETERS_NAME, SNAPSHOT_NAME = "optim4rl.safetensors", "snapshot.safetensors"
SNAPSHOT_SECONDS = 60.0
KEPT, REWARDS, VALIDATED, SECONDS = "kept", "rewards", "validated", "seconds"
"""Arrays of a snapshot beside those of the training: the best meta-parameters so far, the log, and CPU seconds."""


@dataclass(frozen=True)
class MetaRun:
    """A finished meta-training run: its folder and record."""

    folder: Path
    record: MetaRecord

    @property
    def parameters(self) -> Path:
        """The file of the meta-parameters, for `weights=`."""
        return self.folder / PARAMETERS_NAME


def meta_train(
    optimizer: str = MetaOptions.name,
    *,
    budget: str = "quick",
    seed: int = 0,
    options: Mapping[str, object] | Sequence[str] = (),
    device: str = "cpu",
    out: str | Path | None = None,
    progress: Progress = silent,
) -> MetaRun:
    """Meta-train a learned optimizer, or go on where a run was; the best meta-parameters on validation agents are kept.

    Parameters
    ----------
    optimizer
        Its name; `optim4rl` is the only one yet.
    budget
        `smoke`, `quick` (minutes), `standard` (an hour or more) or `paper`.
    seed
        The meta-seed: of the meta-parameters, the agents and all that they do.
    options
        Settings by name or as `name=value`; see `MetaOptions`.
    device
        Where agents and the rule are computed: `cpu`, `cuda`, or `auto`. The gridworlds are played on the processor.
    out
        The run folder; `runs/meta-training/<optimizer>-<budget>[-settings]-seed<N>` by default.
    progress
        Receives the progress.

    Returns
    -------
    MetaRun
        Its folder, its record, and the file of the kept meta-parameters.

    Raises
    ------
    UnknownNameError, OptionError
        If a name, a setting or a number is not known or not valid.
    ProtocolError
        If the folder holds another run, or its snapshot is damaged.
    """
    request = MetaRequest.of(optimizer, budget, seed, options, device, out)
    request.claim()
    if finished := request.finished():
        return MetaRun(request.folder, finished)
    with one_thread():
        return _Run(request).finish(progress)


@dataclass(frozen=True)
class MetaRequest:
    """What to meta-train, and where; see `meta_train`."""

    budget: str
    settings: tuple[str, ...]
    options: MetaOptions
    key: MetaKey
    folder: Path

    @classmethod
    def of(
        cls,
        optimizer: str,
        budget: str,
        seed: int,
        options: Mapping[str, object] | Sequence[str] = (),
        device: str = "cpu",
        out: str | Path | None = None,
    ) -> MetaRequest:
        """A request; raises `UnknownNameError` or `OptionError` for what no run can have."""
        if optimizer != LEARNED.name:
            raise UnknownNameError("optimizer that can be meta-trained", optimizer, [LEARNED.name])
        settings = as_settings(options) if isinstance(options, Mapping) else several("options", options)
        chosen: MetaOptions = build_options(LEARNED, budget, settings, 0)
        check_whole("seed", seed, 0)
        key = MetaKey(
            optimizer=optimizer,
            version=Optim4RL.version,
            options=options_dict(chosen),
            seed=seed,
            device=resolve_device(device),
        )
        given = "".join(f"-{as_file_name(one.replace('=', '-', 1))}" for one in sorted(settings))
        folder = Path(out) if out else Path("runs") / "meta-training" / f"{optimizer}-{budget}{given}-seed{seed}"
        return cls(budget, tuple(settings), chosen, key, folder)

    def claim(self) -> None:
        """Write the key into the folder; raises `ProtocolError` if the folder is another run's."""
        claim_folder(
            self.folder,
            self.key,
            lambda document: None if parse(MetaKey, document) == self.key else "of other settings",
        )

    def finished(self) -> MetaRecord | None:
        """The record of a run that came to its end before, and still has its meta-parameters."""
        try:
            record = read_meta_record(self.folder / RECORD_NAME)
            same = record.key == self.key and record.artifacts["parameters"] == sha256(self.folder / PARAMETERS_NAME)
        except (ProtocolError, OSError, KeyError):
            return None  # it is made again
        return record if same else None


def read_meta_record(path: Path) -> MetaRecord:
    """Read a record; raises `ProtocolError` for one that is not valid."""
    try:
        return parse(MetaRecord, strict_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: not a record of meta-training ({reason(error)}).") from None


def shipped_records() -> dict[str, MetaRecord]:
    """The records of the meta-parameters that ship, by name; raises `ProtocolError` for one of other bytes."""
    found = {path.stem: read_meta_record(path.with_suffix(".json")) for path in shipped_parameters().values()}
    for name, record in found.items():
        if record.artifacts.get("parameters") != sha256(shipped_parameters()[name]):
            raise ProtocolError(f"{shipped_parameters()[name]}: not the meta-parameters that its record is of.")
    return found


class _Run:
    """A run in progress."""

    def __init__(self, request: MetaRequest) -> None:
        self.options, self.key, self.folder = request.options, request.key, request.folder
        self.circumstances = provenance(self.key.device, "none", None)
        self.training = meta_training(self.options, self.key.seed, self.key.device)
        self.kept = self.training.vector
        self.rewards: list[float] = []
        self.validations: list[Validation] = []
        self.seconds = 0.0
        self.snapshot = self.folder / SNAPSHOT_NAME

    def finish(self, progress: Progress) -> MetaRun:
        """Train to the end, and write what came out."""
        began, total = time.process_time(), self.options.iterations
        if self.snapshot.exists():
            self._restore()
        else:
            self._validate()
        before, saved = self.seconds, time.monotonic()
        while self.training.iteration < total:
            self.rewards.append(self.training.iterate())
            done = self.training.iteration
            if done % self.options.validate_every == 0 or done == total:
                self._validate()
            progress("meta-train", done, total, f"validation reward {self.validations[-1].mean:.4f} a step")
            self.seconds = before + time.process_time() - began
            if time.monotonic() - saved >= SNAPSHOT_SECONDS:
                self._save()
                saved = time.monotonic()
        return self._write()

    def _validate(self) -> None:
        """Measure the meta-parameters of now on validation agents, and keep them if they are the best trained ones."""
        options, seeds = self.options, [VALIDATION_SEED + n for n in range(self.options.probes)]
        rule = GivenRule(self.training.rule, self.training.vector, options.rate)
        device = self.key.device
        found = [life(rule, world, seeds, options.lifetime, options.a2c, device) for world in options.gridworlds]
        rewards = np.concatenate([one[options.lifetime // 2 :].mean(0) for one in found])
        now = Validation(iteration=self.training.iteration, rewards=tuple(rewards.tolist()))
        trained = [one for one in self.validations if one.iteration]
        if now.iteration and all(now.mean > one.mean for one in trained):
            self.kept = self.training.vector
        self.validations.append(now)

    def _write(self) -> MetaRun:
        parameters = self.folder / PARAMETERS_NAME
        MetaParameters(self.training.rule, self.kept, self.training.rule.initial(self.key.seed)).write(parameters)
        options, trained = self.options, [one for one in self.validations if one.iteration]
        life_steps = options.a2c.rollout * options.environments * options.probes * options.lifetime
        record = MetaRecord(
            format=1,
            key=self.key,
            rewards=tuple(self.rewards),
            validations=tuple(self.validations),
            selected=max(trained, key=lambda one: one.mean).iteration,
            environment_steps=self.training.steps_per_iteration * options.iterations
            + life_steps * len(options.gridworlds) * len(self.validations),
            cpu_seconds=self.seconds,
            artifacts={"parameters": sha256(parameters)},
            provenance=self.circumstances,
        )
        figures.draw({f"seed {self.key.seed}": record}, self.folder / "curve")
        write_text(self.folder / RECORD_NAME, record.model_dump_json(indent=1) + "\n")
        self.snapshot.unlink(missing_ok=True)
        return MetaRun(self.folder, record)

    def _save(self) -> None:
        arrays: dict[str, Any] = {
            **self.training.arrays(),
            KEPT: self.kept.numpy(),
            REWARDS: np.array(self.rewards),
            SECONDS: np.array([self.seconds]),
            VALIDATED: np.array([[one.iteration, *one.rewards] for one in self.validations]),
        }
        with replace_atomically(self.snapshot) as temporary:
            save_file(arrays, temporary)

    def _restore(self) -> None:
        try:
            arrays = load_file(self.snapshot)
            self.training.restore(arrays)
            if len(arrays[REWARDS]) != self.training.iteration or arrays[KEPT].shape != self.kept.shape:
                raise ValueError("its parts are of different runs")
            self.kept = torch.from_numpy(arrays[KEPT])
            self.rewards, self.seconds = arrays[REWARDS].tolist(), float(arrays[SECONDS][0])
            self.validations = [
                Validation(iteration=int(row[0]), rewards=tuple(row[1:])) for row in arrays[VALIDATED].tolist()
            ]
        except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
            raise ProtocolError(
                f"{self.snapshot}: damaged ({reason(error)}). Remove the folder to begin again."
            ) from None
