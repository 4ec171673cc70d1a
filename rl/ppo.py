"""PPO's update for many independent trials at once.

The algorithm is CleanRL's `ppo_continuous_action`, and for discrete actions the loss of its `ppo`. All trials of a
block share every tensor operation but no number: weights are one stack [N, P + C] (actor with its log-std, if it is
Gaussian, then critic), gradients are written out by hand instead of recorded by autograd (a third of the operations,
and these small tensors cost an operation each), and clipping, the optimizer and the normalisation of advantages act per
trial. `tests/helpers/reference_ppo.py` is the plain single-trial version that it must agree with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checkpoint import Checkpoint
from .hyperparameters import PPOHyperparameters
from .optimizer import IterationSteps, Optimizer, checked
from .policy import AgentLayout, PolicyLayout


class StackedMLP:
    """A tanh MLP per trial, as views [N, out, in] and [N, 1, out] into one flat stack [N, parameters]."""

    def __init__(self, flat: Tensor, sizes: tuple[int, ...]) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        start = 0
        for inputs, outputs in pairwise(sizes):
            weight = flat[:, start : start + inputs * outputs].view(-1, outputs, inputs)
            start += inputs * outputs
            self.layers.append((weight, flat[:, None, start : start + outputs]))
            start += outputs
        self.parameter_count = start

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every layer's input, then the output; x is [N, B, in]."""
        activations = [x]
        for layer, (weight, bias) in enumerate(self.layers):
            x = torch.baddbmm(bias, x, weight.mT)  # [N, B, out]
            if layer < len(self.layers) - 1:
                x.tanh_()
            activations.append(x)
        return activations

    def backward(self, activations: list[Tensor], gradient: Tensor) -> list[Tensor]:
        """Gradients [N, ...] of all parameters in storage order, from that of the output [N, B, out]."""
        parts: list[Tensor] = []
        for layer in reversed(range(len(self.layers))):
            weight, _ = self.layers[layer]
            x = activations[layer]
            parts += [gradient.sum(1), torch.bmm(gradient.mT, x).flatten(1)]
            if layer > 0:
                # d tanh = 1 - tanh^2, and x is that tanh
                gradient = torch.bmm(gradient, weight).mul_(1 - x * x)
        return parts[::-1]


