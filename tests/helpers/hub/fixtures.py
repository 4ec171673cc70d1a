"""Fixtures: a Hub of one's own, and this process's clients pointed at it.

A `conftest.py` imports those its tests use: `from hub.fixtures import hub, hub_server, no_waiting`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import connect, forget_connections, skip_waiting
from .server import HubServer


@pytest.fixture
def hub_server(tmp_path: Path) -> Iterator[HubServer]:
    """An empty Hub with the accounts of `hub.USERS`; for clients in subprocesses, see `hub.client.environment`."""
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def hub(hub_server: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty Hub that `huggingface_hub` and `datasets` talk to in this process, as alice, with an empty cache."""
    pytest.importorskip("huggingface_hub")
    connect(monkeypatch, hub_server)
    yield hub_server
    forget_connections()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """`huggingface_hub` retries at once; the list grows by the seconds it would have waited."""
    pytest.importorskip("huggingface_hub")
    return skip_waiting(monkeypatch)
