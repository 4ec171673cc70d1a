"""The fixtures of the stand-in Hub, for the tests of it."""

from hub.fixtures import hub, hub_server, no_waiting

__all__ = ["hub", "hub_server", "no_waiting"]
