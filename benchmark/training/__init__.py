"""The training track: optimizers and outer rules act inside PPO, and are scored by return per environment step."""
