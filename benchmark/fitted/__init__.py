"""Fitted states that ship with the package, and forecasting with one."""

from pathlib import Path

CATALOG = Path(__file__).parent / "catalog.toml"
"""The names of the states that ship, and the sha256 of their files."""
