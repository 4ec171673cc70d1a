"""What competes in the training track: optimizers, and outer rules beside them."""

from ..plugins.discovery import OPTIMIZERS, OUTER_RULES

__all__ = ["OPTIMIZERS", "OUTER_RULES"]
