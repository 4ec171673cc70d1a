"""Optim4RL (Lan et al. 2023, arXiv 2302.01470): an optimizer for RL that is itself trained, from scratch."""
