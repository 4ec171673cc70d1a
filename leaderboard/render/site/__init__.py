"""The board's page: one static site from the data document, read without a server."""

from .render import render

__all__ = ["render"]
