"""Record PPO of Stable-Baselines3, VecNormalize included: python examples/record_sb3.py FOLDER [TRIALS ...]."""

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import safe_mean
from stable_baselines3.common.vec_env import VecNormalize
from tipl_bench import TrajectoryRecorder


class Record(BaseCallback):
    """Records the policy before every rollout, so that the first checkpoint is the initialisation, and at the end."""

    def __init__(self, recorder: TrajectoryRecorder) -> None:
        super().__init__()
        self.recorder = recorder

    def _on_rollout_start(self) -> None:
        moments, episodes = self.training_env.obs_rms, self.model.ep_info_buffer
        self.recorder.record(
            self.model.policy,
            environment_steps=self.num_timesteps,
            observation_mean=moments.mean,
            observation_variance=moments.var,
            observation_count=moments.count,
            learning_rate=self.model.lr_schedule(self.model._current_progress_remaining),
            episodic_return=safe_mean([episode["r"] for episode in episodes]) if episodes else None,
        )

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._on_rollout_start()


folder, trials, iterations, steps = sys.argv[1], *map(int, [*sys.argv[2:], *("5", "100", "2048")[len(sys.argv) - 2 :]])
for seed in range(1, trials + 1):
    env = VecNormalize(make_vec_env("InvertedPendulum-v4", seed=seed))
    model = PPO("MlpPolicy", env, n_steps=steps, policy_kwargs={"net_arch": [8, 8]}, seed=seed, device="cpu")
    recorder = TrajectoryRecorder(f"{folder}/seed-{seed}.safetensors", seed=seed)
    model.learn(iterations * steps, callback=Record(recorder))
    print(f"{recorder.save()}: {len(recorder)} checkpoints")
