"""Check that an optimizer or an outer rule fulfils its contract, inside PPO on a small pendulum."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from ..._version import __version__
from ...baselines.optimizers.lookup import build_optimizer, rule_type
from ...registry.collection.block import one_thread
from ...rl import Optimizer, PPOHyperparameters, PPOTraining, TrainingConfig, TrainingState
from ...utils.errors import TiplBenchError, reason
from ...utils.text import one_line
from .check import Check, Report

SEEDS = (1, 2, 3)
ITERATIONS = 6
"""As many as a jump waits for, and more."""
CHECKS = 6
"""Checks in a complete report."""
TOLERANCE = 1e-4
"""By how much a trial may differ alone, relative to its weights' largest: sums of stacked trials round otherwise."""
CONFIG = TrainingConfig(
    "InvertedPendulum-v4",
    (4, 4),
    256 * 8,
    hyperparameters=PPOHyperparameters(steps_per_iteration=256, minibatches=4),
)


class _FailedError(Exception):
    """A check failed; the others go on."""


def check_optimizer(
    name: str, *, settings: Sequence[str] = (), progress: Callable[[str], None] = lambda name: None
) -> Report:
    """Check the contract of an optimizer, or of an outer rule beside Adam, in seconds.

    Parameters
    ----------
    name
        Its name.
    settings
        `name=value`.
    progress
        Called with the name of each check as it begins.

    Returns
    -------
    Report
        The checks, and whether all `passed`.

    Raises
    ------
    UnknownNameError, OptionError
        If there is no such optimizer, outer rule or setting.
    """
    began, report = time.perf_counter(), Report(name)
    is_optimizer = issubclass(rule_type(name), Optimizer)
    outer = [] if is_optimizer else [name]
    given = settings if is_optimizer else [f"{name}.{setting}" for setting in settings]

    def build() -> Optimizer:
        return build_optimizer(name if is_optimizer else "adam", outer, given)

    build()  # raises for names and values that cannot be: then no check has begun
    with one_thread():
        _run_checks(report, build, progress)
    report.seconds = time.perf_counter() - began
    system = f"Python {platform.python_version()}, {platform.platform()}"
    report.environment = f"tipl-bench {__version__}, {system}"
    return report


def _run_checks(report: Report, build: Callable[[], Optimizer], progress: Callable[[str], None]) -> None:
    @contextmanager
    def check(title: str) -> Iterator[list[str]]:
        progress(title)
        detail: list[str] = []
        try:
            yield detail
        except (_FailedError, TiplBenchError) as error:
            report.checks.append(Check(title, False, one_line(error, 300)))
        except Exception as error:  # whatever the optimizer raises
            report.checks.append(Check(title, False, f"raised {type(error).__name__}: {one_line(reason(error), 200)}"))
        else:
            report.checks.append(Check(title, True, " ".join(detail)))

    with check("description") as detail:
        described = build().describe()
        _require(json.loads(json.dumps(described)) == _plain(described), "describe() is not what JSON gives back")
        detail.append(f"{len(described)} entries")
    with check("trains, weights finite") as detail:
        whole = _train(build())
        size = sum(tensor.numel() for tensor in whole.agent.optimizer_state.values())
        acts = "" if not _same(whole, _train(build_optimizer("adam"))) else "; the same weights as Adam alone"
        detail.append(f"{ITERATIONS} iterations of {len(SEEDS)} trials, {size:,} numbers of state{acts}")
        _require(bool(torch.isfinite(whole.agent.parameters).all()), "weights became infinite or undefined")
    if not report.passed:
        return
    with check("state: names, shapes and dtypes stay"):
        before, after = (_shapes(training) for training in (_train(build(), 0), whole))
        changed = sorted(set(before.items()) ^ set(after.items()))
        _require(not changed, f"{changed[0][0] if changed else ''} is not as init made it")
    with check("the same twice"):
        _require(_same(whole, _train(build())), "a second training gave other weights")
    with check("resumes bit for bit"):
        half = _train(build(), ITERATIONS // 2)
        saved = half.state()
        resumed = PPOTraining(CONFIG, SEEDS, build(), threads=1)
        resumed.restore(TrainingState(saved.arrays, json.loads(json.dumps(saved.metadata))))
        for _ in range(ITERATIONS - ITERATIONS // 2):
            resumed.iterate()
        _require(_same(whole, resumed), "a training that was saved and restored went on to other weights")
    with check("trials are independent") as detail:
        alone = _train(build(), seeds=SEEDS[1:2]).agent.parameters[0]
        difference = float((alone - whole.agent.parameters[1]).abs().max() / alone.abs().max())
        detail.append(f"alone, a trial differs by {difference:.1e} of its largest weight")
        _require(difference <= TOLERANCE, f"alone, a trial differs by {difference:.1e} of its largest weight")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _FailedError(otherwise)


def _plain(value: object) -> object:
    """Tuples as lists, as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _train(optimizer: Optimizer, iterations: int = ITERATIONS, seeds: Sequence[int] = SEEDS) -> PPOTraining:
    training = PPOTraining(CONFIG, seeds, optimizer, threads=1)
    training.start()
    for _ in range(iterations):
        training.iterate()
    return training


def _shapes(training: PPOTraining) -> dict[str, str]:
    state = training.agent.optimizer_state
    return {name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in state.items()}


def _same(first: PPOTraining, second: PPOTraining) -> bool:
    return torch.equal(first.agent.parameters, second.agent.parameters)
