"""Routes that read: who am I, datasets, trees, references, history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from .accounts import require_login
from .git import Commit
from .protocol import HubError, Reply, Request, paginated
from .repository import Entry, Repository

TREE_PAGE, EXPANDED_PAGE, HISTORY_PAGE = 1000, 50, 50


def timestamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def whoami(request: Request) -> Reply:
    user = require_login(request.user)
    token = {"displayName": "test", "role": user.role, "createdAt": timestamp(0)}
    organizations = [{"type": "org", "id": name, "name": name, "fullname": name} for name in user.organizations]
    about = {"type": "user", "id": user.name, "name": user.name, "fullname": user.name, "isPro": False}
    return Reply.json({**about, "orgs": organizations, "auth": {"type": "access_token", "accessToken": token}})


def dataset_info(request: Request, name: str, revision: str = "main") -> Reply:
    repository = request.hub.visible(name, request.user)
    commit = repository.resolve(unquote(revision))
    files = [entry for entry in repository.entries(commit).values() if entry.kind == "blob"]
    history = repository.git.history(commit)
    card = card_data(repository, commit)
    return Reply.json(
        {
            "_id": name,
            "id": name,
            "author": repository.namespace,
            "sha": commit,
            "lastModified": timestamp(history[0].date),
            "createdAt": timestamp(history[-1].date),
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": card.get("tags") or [],
            "cardData": card,
            "usedStorage": sum(entry.size for entry in files),
            "siblings": [sibling(entry, request.flag("blobs")) for entry in files],
        }
    )


def sibling(entry: Entry, details: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"rfilename": entry.path}
    if details:
        about |= {"size": entry.size, "blobId": entry.oid}
        if entry.pointer:
            sizes = {"size": entry.pointer.size, "pointerSize": len(entry.pointer.encode())}
            about["lfs"] = {"sha256": entry.pointer.sha256, **sizes}
    return about


def card_data(repository: Repository, commit: str) -> dict[str, Any]:
    """The front matter of the README, empty where there is none that can be read."""
    if "README.md" not in repository.entries(commit):
        return {}
    try:
        return front_matter(repository.read("README.md", commit).decode(errors="replace"))
    except HubError:
        return {}


def front_matter(text: str) -> dict[str, Any]:
    """The YAML between the dashes at the top of a README."""
    import yaml  # comes with the client; a server without cards does not need it

    parts = text.split("---\n", 2)
    try:
        card = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except yaml.YAMLError as error:
        raise HubError(400, f"Invalid metadata in README.md: {error}") from error
    return card if isinstance(card, dict) else {}


def validate_card(request: Request) -> Reply:
    """The client asks before it commits a README; the real Hub knows more to complain about."""
    front_matter(request.json()["content"])
    return Reply.json({"errors": [], "warnings": []})


def tree(request: Request, name: str, revision: str, folder: str = "") -> Reply:
    repository = request.hub.readable(name, request.user)
    commit = repository.resolve(unquote(revision))
    entries, folder = repository.entries(commit), unquote(folder).strip("/")
    if folder and (folder not in entries or entries[folder].kind != "tree"):
        raise HubError(404, f"{folder} does not exist on {unquote(revision)}", "EntryNotFound")
    prefix = f"{folder}/" if folder else ""
    inside = [entry for path, entry in entries.items() if path.startswith(prefix)]
    if not request.flag("recursive"):
        inside = [entry for entry in inside if "/" not in entry.path[len(prefix) :]]
    if not request.flag("expand"):
        return paginated([described(entry) for entry in inside], request, TREE_PAGE)
    return paginated([expanded(repository, commit, entry) for entry in inside], request, EXPANDED_PAGE)


def described(entry: Entry) -> dict[str, Any]:
    """A file or folder as listings give it."""
    if entry.kind == "tree":
        return {"type": "directory", "oid": entry.oid, "size": 0, "path": entry.path}
    about: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": entry.path}
    if entry.pointer:
        sizes = {"size": entry.pointer.size, "pointerSize": len(entry.pointer.encode())}
        about["lfs"] = {"oid": entry.pointer.sha256, **sizes}
    return about


def expanded(repository: Repository, commit: str, entry: Entry) -> dict[str, Any]:
    [last] = repository.git.history(commit, path=entry.path, limit=1)
    return {**described(entry), "lastCommit": {"id": last.oid, "title": last.title, "date": timestamp(last.date)}}


def paths_info(request: Request, name: str, revision: str) -> Reply:
    repository = request.hub.readable(name, request.user)
    commit = repository.resolve(unquote(revision))
    form = request.form()
    wanted = [path.strip("/") for path in form.get("paths", [])]
    entries = repository.entries(commit)
    found = [entries[path] for path in wanted if path in entries]
    if form.get("expand", [""])[0].lower() == "true":
        return Reply.json([expanded(repository, commit, entry) for entry in found])
    listed = [described(entry) for entry in found]
    if request.hub.xet:
        for about, entry in zip(listed, found, strict=True):
            if entry.pointer:
                about["xetHash"] = request.hub.xet.hash_of(repository.large.path(entry.etag))
    return Reply.json(listed)


def refs(request: Request, name: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    kinds = {"branches": "refs/heads/", "converts": "refs/convert/", "tags": "refs/tags/"}
    if request.flag("include_prs"):
        kinds["pullRequests"] = "refs/pr/"
    listed = repository.git.refs()
    return Reply.json(
        {
            kind: [
                {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit}
                for ref, commit in listed.items()
                if ref.startswith(prefix)
            ]
            for kind, prefix in kinds.items()
        }
    )


def commits(request: Request, name: str, revision: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    history = repository.git.history(repository.resolve(unquote(revision)))
    return paginated([commit_record(commit) for commit in history], request, HISTORY_PAGE)


def commit_record(commit: Commit) -> dict[str, Any]:
    about = {"id": commit.oid, "title": commit.title, "message": commit.message, "date": timestamp(commit.date)}
    return {**about, "authors": [{"user": commit.author}]}
