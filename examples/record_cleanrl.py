"""Record an agent of CleanRL's layout in a plain torch loop: python examples/record_cleanrl.py FOLDER [TRIALS ...].

The update is a short policy gradient with a baseline; in CleanRL's own script only the lines with `recorder` are added.
"""

import sys

import gymnasium
import numpy as np
import torch
from tipl_bench import TrajectoryRecorder
from torch import nn


class Agent(nn.Module):
    """Actor and critic with the names of CleanRL's `ppo_continuous_action`."""

    def __init__(self, observations: int, actions: int) -> None:
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(observations, 8), nn.Tanh(), nn.Linear(8, 1))
        self.actor_mean = nn.Sequential(nn.Linear(observations, 8), nn.Tanh(), nn.Linear(8, actions))
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))

    def distribution(self, observation: torch.Tensor) -> torch.distributions.Normal:
        """What actions are drawn from."""
        return torch.distributions.Normal(self.actor_mean(observation), self.actor_logstd.exp())


folder, trials, iterations, length = sys.argv[1], *map(int, [*sys.argv[2:], *("5", "200", "512")[len(sys.argv) - 2 :]])
for seed in range(1, trials + 1):
    torch.manual_seed(seed)
    normalised = gymnasium.wrappers.NormalizeObservation(gymnasium.make("InvertedPendulum-v4"))
    env = gymnasium.wrappers.TransformObservation(normalised, lambda o: np.clip(o, -10, 10), None)
    agent, episodes = Agent(4, 1), [0.0]
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3)
    recorder = TrajectoryRecorder(f"{folder}/seed-{seed}.safetensors", seed=seed)
    observation, _ = env.reset(seed=seed)
    for iteration in range(iterations + 1):
        recorder.record(
            agent,
            environment_steps=iteration * length,
            observation_mean=normalised.obs_rms.mean,
            observation_variance=normalised.obs_rms.var,
            observation_count=normalised.obs_rms.count,
            learning_rate=3e-3,
            episodic_return=float(np.mean(episodes[-11:-1])) if episodes[1:] else None,
        )
        if iteration == iterations:
            break
        seen, actions, rewards, going_on = [], [], [], []
        for _ in range(length):
            seen.append(torch.as_tensor(observation, dtype=torch.float32))
            actions.append(agent.distribution(seen[-1]).sample()[0])
            observation, reward, terminated, truncated, _ = env.step(actions[-1].numpy())
            rewards.append(float(reward))
            going_on.append(not (terminated or truncated))
            episodes[-1] += rewards[-1]
            if not going_on[-1]:
                observation, _ = env.reset()
                episodes.append(0.0)
        to_go, target = 0.0, torch.empty(length)
        for step in reversed(range(length)):
            to_go = rewards[step] + 0.99 * to_go * going_on[step]
            target[step] = to_go
        missed = target / 10 - agent.critic(torch.stack(seen))[:, 0]
        log_probability = agent.distribution(torch.stack(seen)).log_prob(torch.stack(actions)).sum(-1)
        loss = missed.square().mean() - (log_probability * missed.detach()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{recorder.save()}: {len(recorder)} checkpoints")
