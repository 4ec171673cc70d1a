"""A plain single-trial PPO, written the way CleanRL tells it: one Gymnasium environment, autograd, torch's Adam.

The oracle of the batched implementation and the peer of its benchmark. It shares no code with the package; only the
random numbers (initialisation, action noise, minibatch order, resets) come from the same streams.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, field

import gymnasium
import numpy as np
import torch
from torch import nn


class RunningMoments:
    def __init__(self, shape):
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def update(self, x):
        delta = x - self.mean
        total = self.count + 1
        m2 = self.var * self.count + np.square(delta) * self.count * 1 / total
        self.mean = self.mean + delta * 1 / total
        self.var = m2 / total
        self.count = total


def mlp(sizes, head_gain, generator):
    layers = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out)
        last = i == len(sizes) - 2
        nn.init.orthogonal_(linear.weight, head_gain if last else np.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


@dataclass
class Iteration:
    """What one PPO iteration leaves: policies [P] after every second epoch, the normaliser, ended episodes' returns."""

    checkpoints: list = field(default_factory=list)
    observation_mean: np.ndarray | None = None
    observation_var: np.ndarray | None = None
    finished_returns: list = field(default_factory=list)


class ReferencePPO:
    learning_rate, entropy_coefficient = 3e-4, 0.0

    def __init__(self, environment_id, hidden, seed, iterations):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.env = gymnasium.make(environment_id)
        o, a = self.env.observation_space.shape[0], self.actions()
        generator = torch.Generator().manual_seed(seed)
        self.actor = mlp((o, *hidden, a), 0.01, generator)
        self.critic = mlp((o, *hidden, 1), 1.0, generator)
        self.spread = self.deviations(a)
        self.parameters = [*self.actor.parameters(), *self.spread, *self.critic.parameters()]
        self.adam = torch.optim.Adam(self.parameters, lr=self.learning_rate, eps=1e-5)
        noise, order = np.random.SeedSequence(seed).spawn(2)
        self.noise, self.order = np.random.default_rng(noise), np.random.default_rng(order)
        self.observation_moments, self.return_moments = RunningMoments(o), RunningMoments(())
        self.discounted, self.episode_return = 0.0, 0.0
        self.iterations, self.iteration = iterations, 0
        self.next_observation = self.normalize(self.env.reset(seed=seed)[0])
        self.next_done = 0.0

    def normalize(self, observation):
        self.observation_moments.update(observation)
        moments = self.observation_moments
        scaled = (observation - moments.mean) / np.sqrt(moments.var + 1e-8)
        return torch.tensor(np.clip(scaled, -10, 10), dtype=torch.float32)

    def actions(self):
        return self.env.action_space.shape[0]

    def deviations(self, actions):
        return [nn.Parameter(torch.zeros(1, actions))]

    def distribution(self, observation):
        mean = self.actor(observation)
        normal = torch.distributions.Normal(mean, torch.exp(self.spread[0].expand_as(mean)))
        return torch.distributions.Independent(normal, 1)

    def sample_noise(self, steps):
        return self.noise.standard_normal((steps, self.actions()), dtype=np.float32)

    def sample(self, pi, noise):
        return pi.mean + pi.stddev * noise

    def applied(self, action):
        return np.clip(action, self.env.action_space.low, self.env.action_space.high)

    def act(self, action, out):
        observation, reward, terminated, truncated, _ = self.env.step(self.applied(action))
        self.episode_return += reward
        normalized = self.normalize(observation)
        self.discounted = self.discounted * 0.99 * (1 - terminated) + reward
        self.return_moments.update(self.discounted)
        scaled = np.clip(reward / np.sqrt(self.return_moments.var + 1e-8), -10, 10)
        if terminated or truncated:
            out.finished_returns.append(self.episode_return)
            self.episode_return = 0.0
            normalized = self.normalize(self.env.reset()[0])
        return normalized, scaled, float(terminated or truncated)

    def collect(self, steps, out):
        noise = self.sample_noise(steps)
        rows = {name: [] for name in ("observation", "action", "log", "reward", "done", "value")}
        for step in range(steps):
            rows["observation"].append(self.next_observation)
            rows["done"].append(self.next_done)
            with torch.no_grad():
                pi = self.distribution(self.next_observation[None])
                action = self.sample(pi, torch.from_numpy(noise[step : step + 1]))
                rows["log"].append(pi.log_prob(action)[0])
                rows["value"].append(self.critic(self.next_observation[None])[0, 0])
            rows["action"].append(action[0])
            self.next_observation, reward, self.next_done = self.act(action[0].numpy(), out)
            rows["reward"].append(reward)
        return {
            k: torch.stack(v) if torch.is_tensor(v[0]) else torch.tensor(v, dtype=torch.float32)
            for k, v in rows.items()
        }

    def advantages(self, data):
        with torch.no_grad():
            following = self.critic(self.next_observation[None])[0, 0]
        steps, last = len(data["reward"]), 0.0
        result = torch.zeros(steps)
        for t in reversed(range(steps)):
            going = 1.0 - (self.next_done if t == steps - 1 else data["done"][t + 1])
            value_after = following if t == steps - 1 else data["value"][t + 1]
            delta = data["reward"][t] + 0.99 * value_after * going - data["value"][t]
            result[t] = last = delta + 0.99 * 0.95 * going * last
        return result

    def loss(self, batch, advantage, target):
        pi = self.distribution(batch["observation"])
        ratio = (pi.log_prob(batch["action"]) - batch["log"]).exp()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        policy = torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 0.8, 1.2)).mean()
        value = self.critic(batch["observation"])[:, 0]
        clipped = batch["value"] + torch.clamp(value - batch["value"], -0.2, 0.2)
        value_loss = 0.5 * torch.max((value - target) ** 2, (clipped - target) ** 2).mean()
        return policy + 0.5 * value_loss - self.entropy_coefficient * pi.entropy().mean()

    def iterate(self, steps=2048, epochs=10, minibatches=32):
        self.iteration += 1
        self.adam.param_groups[0]["lr"] = (1 - (self.iteration - 1) / self.iterations) * self.learning_rate
        out = Iteration()
        data = self.collect(steps, out)
        advantage = self.advantages(data)
        target = advantage + data["value"]
        out.observation_mean = self.observation_moments.mean.copy()
        out.observation_var = self.observation_moments.var.copy()
        for epoch in range(epochs):
            self.epoch(data, advantage, target, torch.from_numpy(self.order.permutation(steps)), minibatches)
            if epoch % 2 == 1:
                out.checkpoints.append(self.policy())
        return out

    def epoch(self, data, advantage, target, order, minibatches):
        for ids in order.split(len(order) // minibatches):
            batch = {k: v[ids] for k, v in data.items()}
            self.adam.zero_grad()
            self.loss(batch, advantage[ids], target[ids]).backward()
            nn.utils.clip_grad_norm_(self.parameters, 0.5)
            self.adam.step()

    def policy(self):
        parts = [*self.actor.parameters(), *self.spread]
        return torch.cat([p.detach().flatten() for p in parts]).numpy().copy()


class CategoricalPPO(ReferencePPO):
    """The same for discrete actions, with the loss and the learning rate of CleanRL's `ppo`."""

    learning_rate, entropy_coefficient = 2.5e-4, 0.01

    def actions(self):
        return int(self.env.action_space.n)

    def deviations(self, actions):
        return []

    def distribution(self, observation):
        return torch.distributions.Categorical(logits=self.actor(observation))

    def sample_noise(self, steps):
        return self.noise.gumbel(size=(steps, self.actions())).astype(np.float32)

    def sample(self, pi, noise):
        return (pi.logits + noise).argmax(1)

    def applied(self, action):
        return int(action)
