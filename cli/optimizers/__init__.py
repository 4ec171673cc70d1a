"""`tipl-bench optimizers`."""

from .commands import optimizers

__all__ = ["optimizers"]
