"""Record a policy's checkpoints in anyone's training loop, as one file a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from ...utils.errors import DatasetArgumentError, DatasetError, reason
from ...utils.files import replace_atomically
from ...utils.tensorfile import SUFFIX, Array
from .checkpoint import RecordedCheckpoint, check_follows, read_checkpoint
from .names import MOMENTS, STATED, PolicyNames, find_policy

if TYPE_CHECKING:
    from torch import nn


class TrajectoryRecorder:
    """Records the checkpoints of one trial in a training loop of your own.

    `record` takes the policy as it is at one moment; `save` writes all that was recorded as one file. Files of several
    trials in one folder become a dataset by `import_dataset`. A policy is an MLP with tanh hidden units whose output is
    the mean of a Gaussian with a state-independent standard deviation, as in CleanRL's `ppo_continuous_action` and in
    Stable-Baselines3's `MlpPolicy`.

    Parameters
    ----------
    path
        The trial's file, `.safetensors`; written by `save`, its folder too.
    seed
        The trial's seed, if it is to be stated.
    layers
        Names of the policy's linear layers, input to output (`("actor.0", "actor.2", "actor.4")`), where neither
        CleanRL, Stable-Baselines3 nor this package named them.
    log_std
        The name of its log-std; `log_std` by default where `layers` are named.

    Raises
    ------
    DatasetArgumentError
        If the path does not end in `.safetensors`, or the seed is no whole number from 0.

    Examples
    --------
    >>> recorder = tipl_bench.TrajectoryRecorder("checkpoints/seed-1.safetensors", seed=1)
    >>> for iteration in range(iterations):
    ...     recorder.record(agent, environment_steps=steps, observation_mean=mean, observation_variance=variance)
    ...     update(agent)
    >>> recorder.save()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        seed: int | None = None,
        layers: Sequence[str] = (),
        log_std: str | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix != SUFFIX:
            raise DatasetArgumentError(f"{path}: the name of a trial's file ends in {SUFFIX}.")
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if seed is not None and not (whole and 0 <= seed < 2**63):
            raise DatasetArgumentError(f"seed is {seed!r}; a trial's seed is a whole number from 0 to 2^63 - 1.")
        self.seed = None if seed is None else int(seed)
        self._layers, self._log_std = tuple(layers), log_std
        self._names: PolicyNames | None = None
        self._checkpoints: list[RecordedCheckpoint] = []

    def __len__(self) -> int:
        return len(self._checkpoints)

    def record(
        self,
        policy: nn.Module | Mapping[str, npt.ArrayLike],
        *,
        environment_steps: int,
        observation_mean: npt.ArrayLike | None = None,
        observation_variance: npt.ArrayLike | None = None,
        observation_count: float | None = None,
        learning_rate: float | None = None,
        episodic_return: float | None = None,
        iteration: int | None = None,
        epoch: int | None = None,
    ) -> None:
        """Record one checkpoint; the policy is copied.

        Parameters
        ----------
        policy
            A torch module, or arrays by name as in its `state_dict`; the value function's are left out.
        environment_steps
            Steps that training took in the environment before it; rising.
        observation_mean, observation_variance
            [O], the moments by which the policy normalises observations at this moment, as `(observation - mean) /
            sqrt(variance + 1e-8)`; none if it acts on raw ones. All checkpoints have them, or none.
        observation_count
            Observations that the moments are of.
        learning_rate
            The rate of the updates before it.
        episodic_return
            Mean undiscounted return of the last finished training episodes.
        iteration, epoch
            The iteration (one rollout and the updates on it) and the update epoch within it, both counted from 1 and 0
            at the initialisation. Only needed for several checkpoints of one iteration; then all have them.

        Raises
        ------
        DatasetError
            If the policy is of another kind or shape, a value is not finite, or the checkpoint is not later than the
            one before; nothing was recorded.
        """
        where = f"{self.path}, checkpoint {len(self)}"
        stated = {
            "environment_steps": environment_steps,
            "iteration": iteration,
            "epoch": epoch,
            "observation_mean": observation_mean,
            "observation_variance": observation_variance,
            "observation_count": observation_count,
            "learning_rate": learning_rate,
            "episodic_return": episodic_return,
        }
        tensors = _arrays(policy) | {name: _array(name, one) for name, one in stated.items() if one is not None}
        names = self._names
        if names is None:
            shapes = {name: np.shape(value) for name, value in tensors.items()}
            names = find_policy(shapes, where, layers=self._layers, log_std=self._log_std)
            _check_activations(policy, names, where)
        checkpoint = read_checkpoint(tensors, names, where)
        if self._checkpoints:
            check_follows(self._checkpoints[-1], checkpoint, where)
        self._names = names
        self._checkpoints.append(checkpoint)

    def save(self) -> Path:
        """Write what was recorded so far, atomically, over what the file held.

        May be called as often as one likes, to lose nothing if training is killed.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        DatasetError
            If nothing was recorded.
        """
        if self._names is None:
            raise DatasetError(f"{self.path}: no checkpoint was recorded; call `record` before `save`.")
        layout, checkpoints = self._names.layout, self._checkpoints
        weights = np.stack([checkpoint.weights for checkpoint in checkpoints])
        tensors: dict[str, Array] = {
            name: weights[:, part].reshape(-1, *layout.shapes[name]) for name, part in layout.slices.items()
        }
        for name in ("environment_steps", "iteration", "epoch"):
            if getattr(checkpoints[0], name) is not None:
                tensors[name] = np.array([getattr(checkpoint, name) for checkpoint in checkpoints], np.int64)
        if checkpoints[0].moments is not None:
            moments = np.stack([checkpoint.moments for checkpoint in checkpoints if checkpoint.moments is not None])
            tensors |= dict(zip(MOMENTS, moments.swapaxes(0, 1), strict=False))
        for name in ("observation_count", "learning_rate", "episodic_return"):
            column = np.array([getattr(checkpoint, name) for checkpoint in checkpoints], np.float64)
            if np.isfinite(column).any():
                tensors[name] = column
        if self.seed is not None:
            tensors["seed"] = np.array([self.seed], np.int64)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(self.path) as temporary:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary)
        return self.path


