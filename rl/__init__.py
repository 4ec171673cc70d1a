"""The reinforcement-learning engine: environments, policies, PPO and its optimizer, and J of a policy."""
