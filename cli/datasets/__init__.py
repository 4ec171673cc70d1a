"""`tipl-bench datasets`."""

from .commands import datasets

__all__ = ["datasets"]
