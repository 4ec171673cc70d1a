"""Routes that write: repositories, large files, commits, tags and branches."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote, unquote

from .accounts import User, require_login, require_writer
from .discussions import Discussions, event
from .protocol import HubError, Reply, Request
from .repository import FILE, Change, Repository
from .storage import LARGE_SIZE, Pointer, is_large


def create_repository(request: Request) -> Reply:
    name = _named(request)
    user = require_login(request.user)
    require_writer(user, name.split("/")[0])
    about = {"id": name, "name": name, "url": f"{request.hub.url}/datasets/{name}"}
    try:
        request.hub.create(name, private=request.json().get("visibility") == "private")
    except HubError as error:
        if error.status != 409:
            raise
        return Reply.json({**about, "error": error.message}, 409)
    return Reply.json(about)


def delete_repository(request: Request) -> Reply:
    name = _named(request)
    request.hub.visible(name, require_login(request.user))
    require_writer(request.user, name.split("/")[0])
    request.hub.delete(name)
    return Reply.json({})


def _named(request: Request) -> str:
    body = request.json()
    if body.get("type") != "dataset":
        raise HubError(400, "This Hub holds datasets only")
    return f"{body.get('organization') or require_login(request.user).name}/{body.get('name')}"


def preupload(request: Request, name: str, revision: str) -> Reply:
    """Which files go to storage, and what each path holds already."""
    repository = request.hub.visible(name, request.user)
    _require_access(request, repository, proposal=request.flag("create_pr"))
    entries = repository.entries(repository.resolve(unquote(revision)))
    answers = []
    for file in request.json()["files"]:
        mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
        answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        if file["path"] in entries:
            answers[-1]["oid"] = entries[file["path"]].etag
    return Reply.json({"files": answers, "commitOid": repository.resolve(unquote(revision))})


def _require_access(request: Request, repository: Repository, *, proposal: bool) -> User:
    """Anyone may propose changes; making them is for the owner."""
    return require_login(request.user) if proposal else require_writer(request.user, repository.namespace)


def large_file_batch(request: Request, name: str) -> Reply:
    """Where to put each large file; nothing for one that is here already."""
    repository = request.hub.visible(name, request.user)
    # The client names no branch when it only opens a pull request.
    ref = request.json().get("ref", {}).get("name", "refs/pr/")
    _require_access(request, repository, proposal=ref.startswith("refs/pr/"))
    if request.json().get("operation") != "upload":
        raise HubError(422, "Only uploads are offered here")
    objects: list[dict[str, Any]] = []
    for item in request.json()["objects"]:
        sha256, size = item["oid"], int(item["size"])
        objects.append({"oid": sha256, "size": size, "authenticated": True})
        if not repository.large.holds(sha256):
            signature = request.hub.signature(name, sha256, size)
            href = f"{request.hub.storage_url}/lfs-objects/{name}/{sha256}?size={size}&signature={signature}"
            objects[-1]["actions"] = {"upload": {"href": href}}
    return Reply.json({"transfer": "basic", "objects": objects, "hash_algo": "sha256"})


def store_large_file(request: Request, name: str, sha256: str) -> Reply:
    """Take in a large file at an address that the batch route gave out."""
    size = int(request.query.get("size", ["-1"])[0])
    if request.query.get("signature") != [request.hub.signature(name, sha256, size)]:
        raise HubError(403, "SignatureDoesNotMatch")
    request.hub.repository(name).large.store(sha256, size, request.stream.chunks())
    return Reply(200, {"ETag": f'"{sha256}"'})


def commit(request: Request, name: str, revision: str) -> Reply:
    """Carry out the operations of a commit, all or none."""
    repository = request.hub.visible(name, request.user)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next((line["value"] for line in lines if line["key"] == "header"), {})
    title, text = header.get("summary") or "Commit", header.get("description") or ""
    with repository.lock:
        parent, ref, old = _parent_and_ref(request, repository, unquote(revision), header.get("parentCommit"))
        changes = _changes(repository, parent, lines)
        author = require_login(request.user).name
        oid = repository.commit(ref, changes, f"{title}\n\n{text}".strip(), author, parent=parent, old=old)
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{request.hub.page(repository)}/commit/{oid}"}
        number = _record_proposal(request, repository, ref, title, text, oid)
        if number is not None:
            answer["pullRequestUrl"] = f"{request.hub.page(repository)}/discussions/{number}"
    return Reply.json(answer)


def _parent_and_ref(
    request: Request, repository: Repository, revision: str, expected: str | None
) -> tuple[str, str, str | None]:
    """The commit to build on, the reference to move and where it is now, for someone who may move it."""
    head = repository.resolve(revision)
    if request.flag("create_pr"):
        require_login(request.user)
        ref = f"refs/pr/{Discussions(repository).next_number()}"
        return repository.resolve(expected) if expected else head, ref, None
    named = repository.ref(revision)
    if named is None or named.startswith("refs/tags/"):
        raise HubError(400, f"{revision} is not a branch")
    if named.startswith("refs/pr/"):
        require_author_or_writer(request, repository, int(named.split("/")[-1]))
    else:
        require_writer(request.user, repository.namespace)
    if expected and not (len(expected) >= 7 and head.startswith(expected)):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    return head, named, head


def require_author_or_writer(request: Request, repository: Repository, number: int) -> User:
    user = require_login(request.user)
    if Discussions(repository).get(number)["author"]["name"] == user.name:
        return user
    return require_writer(user, repository.namespace)


def _record_proposal(request: Request, repository: Repository, ref: str, title: str, text: str, oid: str) -> int | None:
    """The number of the pull request that this commit opened, if it did; a commit to an open one is noted there."""
    if not ref.startswith("refs/pr/"):
        return None
    number, author = int(ref.split("/")[-1]), require_login(request.user).name
    discussions, opened = Discussions(repository), request.flag("create_pr")
    if opened:
        discussions.open(title, text, author, pull_request=True)
    discussions.add(number, event("commit", author, {"subject": title, "oid": oid}))
    return number if opened else None


def _changes(repository: Repository, parent: str, lines: list[dict[str, Any]]) -> dict[str, Change]:
    """What the lines of a commit do to the files of its parent."""
    entries, changes = repository.entries(parent), dict[str, Change]()
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "header":
            continue
        path = _checked_path(value["path"])
        if key == "file":
            changes[path] = (FILE, _regular(path, value))
        elif key == "lfsFile":
            changes[path] = (FILE, _pointer(repository, path, value).encode())
        elif key in ("deletedFile", "deletedFolder"):
            inside = path + "/" if key == "deletedFolder" else ""
            gone = [file.path for file in entries.values() if file.kind == "blob"]
            gone = [file for file in gone if (file.startswith(inside) if inside else file == path)]
            if not gone:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            changes |= dict.fromkeys(gone)
        else:
            raise HubError(400, f"Unknown operation: {key}")
    return changes


def _checked_path(path: str) -> str:
    path = path.removesuffix("/")
    if "\0" in path or any(part in ("", ".", "..") or part.lower() == ".git" for part in path.split("/")):
        raise HubError(400, f"Invalid path: {path}")
    return path


def _regular(path: str, value: dict[str, Any]) -> bytes:
    content = base64.b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()
    if len(content) > LARGE_SIZE:
        raise HubError(400, f"Your push was rejected because it contains a file larger than 10 MB: {path}")
    return content


def _pointer(repository: Repository, path: str, value: dict[str, Any]) -> Pointer:
    if not repository.large.holds(value["oid"]):
        raise HubError(400, f"An LFS pointer pointed to a file that does not exist: {path}")
    size = repository.large.path(value["oid"]).stat().st_size
    if value.get("size", size) != size:
        raise HubError(400, f"An LFS pointer gave {value['size']} bytes to a file of {size}: {path}")
    return Pointer(value["oid"], size)


def create_tag(request: Request, name: str, revision: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    user = require_writer(request.user, repository.namespace)
    body = request.json()
    repository.tag(body["tag"], repository.resolve(unquote(revision)), body.get("message"), user.name)
    return Reply.json({})


def delete_tag(request: Request, name: str, tag: str) -> Reply:
    return _delete_ref(request, name, f"refs/tags/{unquote(tag)}")


def create_branch(request: Request, name: str, branch: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    require_writer(request.user, repository.namespace)
    start = request.json().get("startingPoint", "main")
    repository.branch(unquote(branch), repository.resolve(start))
    return Reply.json({})


def delete_branch(request: Request, name: str, branch: str) -> Reply:
    if unquote(branch) == "main":
        raise HubError(403, "Forbidden: the main branch cannot be deleted")
    return _delete_ref(request, name, f"refs/heads/{unquote(branch)}")


def _delete_ref(request: Request, name: str, ref: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    require_writer(request.user, repository.namespace)
    if ref not in repository.git.refs():
        raise HubError(404, f"No {quote(ref)}", "RevisionNotFound")
    repository.git.delete_ref(ref)
    return Reply.json({})