class StackedAgent:
    """Actors and critics of N trials, and the optimizer that trains them.

    Parameters
    ----------
    layout
        The actor's layout; the critic has the same hidden sizes and one output.
    seeds
        One seed per trial, for its initialisation and its optimizer.
    hyperparameters
        PPO's settings.
    optimizer
        Turns gradients into new weights.
    """

    def __init__(
        self, layout: PolicyLayout, seeds: Sequence[int], hyperparameters: PPOHyperparameters, optimizer: Optimizer
    ) -> None:
        self.hyperparameters = hyperparameters
        self.optimizer = optimizer
        self.layout = AgentLayout(layout)
        rows = [_initialize(layout, self.layout.critic_sizes, seed) for seed in seeds]
        self.parameters = torch.stack(rows)  # [N, P + C]
        self.optimizer_state = optimizer.init(self.parameters.clone(), self.layout, seeds)
        self.activations: list[Tensor] = []
        """Mean absolute outputs [N, units] of each layer on the last minibatch, where the optimizer wants them."""
        self.bind()

    def bind(self) -> None:
        """Make the layer views into `parameters`."""
        policy, blocks = self.layout.policy, self.layout.blocks
        self.actor = StackedMLP(self.parameters[:, blocks["actor"]], policy.sizes)
        if not policy.categorical:
            self.log_std = self.parameters[:, self.layout.slices["actor.log_std"]]  # [N, A]
        self.critic = StackedMLP(self.parameters[:, blocks["critic"]], self.layout.critic_sizes)

    @property
    def policies(self) -> Tensor:
        """The actors' weights [N, P], a Gaussian's log-std included: what a checkpoint stores."""
        return self.parameters[:, self.layout.blocks["actor"]]

    @property
    def evaluation_policies(self) -> Tensor:
        """The actors' weights [N, P] that the optimizer wants evaluated."""
        chosen = self.optimizer.evaluation_parameters(self.parameters, self.optimizer_state)
        checked(self.optimizer, "evaluation_parameters", chosen, self.parameters)
        return chosen[:, self.layout.blocks["actor"]]

    def value(self, observation: Tensor) -> Tensor:
        """Critic values [N, B] of normalised observations [N, B, O]."""
        return self.critic.forward(observation)[-1][..., 0]

    def log_probability(self, observation: Tensor, action: Tensor) -> Tensor:
        """Log-densities [N, B] of actions [N, B, A], or log-probabilities of discrete ones, 1 at what is taken."""
        return self._log_probability(self.parameters, observation, action)

    def _log_probability(self, parameters: Tensor, observation: Tensor, action: Tensor) -> Tensor:
        """The same under any weights [N, P + C]."""
        policy = self.layout.policy
        output = StackedMLP(parameters[:, self.layout.blocks["actor"]], policy.sizes).forward(observation)[-1]
        if policy.categorical:
            return (torch.log_softmax(output, -1) * action).sum(-1)
        return _score(output, parameters[:, self.layout.slices["actor.log_std"]], action)[0]

    def objective(self, batch: Tensor, parameters: Tensor) -> Tensor:
        """PPO's clipped objective [N] of any weights [N, P + C] on an iteration's steps, as `epoch` takes them."""
        policy, clip = self.layout.policy, self.hyperparameters.clip
        observation, action, columns = torch.split(batch, [policy.observation_size, policy.action_size, 4], dim=2)
        old, advantage = columns[..., 0], columns[..., 1]
        ratio = torch.exp(self._log_probability(parameters, observation, action) - old)
        advantage = _normalized(advantage)
        return torch.minimum(advantage * ratio, advantage * ratio.clamp(1 - clip, 1 + clip)).mean(1)

    def gradient(
        self, observation: Tensor, action: Tensor, old: Tensor, advantage: Tensor, target: Tensor, value: Tensor
    ) -> Tensor:
        """The loss's gradient [N, P + C] on one minibatch of M steps a trial.

        Parameters
        ----------
        observation, action
            [N, M, O] normalised, [N, M, A] unclipped or, of discrete actions, 1 where an action is taken.
        old, advantage, target, value
            [N, M]: log-density at collection, normalised advantage, return to fit, value at collection.
        """
        clip, count = self.hyperparameters.clip, observation.shape[1]
        actor, critic = self.actor.forward(observation), self.critic.forward(observation)
        if self.optimizer.wants_activations:
            self.activations = [layer.abs().mean(1) for layer in (*actor[1:], *critic[1:])]

        def d_log_probability(log_probability: Tensor) -> Tensor:
            """The policy loss's gradient [N, M, 1]."""
            ratio = torch.exp(log_probability - old)
            # max(-A r, -A clip(r)) is flat where the clipped ratio is the larger loss
            flat = torch.where(advantage > 0, ratio > 1 + clip, ratio < 1 - clip)
            return (advantage * ratio).masked_fill_(flat, 0).mul_(-1 / count)[..., None]

        if self.layout.policy.categorical:
            logs = torch.log_softmax(actor[-1], -1)
            d_log = d_log_probability((logs * action).sum(-1))
            parts = self.actor.backward(actor, self._d_logits(logs, action, d_log))
        else:
            log_probability, z, inverse_std = _score(actor[-1], self.log_std, action)
            d_log = d_log_probability(log_probability)
            z_slope = d_log * z
            parts = self.actor.backward(actor, z_slope * inverse_std)
            d_log_std = (z_slope * z - d_log).sum(1)
            if self.hyperparameters.entropy_coefficient:  # a Gaussian's entropy is the sum of its log-stds
                d_log_std -= self.hyperparameters.entropy_coefficient
            parts.append(d_log_std)
        # max((v - R)^2, (v_clipped - R)^2) / 2 likewise
        now = critic[-1][..., 0]
        change, residual = now - value, now - target
        clipped = value + change.clamp(-clip, clip) - target
        held = (change.abs() > clip) & (clipped * clipped > residual * residual)
        d_value = residual.masked_fill_(held, 0).mul_(self.hyperparameters.value_coefficient / count)
        parts += self.critic.backward(critic, d_value[..., None])
        return torch.cat(parts, dim=1)

    def _d_logits(self, logs: Tensor, action: Tensor, d_log: Tensor) -> Tensor:
        """The gradient [N, M, A] of policy loss and entropy bonus with respect to the logits."""
        probability = torch.exp(logs)
        gradient = d_log * (action - probability)
        # the entropy H = -sum p log p falls by p (log p + H) a logit
        surplus = logs - (probability * logs).sum(-1, keepdim=True)
        weight = self.hyperparameters.entropy_coefficient / logs.shape[1]
        return gradient.add_(probability * surplus, alpha=weight)

    def epoch(self, batch: Tensor, permutation: Tensor, *, learning_rate: float, iteration: int, epoch: int) -> None:
        """One pass over an iteration's steps, with an optimizer step after each minibatch.

        Parameters
        ----------
        batch
            [N, S, O + A + 4]: observation, action, log-density, advantage, return, value.
        permutation
            [N, S] int64, each trial's own order of its steps.
        learning_rate
            This iteration's rate.
        iteration, epoch
            Where in training this is, for the optimizer.
        """
        trials, steps, width = batch.shape
        offsets = torch.arange(trials)[:, None] * steps
        shuffled = batch.view(-1, width)[(permutation + offsets).flatten()].view(trials, steps, width)
        size = steps // self.hyperparameters.minibatches
        o, a = self.layout.policy.observation_size, self.layout.policy.action_size
        for number, minibatch in enumerate(torch.split(shuffled, size, dim=1)):
            gradient = self.gradient(
                minibatch[..., :o],
                minibatch[..., o : o + a],
                minibatch[..., o + a],
                _normalized(minibatch[..., o + a + 1]),
                minibatch[..., o + a + 2],
                minibatch[..., o + a + 3],
            )
            if not self.optimizer.clips_gradients:
                clip_by_norm(gradient, self.hyperparameters.max_gradient_norm)
            beside: dict[str, Any] = {"activations": self.activations} if self.optimizer.wants_activations else {}
            updated = self.optimizer.step(
                self.parameters,
                gradient,
                self.optimizer_state,
                learning_rate=learning_rate,
                iteration=iteration,
                epoch=epoch,
                minibatch=number,
                **beside,
            )
            self._take("step", updated)

    def end_iteration(self, trajectory: Sequence[Checkpoint], batch: Tensor) -> None:
        """Let the optimizer change the weights between two iterations, of which the first took these steps."""
        beside: dict[str, Any] = {}
        if self.optimizer.wants_steps:
            beside["steps"] = IterationSteps(self.parameters.clone(), partial(self.objective, batch))
        updated = self.optimizer.end_of_iteration(self.parameters, self.optimizer_state, trajectory, **beside)
        self._take("end_of_iteration", updated)
        self.optimizer.start_of_iteration(self.parameters, self.optimizer_state)

    def _take(self, hook: str, updated: Tensor) -> None:
        if updated is not self.parameters:
            self.parameters.copy_(checked(self.optimizer, hook, updated, self.parameters))  # the views must stay valid


