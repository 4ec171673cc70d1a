"""Forecasting the weights of deep-RL policies as they train: datasets, predictors, one protocol, a leaderboard.

>>> import tipl_bench
>>> dataset = tipl_bench.load_dataset("inverted-pendulum/ppo-head-v1")
>>> dataset.trial(0).weights(0, 20).shape
(20, 122)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

_HOMES = {
    "Contexts": "baselines.predictor",
    "Dataset": "registry.dataset",
    "FitTask": "baselines.predictor",
    "IterationSteps": "rl.optimizer",
    "Logger": "benchmark.tracking.loggers",
    "NoOptions": "baselines.predictor",
    "Optimizer": "rl.optimizer",
    "Options": "baselines.predictor",
    "OuterRule": "rl.optimizer",
    "PolicyLayout": "rl.policy",
    "Predictor": "baselines.predictor",
    "ProgressLines": "utils.progress",
    "Run": "benchmark.run",
    "Selection": "registry.views.selection",
    "TensorBoardLogger": "benchmark.tracking.loggers",
    "TiplBenchError": "utils.errors",
    "TrainingWindows": "baselines.fitting.windows",
    "TrainingRun": "benchmark.training.run",
    "TrajectoryRecorder": "registry.recording.recorder",
    "Trial": "registry.trial",
    "WandbLogger": "benchmark.tracking.loggers",
    "check_optimizer": "benchmark.conformance.optimizer",
    "check_predictor": "benchmark.conformance.check",
    "compare": "benchmark.compare",
    "compare_training": "benchmark.training.compare",
    "concatenate": "registry.views.selection",
    "evaluate_returns": "rl.evaluation",
    "fit_jump": "benchmark.jump_fitting.run",
    "import_dataset": "benchmark.collection",
    "iteration_positions": "registry.trial",
    "load_dataset": "registry.loading",
    "load_predictor": "benchmark.fitted.states",
    "load_results": "leaderboard.store.results",
    "meta_train": "benchmark.meta_training.run",
    "meta_train_seeds": "benchmark.meta_training.seeds",
    "reproduce": "leaderboard.verify.reproduce",
    "run": "benchmark.run",
    "stream_dataset": "registry.loading",
    "train": "benchmark.training.run",
    "verify": "leaderboard.verify.rescore",
}
"""Public names, imported when first used: the command line's `--help` must not wait for torch."""

if TYPE_CHECKING:
    from .baselines.fitting.windows import TrainingWindows
    from .baselines.predictor import Contexts, FitTask, NoOptions, Options, Predictor
    from .benchmark.collection import import_dataset
    from .benchmark.compare import compare
    from .benchmark.conformance.check import check_predictor
    from .benchmark.conformance.optimizer import check_optimizer
    from .benchmark.fitted.states import load_predictor
    from .benchmark.jump_fitting.run import fit_jump
    from .benchmark.meta_training.run import meta_train
    from .benchmark.meta_training.seeds import meta_train_seeds
    from .benchmark.run import Run, run
    from .benchmark.tracking.loggers import Logger, TensorBoardLogger, WandbLogger
    from .benchmark.training.compare import compare_training
    from .benchmark.training.run import TrainingRun, train
    from .leaderboard.store.results import load_results
    from .leaderboard.verify.reproduce import reproduce
    from .leaderboard.verify.rescore import verify
    from .registry.dataset import Dataset
    from .registry.loading import load_dataset, stream_dataset
    from .registry.recording.recorder import TrajectoryRecorder
    from .registry.trial import Trial, iteration_positions
    from .registry.views.selection import Selection, concatenate
    from .rl.evaluation import evaluate_returns
    from .rl.optimizer import IterationSteps, Optimizer, OuterRule
    from .rl.policy import PolicyLayout
    from .utils.errors import TiplBenchError
    from .utils.progress import ProgressLines


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "Contexts",
    "Dataset",
    "FitTask",
    "IterationSteps",
    "Logger",
    "NoOptions",
    "Optimizer",
    "Options",
    "OuterRule",
    "PolicyLayout",
    "Predictor",
    "ProgressLines",
    "Run",
    "Selection",
    "TensorBoardLogger",
    "TiplBenchError",
    "TrainingRun",
    "TrainingWindows",
    "TrajectoryRecorder",
    "Trial",
    "WandbLogger",
    "__version__",
    "check_optimizer",
    "check_predictor",
    "compare",
    "compare_training",
    "concatenate",
    "evaluate_returns",
    "fit_jump",
    "import_dataset",
    "iteration_positions",
    "load_dataset",
    "load_predictor",
    "load_results",
    "meta_train",
    "meta_train_seeds",
    "reproduce",
    "run",
    "stream_dataset",
    "train",
    "verify",
]
