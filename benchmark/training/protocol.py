"""The protocol of the training track: one frozen object an environment, whose fields are the key of every result."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ...registry.collection_config import CollectionConfig
from ...utils.errors import UnknownNameError

TEST_SEED, TUNING_SEED, TUNING_TRIALS = 2001, 3001, 16
"""First seeds of the test and tuning trials, which no dataset has, and how many tuning trials there are."""
MAX_CONFIGURATIONS = 8
"""Configurations of a method that its tuning may try."""


class TrainingProtocol(BaseModel):
    """Everything that decides what a number of the training track means; changing any field is a new version.

    PPO is that of the collections (version 3, the same bytes on every x86-64 processor with AVX2 and FMA): its loss,
    epochs, minibatches, normalisers, annealing and random streams are no method's to change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    """Its number."""
    environment: str
    """Gymnasium environment id."""
    hidden_sizes: tuple[int, ...]
    """Hidden widths of actor and critic."""
    environment_steps: int
    """Steps over which PPO anneals the learning rate to 0."""
    iterations: int
    """PPO iterations that each trial trains, at most as many as these steps make."""
    trials: int
    """Test trials."""
    initial_return: float
    """J of a random initialisation, which is 0 of the normalised return: the mean of the tuning trials. That of
    InvertedPendulum was set before they were, and theirs is 26."""
    reference_return: float
    """J of what tuned Adam ends with, which is 1 of the normalised return; measured on the tuning trials."""
    evaluation_seeds: tuple[int, ...] = (10_001, 10_002, 10_003, 10_004, 10_005)
    """Reset seeds of J's episodes, those of the forecast track."""
    evaluated_first: int = 30
    """Iterations at the beginning after each of which J is evaluated."""
    evaluated_every: int = 5
    """Iterations between two evaluations after those."""
    fractions: tuple[float, ...] = (0.5, 0.95)
    """Normalised returns whose first crossing is timed, the last one being where a trial is solved."""
    kept_fraction: float = 0.9
    """A solved trial is kept as long as its normalised return is at least this."""
    final_fraction: float = 0.1
    """The last part of the training whose evaluations make the final return."""
    resamples: int = 9_999
    """Bootstrap resamples."""
    confidence: float = 0.95
    """Level of every interval."""
    bootstrap_seed: int = 1
    """The seed of the bootstrap."""

    @property
    def evaluated(self) -> tuple[int, ...]:
        """Iterations after which J is evaluated: the initialisation (0) and the last one among them."""
        every = range(self.evaluated_first, self.iterations, self.evaluated_every)
        return tuple(sorted({*range(min(self.evaluated_first, self.iterations) + 1), *every, self.iterations}))

    def evaluated_until(self, iterations: int) -> list[int]:
        """The same of a run of fewer iterations, its last one among them."""
        return [*(one for one in self.evaluated if one < iterations), iterations]

    @property
    def iteration_steps(self) -> int:
        """Environment steps of a trial in one PPO iteration."""
        return self.collection("test").hyperparameters.steps_per_iteration

    def seeds(self, split: str) -> range:
        """The trials' seeds: of the test trials, or of the `tuning` trials."""
        if split == "test":
            return range(TEST_SEED, TEST_SEED + self.trials)
        return range(TUNING_SEED, TUNING_SEED + TUNING_TRIALS)

    def collection(self, split: str) -> CollectionConfig:
        """The collection whose trials these would be with Adam at its published rate."""
        seeds = self.seeds(split)
        return CollectionConfig(
            environment=self.environment,
            hidden_sizes=self.hidden_sizes,
            environment_steps=self.environment_steps,
            trials=len(seeds),
            first_seed=seeds[0],
            version=3,
        )


def _of_mini(environment: str, *, initial_return: float, reference_return: float) -> TrainingProtocol:
    """The protocol of an environment of the `ppo-mini` collections: half of their training."""
    return TrainingProtocol(
        version=1,
        environment=environment,
        hidden_sizes=(64, 64),
        environment_steps=300_000,
        iterations=73,
        trials=20,
        initial_return=initial_return,
        reference_return=reference_return,
    )


PROTOCOLS = {
    one.environment: one
    for one in (
        TrainingProtocol(
            version=1,
            environment="InvertedPendulum-v4",
            hidden_sizes=(8, 8),
            environment_steps=800_000,
            iterations=50,
            trials=50,
            initial_return=30.0,
            reference_return=1000.0,
        ),
        _of_mini("InvertedDoublePendulum-v4", initial_return=93.0, reference_return=9300.0),
        _of_mini("Hopper-v4", initial_return=147.0, reference_return=1200.0),
        _of_mini("Walker2d-v4", initial_return=92.0, reference_return=700.0),
        _of_mini("Swimmer-v4", initial_return=-5.0, reference_return=60.0),
    )
}
"""Version 1, by environment."""


def training_protocol(environment: str) -> TrainingProtocol:
    """The protocol of an environment; raises `UnknownNameError` if the track does not have it."""
    if environment not in PROTOCOLS:
        raise UnknownNameError("environment of the training track", environment, PROTOCOLS)
    return PROTOCOLS[environment]
