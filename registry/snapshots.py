"""Datasets fetched from a place on the Hub rather than by name: one folder a commit, and what each revision meant."""

from __future__ import annotations

import re
from pathlib import Path

from ..utils.canonical import canonical_json, strict_json
from ..utils.errors import DatasetError
from ..utils.files import write_text
from .reference import COMMIT_PATTERN, HubLocation
from .store import cache_root

REVISIONS_NAME = "revisions.json"
DEFAULT_BRANCH = "main"


def repo_folder(repo: str) -> Path:
    """Where the snapshots of a repository stand."""
    return cache_root() / "hub" / repo.replace("/", "--")


def commit_folder(repo: str, commit: str) -> Path:
    """Where the snapshot of one commit stands, if it is here."""
    return repo_folder(repo) / commit


def known_revisions(repo: str) -> dict[str, str]:
    """The commit that each tag or branch of a repository stood for when it was last fetched."""
    path = repo_folder(repo) / REVISIONS_NAME
    if not path.exists():
        return {}
    try:
        found = strict_json(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(re.fullmatch(COMMIT_PATTERN, str(c)) for c in found.values()):
            raise ValueError("not a table of commits")
    except ValueError as error:
        raise DatasetError(
            f"{path}: not readable ({error}); remove this file to have revisions looked up again."
        ) from None
    return {revision: str(commit) for revision, commit in found.items()}


def remember_revision(location: HubLocation, commit: str) -> None:
    """Write down what a revision stands for."""
    if not location.pinned:
        known = known_revisions(location.repo) | {location.revision or DEFAULT_BRANCH: commit}
        write_text(repo_folder(location.repo) / REVISIONS_NAME, canonical_json(known))


def snapshot_folder(location: HubLocation) -> Path | None:
    """The folder of a location's snapshot, or None if its revision was never fetched here."""
    revision = location.revision or DEFAULT_BRANCH
    commit = revision if location.pinned else known_revisions(location.repo).get(revision)
    return commit_folder(location.repo, commit) if commit else None
