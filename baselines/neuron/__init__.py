"""TIPL's descendant whose tokens are the policy's neurons."""

from .predictor import TIPLNeuron as TIPLNeuron
from .predictor import TIPLNeuronStatistics as TIPLNeuronStatistics
