"""PPO continued from the origin's policy with fresh batches: what can be known without the trial's own state."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..rl import TASKS, PPOHyperparameters, PPOTraining, TrainingConfig
from ..utils.errors import PredictorError
from .fitting.windows import TrainingWindows
from .predictor import Array, Contexts, FitTask, Options, Predictor, Weights, check_reach

Float64 = npt.NDArray[np.float64]


class ContinuationOptions(Options):
    """What is continued, and how often."""

    environment: str = "InvertedPendulum-v4"
    """Gymnasium id of the environment that the policies act in."""
    copies: int = Field(8, ge=1, le=1024)
    """Continuations of each origin, whose mean is the forecast."""
    warmup: int = Field(16, ge=1, le=100)
    """PPO iterations in which the critic and the optimizer's moments are learned, the policy being put back."""
    windows: int = Field(60, ge=0, le=100_000)
    """Windows of training trials on which the scale of the forecast is fitted; 0: it is 1."""


class Schedule(NamedTuple):
    """What PPO's schedule is, as the columns of a trial show it."""

    learning_rate: float
    """At the first iteration."""
    iterations: int
    """Over which it is annealed to 0; 0: it is constant."""
    steps: int
    """Environment steps of an iteration."""
    epochs: int
    """Epochs of an iteration."""
    every: int
    """Epochs between two checkpoints."""


class _Place(NamedTuple):
    """A checkpoint of a context: its policy with its normaliser, and where in training it stands."""

    weights: npt.NDArray[np.float32]
    moments: tuple[Float64, Float64, Float64]
    iteration: int
    epoch: int


