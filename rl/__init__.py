"""The reinforcement-learning engine: environments, policies, PPO and its optimizer, and J of a policy.

It knows no dataset and writes no file. Its users are collection (`PPOTraining` with Adam, checkpoints recorded),
evaluation (`evaluate_returns` of stored or forecast policies) and training tracks (`PPOTraining` with any `Optimizer`).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "TASKS": "environments",
    "Adam": "optimizer",
    "AgentLayout": "policy",
    "Checkpoint": "checkpoint",
    "Composed": "optimizer",
    "Environment": "environments",
    "FusedAdam": "optimizer",
    "IterationSteps": "optimizer",
    "Optimizer": "optimizer",
    "OuterRule": "optimizer",
    "PPOHyperparameters": "hyperparameters",
    "PPOTraining": "training",
    "Policies": "evaluation",
    "PolicyLayout": "policy",
    "TrainingConfig": "hyperparameters",
    "TrainingState": "training",
    "evaluate_returns": "evaluation",
    "make": "environments",
    "usable_threads": "evaluation",
}
"""Public names, imported when first used: a policy's layout must not wait for torch and MuJoCo."""

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .environments import TASKS, Environment, make
    from .evaluation import Policies, evaluate_returns, usable_threads
    from .hyperparameters import PPOHyperparameters, TrainingConfig
    from .optimizer import Adam, Composed, FusedAdam, IterationSteps, Optimizer, OuterRule
    from .policy import AgentLayout, PolicyLayout
    from .training import PPOTraining, TrainingState


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


__all__ = [
    "TASKS",
    "Adam",
    "AgentLayout",
    "Checkpoint",
    "Composed",
    "Environment",
    "FusedAdam",
    "IterationSteps",
    "Optimizer",
    "OuterRule",
    "PPOHyperparameters",
    "PPOTraining",
    "Policies",
    "PolicyLayout",
    "TrainingConfig",
    "TrainingState",
    "evaluate_returns",
    "make",
    "usable_threads",
]
