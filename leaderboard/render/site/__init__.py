"""The leaderboard's page: one static site from the document, read without a server."""

from .render import render

__all__ = ["render"]