def _arrays(policy: Any) -> dict[str, Array]:
    """A policy's parameters as arrays by name."""
    state = policy.state_dict() if hasattr(policy, "state_dict") else policy
    if not isinstance(state, Mapping):
        raise DatasetArgumentError(
            f"A policy is a torch module or a mapping of names to arrays, not a {type(policy).__name__}; of a "
            "Stable-Baselines3 algorithm it is `model.policy`."
        )
    detached = {name: value.detach().cpu() if hasattr(value, "detach") else value for name, value in state.items()}
    return {name: _array(name, value) for name, value in detached.items() if name not in STATED}


def _array(name: str, value: Any) -> Array:
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DatasetArgumentError(f"{name} is no array ({reason(error)}).") from None


def _check_activations(policy: Any, names: PolicyNames, where: str) -> None:
    """Refuse a module whose hidden units are not tanh, as far as its submodules tell."""
    if not hasattr(policy, "named_modules"):
        return
    parents = {tensor.rpartition(".")[0].rpartition(".")[0] for tensor in names.tensors.values() if "." in tensor}
    for name, module in policy.named_modules():
        if type(module).__module__ != "torch.nn.modules.activation" or type(module).__name__ == "Tanh":
            continue
        if name.rpartition(".")[0] in parents:
            raise DatasetError(
                f"{where}: {name!r} of the policy is a {type(module).__name__}; datasets are of networks with tanh "
                "hidden units (`activation_fn=torch.nn.Tanh`, the default of PPO in Stable-Baselines3)."
            )
