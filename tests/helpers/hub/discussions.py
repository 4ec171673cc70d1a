"""Discussions and pull requests of a repository, kept in a JSON file in the form they are sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from .protocol import HubError, new_identifier
from .repository import Repository

Discussion = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": new_identifier(), "type": kind, "author": {"name": author}, "createdAt": now(), "data": data}


def comment_event(author: str, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": now(), "author": {"name": author}}
    return event("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [latest]})


class Discussions:
    """The discussions of one repository; callers that change one hold the repository's lock."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._file = repository.folder / "discussions.json"

    def all(self) -> list[Discussion]:
        return json.loads(self._file.read_text()) if self._file.exists() else []

    def get(self, number: int) -> Discussion:
        discussions = self.all()
        if not 1 <= number <= len(discussions):
            raise HubError(404, f"Discussion {number} not found")
        return discussions[number - 1]

    def save(self, discussion: Discussion) -> None:
        discussions = self.all()
        discussions[discussion["num"] - 1 :] = [discussion, *discussions[discussion["num"] :]]
        self._file.write_text(json.dumps(discussions))

    def next_number(self) -> int:
        return len(self.all()) + 1

    def open(self, title: str, text: str, author: str, *, pull_request: bool, status: str = "open") -> Discussion:
        """Start a discussion under the next number."""
        discussion: Discussion = {
            "num": self.next_number(),
            "title": title,
            "author": {"name": author},
            "createdAt": now(),
            "status": status,
            "isPullRequest": pull_request,
            "repo": {"name": self.repository.name, "type": "dataset"},
            "events": [comment_event(author, text)] if text else [],
        }
        if pull_request:
            discussion |= {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": []}
        self.save(discussion)
        return discussion

    def add(self, number: int, *events: dict[str, Any], **fields: Any) -> Discussion:
        """Append events to a discussion and set fields of it."""
        discussion = self.get(number)
        discussion["events"] += events
        self.save(discussion | fields)
        return discussion | fields
