"""Small datasets of synthetic trajectories on disk, with real manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tipl_bench.baselines.predictor import Contexts, Predictor
from tipl_bench.benchmark.forecast.forecasting import build_contexts
from tipl_bench.benchmark.forecast.windows import EvaluationWindow
from tipl_bench.benchmark.protocol import PROTOCOLS, Protocol
from tipl_bench.registry.collection_config import CollectionConfig
from tipl_bench.registry.dataset import TRIALS_FOLDER, Dataset, describe_trials
from tipl_bench.registry.manifest import Manifest, Split
from tipl_bench.registry.trial import trial_name, trial_tensors
from tipl_bench.rl.environments import make
from tipl_bench.rl.policy import PolicyLayout
from tipl_bench.utils.tensorfile import create_tensors

Array = npt.NDArray[Any]

PENDULUM = "InvertedPendulum-v4"
CHEETAH = "HalfCheetah-v4"
CHECKPOINTS = 81
"""T of most datasets: the initialisation and 16 iterations of 5 checkpoints."""
PER_ITERATION = 5

_FEWER = {"horizon": 3, "evaluation_seeds": (1, 2), "noise_seeds": (3, 4), "resamples": 299}
SMALL = PROTOCOLS[1].model_copy(update={"version": 901, "origins_per_phase": 5, **_FEWER})
"""Protocol 1 with fewer of everything, under a version of its own."""
SMALL_2 = PROTOCOLS[2].model_copy(update={"version": 902, "origins_per_position": (1, 1), **_FEWER})
"""Protocol 2 likewise."""


def layout_of(environment: str, hidden: tuple[int, ...]) -> PolicyLayout:
    """The layout of an environment's policies with these hidden widths."""
    return PolicyLayout.of(make(environment, [0]), hidden)


