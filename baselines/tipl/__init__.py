"""TIPL: Transformer as Implicit Policy Learner."""

from .options import BackboneOptions, TIPLOptions
from .predictor import TIPL
from .published import PublishedOptions, TIPLPooled, TIPLPublished

__all__ = ["TIPL", "BackboneOptions", "PublishedOptions", "TIPLOptions", "TIPLPooled", "TIPLPublished"]
