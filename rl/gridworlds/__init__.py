"""Gridworlds and A2C, on which learned optimizers are meta-trained (Lan et al. 2023, arXiv 2302.01470)."""

from .training import A2CHyperparameters, A2CTraining
from .worlds import WORLDS, World

__all__ = ["WORLDS", "A2CHyperparameters", "A2CTraining", "World"]
