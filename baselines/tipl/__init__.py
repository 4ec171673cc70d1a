"""TIPL: Transformer as Implicit Policy Learner."""

from .options import TIPLOptions
from .predictor import TIPL

__all__ = ["TIPL", "TIPLOptions"]