def random_walk(seed: int, checkpoints: int, parameters: int, step: float = 0.05) -> Array:
    """Weights [T, P] whose every difference is fresh noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(checkpoints, parameters)).cumsum(axis=0) * step


def autoregressive(seed: int, checkpoints: int, parameters: int, coefficients: Sequence[float]) -> Array:
    """Weights [T, P] whose differences follow d_t = sum_k a_k d_{t-k} + noise, lag 1 first, after a burn-in."""
    rng = np.random.default_rng(seed)
    lags, burn_in = len(coefficients), 50
    differences = np.zeros((burn_in + checkpoints - 1, parameters))
    for t in range(len(differences)):
        past = sum(coefficients[k] * differences[t - 1 - k] for k in range(lags) if t - 1 - k >= 0)
        differences[t] = past + 0.05 * rng.normal(size=parameters)
    start = rng.normal(size=(1, parameters))
    return np.concatenate([start, start + differences[burn_in:].cumsum(axis=0)])


def learning_curve(seed: int, checkpoints: int, parameters: int) -> Array:
    """Weights [T, P] that bend smoothly from one point towards another, with a little noise."""
    rng = np.random.default_rng(seed)
    start, swing, bend = rng.normal(size=(3, parameters)) * np.array([[0.5], [1.0], [0.3]])
    time = np.arange(checkpoints)[:, None] / checkpoints
    noise = rng.normal(size=(checkpoints, parameters)) * 0.002
    return start + swing * (1 - np.exp(-3 * time)) + bend * np.sin(4 * time) + noise


def epochs(checkpoints: int) -> Array:
    """The epoch column: 0, then 2, 4, 6, 8, 10 over and over."""
    steps = np.arange(checkpoints - 1)
    return np.concatenate([[0], 2 * (steps % PER_ITERATION) + 2])


def iterations(checkpoints: int) -> Array:
    """The iteration column: 0, then five checkpoints each of 1, 2, ..."""
    return np.concatenate([[0], np.arange(checkpoints - 1) // PER_ITERATION + 1])


def rising_return(checkpoints: int, learned_at: int) -> Array:
    """A training return: NaN at first, then rising from 10 to 1000 at `learned_at` and staying there."""
    curve = np.interp(np.arange(checkpoints), [0, learned_at], [10.0, 1000.0])
    curve[0] = np.nan
    return curve


def write_dataset(
    folder: Path,
    trajectories: Sequence[Array],
    *,
    name: str = "toy-pendulum/synthetic-v1",
    environment: str = PENDULUM,
    hidden: tuple[int, ...] = (3, 3),
    learned_at: int = 25,
    split: Split | None = None,
    moments: Sequence[tuple[Array, Array]] | None = None,
    cpu: str = "a test's",
    first_seed: int = 1,
) -> Dataset:
    """Write trajectories [T, P] as a dataset's trials and open it.

    Parameters
    ----------
    folder
        A new folder.
    trajectories
        One per trial, all of one T = 1 + 5 * iterations.
    learned_at
        The checkpoint at which the training return is full.
    split
        Proportional by default.
    moments
        Observation mean and variance [T, O] of each trial; 0 and 1 by default.
    first_seed
        That of the first trial: trials of equal seeds are the same trials.
    """
    checkpoints = len(trajectories[0])
    layout = layout_of(environment, hidden)
    observations = layout.observation_size
    plain = np.zeros((checkpoints, observations)), np.ones((checkpoints, observations))
    tensors = trial_tensors(checkpoints, layout.parameter_count, observations)
    (folder / TRIALS_FOLDER).mkdir(parents=True)
    for index, weights in enumerate(trajectories):
        mean, variance = moments[index] if moments else plain
        values = {
            "weights": weights,
            "observation_mean": mean,
            "observation_variance": variance,
            "observation_count": np.arange(checkpoints) * 2048.0,
            "environment_steps": iterations(checkpoints) * 2048,
            "iteration": iterations(checkpoints),
            "epoch": epochs(checkpoints),
            "learning_rate": np.full(checkpoints, 3e-4),
            "episodic_return": rising_return(checkpoints, learned_at),
        }
        for tensor, rows in create_tensors(folder / TRIALS_FOLDER / trial_name(index), tensors).items():
            rows[:] = values[tensor]
            rows.flush()
    config = CollectionConfig(
        environment=environment,
        hidden_sizes=hidden,
        environment_steps=(checkpoints - 1) // PER_ITERATION * 2048,
        trials=len(trajectories),
        first_seed=first_seed,
    )
    Manifest(
        name=name,
        licence="MIT",
        environment=environment,
        checkpoints=checkpoints,
        observation_size=observations,
        action_size=layout.action_size,
        parameters=layout.shapes,
        collection=config,
        trial_seeds=tuple(config.seeds),
        split=split or Split.proportional(len(trajectories)),
        versions={"numpy": np.__version__},
        cpu=cpu,
        trials=describe_trials(folder, range(len(trajectories))),
    ).write(folder)
    return Dataset.open(folder)


def smooth_dataset(folder: Path, trials: int = 8, **settings: Any) -> Dataset:
    """Smooth trajectories, which can be forecast well."""
    parameters = layout_of(settings.get("environment", PENDULUM), settings.get("hidden", (3, 3))).parameter_count
    return write_dataset(folder, [learning_curve(i, CHECKPOINTS, parameters) for i in range(trials)], **settings)


def walking_dataset(folder: Path, trials: int = 8, **settings: Any) -> Dataset:
    """Random walks, which cannot be forecast."""
    parameters = layout_of(settings.get("environment", PENDULUM), settings.get("hidden", (3, 3))).parameter_count
    return write_dataset(folder, [random_walk(i, CHECKPOINTS, parameters) for i in range(trials)], **settings)


def contexts_of(dataset: Dataset, trial: int, origins: Sequence[int], protocol: Protocol = SMALL) -> Contexts:
    """Contexts of one trial's windows, as a run builds them."""
    windows = [EvaluationWindow(trial, origin, "learning", 0) for origin in origins]
    return build_contexts({trial: dataset.trial(trial)}, windows, protocol.context)


def skills(predictor: Predictor[Any], dataset: Dataset, trial: int, origins: Sequence[int], horizon: int) -> Array:
    """A fitted predictor's skill [H] over windows of one trial."""
    weights = dataset.trial(trial).weights().astype(np.float64)
    forecast = predictor.predict(contexts_of(dataset, trial, origins), horizon)
    true = np.stack([weights[t + 1 : t + 1 + horizon] for t in origins])
    error = np.square(true - forecast).sum(axis=(0, 2))
    persistence = np.square(true - weights[list(origins), None]).sum(axis=(0, 2))
    return 1 - error / persistence
