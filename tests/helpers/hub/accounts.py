"""Who may do what: a table of tokens, and the refusals of the real Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .protocol import HubError


@dataclass(frozen=True)
class User:
    """A person behind a token.

    Parameters
    ----------
    name
        The user's own namespace.
    organizations
        Further namespaces the user may write to.
    role
        `"write"` or `"read"`: what the token allows.
    """

    name: str
    organizations: tuple[str, ...] = ()
    role: str = "write"

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.organizations


USERS: Mapping[str, User] = {
    "hf_alice": User("alice", organizations=("lab",)),
    "hf_bob": User("bob"),
    "hf_reader": User("alice", role="read"),
}
"""The accounts of a server that is given none: token to user."""


def authenticate(authorization: str | None, users: Mapping[str, User]) -> User | None:
    """The user behind an `Authorization` header, None without one; a token that is not in the table is refused."""
    if not authorization:
        return None
    user = users.get(authorization.removeprefix("Bearer ").strip())
    if user is None:
        raise HubError(401, "Invalid credentials in Authorization header")
    return user


def require_login(user: User | None) -> User:
    if user is None:
        raise HubError(401, "Invalid username or password.")
    return user


def require_writer(user: User | None, namespace: str) -> User:
    """Only the owner of a namespace, with a token for writing, gets past here."""
    user = require_login(user)
    if user.role != "write" or not user.owns(namespace):
        raise HubError(403, f"Forbidden: you must use a write token with access to '{namespace}' for this action.")
    return user