class Continuation(Predictor[ContinuationOptions]):
    """The mean of N continuations of PPO from the origin's policy and observation normaliser alone.

    A branching ceiling (docs/ceilings.md) continues a trial with its whole state. Of that, this predictor has what
    a forecaster is shown, and the environment, of which it takes steps of its own; the critic, the optimizer's
    moments, the reward normaliser and the present batch it makes anew. In `warmup` iterations, at every checkpoint
    of which the policy is put back, a fresh critic and Adam's moments are learned. Where the origin stands within a
    PPO iteration, that iteration is trained again from the policy that it began with, and what its last epochs add
    is carried over to the origin. The mean displacement of the continuations is multiplied, by horizon, by the
    factor that least squares on training windows gives: with a new critic and new moments a policy moves farther
    than the trial's own.

    The random streams follow from the run's seed and the origin's weights; the trial's seed is not known. The learning
    rate and the lengths of iterations are read from the training trials, everything else has `PPOHyperparameters`'
    values. A forecast takes `warmup` + `copies` x I iterations of environment steps, where I is 1 + the iterations that
    begin within the horizon if the origin is inside an iteration, else the latter: 16 + 8 x 2 or 3, times 2,048 steps,
    by default at H = 10; so does each window of the fit.
    """

    name: ClassVar[str] = "continuation"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "Mean of PPO continued from the origin's policy with fresh batches, by simulation."
    options_type: ClassVar[type[Any]] = ContinuationOptions
    budgets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"copies": 2, "warmup": 1, "windows": 0},
        "quick": {"copies": 8},
        "standard": {"copies": 32, "windows": 200},
        "paper": {"copies": 128, "windows": 500},
    }
    consumes: ClassVar[str] = "environment"

    def __init__(self, options: ContinuationOptions) -> None:
        super().__init__(options)
        self.schedule: Schedule | None = None
        self.scale: Float64 | None = None  # [H]
        self.seed = 0

    def fit(self, task: FitTask) -> None:
        """Read the schedule from the first training trial, and fit the scale."""
        rate, iteration, steps, epoch = (
            task.train[0].read(name) for name in ("learning_rate", "iteration", "environment_steps", "epoch")
        )
        if not np.isfinite(rate).all():
            raise PredictorError("continuation: the trials' learning rate was not recorded; it trains on by it.")
        within = epoch[epoch > 0]
        first, last = float(rate[iteration == 1][0]), float(rate[-1])
        whole = 0 if last == first else round((int(iteration[-1]) - 1) / (1 - last / first))
        self.schedule = Schedule(first, whole, int(steps[iteration == 1][0]), int(within.max()), int(within.min()))
        self.seed = task.seed
        self.scale = self._fitted_scale(task)

    def _fitted_scale(self, task: FitTask) -> Float64:
        """Of the displacement of the continuations, [H]."""
        if not self.options.windows:
            task.progress(1, 1, "schedule")
            return np.ones(task.horizon)
        windows = TrainingWindows.of(task.train, task.context, task.horizon)
        products = np.zeros((2, task.horizon))
        rng = np.random.default_rng(task.seed)
        for done in range(self.options.windows):
            row = int(rng.integers(len(windows)))
            context = windows.contexts(row)
            moved = self._displacement(context, 0, task.horizon)
            truth = windows.weights(row)[task.context :] - context.weights[0, -1]
            products += [(moved * other).sum(axis=1) for other in (truth, moved)]
            task.progress(done + 1, self.options.windows, "windows continued")
        if not np.isfinite(products).all():
            raise PredictorError("continuation: training diverged from an origin of the training trials.")
        scale: Float64 = np.divide(products[0], products[1], out=np.ones(task.horizon), where=products[1] > 0)
        return scale

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        """See `Predictor.predict`."""
        if self.schedule is None or self.scale is None:
            raise RuntimeError("continuation was asked to predict before it was fitted or loaded.")
        check_reach(self, contexts, horizon, context=1, longest=len(self.scale))
        moved = np.stack([self._displacement(contexts, row, horizon) for row in range(len(contexts))])
        forecast: Weights = contexts.weights[:, -1:] + (self.scale[:horizon, None] * moved).astype(np.float32)
        return forecast

    def _config(self, hidden_sizes: tuple[int, ...]) -> TrainingConfig:
        schedule = self.schedule
        assert schedule is not None
        hyperparameters = PPOHyperparameters(
            learning_rate=schedule.learning_rate,
            anneal_learning_rate=schedule.iterations > 0,
            steps_per_iteration=schedule.steps,
            epochs=schedule.epochs,
        )
        length = max(schedule.iterations, 1) * schedule.steps
        return TrainingConfig(self.options.environment, hidden_sizes, length, schedule.every, hyperparameters)

    def _displacement(self, contexts: Contexts, row: int, horizon: int) -> Float64:
        """The mean of the continuations from one origin, relative to it, [H, P]."""
        config = self._config(contexts.layout.hidden_sizes)
        origin, start = _origin_and_start(contexts, row, config.hyperparameters.epochs)
        entropy = [self.seed, zlib.crc32(origin.weights.tobytes())]
        warmed, continued = (np.random.SeedSequence([*entropy, part]) for part in range(2))
        training = PPOTraining(config, [int(warmed.generate_state(1)[0])], config.adam(fused=True), threads=1)
        if training.layout.parameter_count != contexts.layout.parameter_count:
            raise PredictorError(
                f"continuation: a policy of {config.environment} has {training.layout.parameter_count:,} parameters, "
                f"these have {contexts.layout.parameter_count:,}: set environment= to the one that they act in."
            )
        if not training.resumable:
            raise PredictorError(
                f"continuation: the state of {config.environment} cannot be copied, only that of {', '.join(TASKS)}."
            )
        training.start()
        done = origin.iteration - (origin is not start)
        for _ in range(self.options.warmup):
            training.iteration = done  # the learning rate's schedule goes by it
            for _ in range(config.checkpoints_per_iteration):
                training.replace_policy(0, start.weights, start.moments)
                training.advance()
        training.replace_policy(0, start.weights, start.moments)
        training.iteration = done
        branched = training.branch(0, self.options.copies, continued)
        ahead = _from_within(branched, origin) if origin is not start else []
        while len(ahead) < horizon:
            ahead.append(branched.advance().weights - origin.weights)
        mean: Float64 = np.mean(ahead[:horizon], axis=1, dtype=np.float64)
        return mean

    def state(self) -> dict[str, Array]:
        """See `Predictor.state`."""
        if self.schedule is None or self.scale is None:
            return {}
        return {"schedule": np.array([*self.schedule]), "seed": np.array([self.seed]), "scale": self.scale}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """See `Predictor.load_state`."""
        rate, *lengths = state["schedule"].tolist()
        self.schedule, self.seed, self.scale = Schedule(rate, *map(int, lengths)), int(state["seed"][0]), state["scale"]


def _origin_and_start(contexts: Contexts, row: int, epochs: int) -> tuple[_Place, _Place]:
    """A window's origin, and the checkpoint that its PPO iteration began with; the same between two iterations.

    Where a short context does not reach back to that, its oldest checkpoint.
    """
    iteration, epoch = (contexts.columns[name][row] for name in ("iteration", "epoch"))

    def place(at: int) -> _Place:
        mean, variance = contexts.normaliser[row, at]
        count = np.asarray(contexts.observation_count[row, at])
        return _Place(contexts.weights[row, at], (mean, variance, count), int(iteration[at]), int(epoch[at]))

    origin = place(-1)
    if origin.epoch in (0, epochs):
        return origin, origin
    return origin, place(max(int((iteration < origin.iteration).sum()) - 1, 0))


def _from_within(training: PPOTraining, origin: _Place) -> list[Weights]:
    """Finish an iteration from its start, carry its last epochs over to the origin; their displacements [copies, P].

    Epochs on a fresh batch from the origin's policy would undo what the trial learned from its own batch, where its own
    next epochs learn more of it: the displacement is that of the same epochs of whole iterations.
    """
    every = training.config.checkpoint_every_epochs
    for _ in range(origin.epoch // every):
        before = training.advance().weights
    ahead = [
        training.advance().weights - before
        for _ in range(training.config.checkpoints_per_iteration - origin.epoch // every)
    ]
    for copy, moved in enumerate(ahead[-1]):
        training.replace_policy(copy, origin.weights + moved, origin.moments)
    return ahead