def _score(mean: Tensor, log_std: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-densities [N, B] of actions [N, B, A], standardised actions, and inverse standard deviations [N, 1, A]."""
    inverse_std = torch.exp(-log_std)[:, None]
    z = (action - mean) * inverse_std
    constant = log_std.sum(1, keepdim=True) + 0.5 * math.log(2 * math.pi) * z.shape[-1]
    return (z * z).sum(-1).mul_(-0.5).sub_(constant), z, inverse_std


def _normalized(advantage: Tensor) -> Tensor:
    """Advantages [N, B] of mean 0 and deviation 1 in each trial."""
    return (advantage - advantage.mean(1, keepdim=True)) / (advantage.std(1, keepdim=True) + 1e-8)


def clip_by_norm(gradient: Tensor, limit: float) -> None:
    """Scale each trial's gradient [N, P + C] in place to a norm of at most `limit`, as torch's `clip_grad_norm_`."""
    norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
    gradient *= (limit / (norm + 1e-6)).clamp_(max=1.0)


def generalized_advantage(
    reward: Tensor, value: Tensor, done: Tensor, next_value: Tensor, next_done: Tensor, gamma: float, lam: float
) -> Tensor:
    """Advantages [S, N] by generalised advantage estimation; done[s] says that step s began an episode.

    Truncation counts as an end, as in CleanRL: no value is bootstrapped there.
    """
    advantage = torch.zeros_like(reward)
    running = torch.zeros_like(next_value)
    for step in reversed(range(len(reward))):
        going = 1.0 - next_done
        delta = reward[step] + gamma * next_value * going - value[step]
        running = delta + gamma * lam * going * running
        advantage[step] = running
        next_value, next_done = value[step], done[step]
    return advantage


def _initialize(actor: PolicyLayout, critic: tuple[int, ...], seed: int) -> Tensor:
    """One trial's initial weights [P + C]: orthogonal matrices, zero biases and log-std."""
    normal = _normal_stream(seed)
    parts: list[Tensor] = []
    for sizes, head_gain in ((actor.sizes, 0.01), (critic, 1.0)):
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            gain = head_gain if layer == len(sizes) - 2 else math.sqrt(2)
            parts += [_orthogonal(normal(outputs, inputs), gain).flatten(), torch.zeros(outputs)]
        if head_gain < 1 and not actor.categorical:
            parts.append(torch.zeros(actor.action_size))
    return torch.cat(parts)


def _normal_stream(seed: int) -> Callable[[int, int], Tensor]:
    """Draws standard normal matrices from a trial's own stream.

    Torch's generator takes 32 bits of a seed: longer ones seed NumPy's, which takes all, by a third child of the
    sequence whose first two are the action noise and the minibatch order.
    """
    if seed < 1 << 32:
        generator = torch.Generator().manual_seed(seed)
        return lambda rows, columns: torch.randn(rows, columns, generator=generator)
    stream = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[2])
    return lambda rows, columns: torch.from_numpy(stream.standard_normal((rows, columns), dtype=np.float32))


def _orthogonal(normal: Tensor, gain: float) -> Tensor:
    """A random orthogonal matrix from a normal one, as `torch.nn.init.orthogonal_` makes it."""
    wide = normal.shape[0] < normal.shape[1]
    q, r = torch.linalg.qr(normal.T if wide else normal)
    q = q * r.diag().sign()
    matrix: Tensor = (q.T if wide else q) * gain
    return matrix
