"""Forecasting the weights of deep-RL policies as they train: datasets, predictors, one protocol, a leaderboard."""

__version__ = "0.1.0"
