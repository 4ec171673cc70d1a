"""TIPL: Transformer as Implicit Policy Learner."""

from .options import TIPLOptions
from .predictor import TIPL
from .published import PublishedOptions, TIPLPooled, TIPLPublished

__all__ = ["TIPL", "PublishedOptions", "TIPLOptions", "TIPLPooled", "TIPLPublished"]
