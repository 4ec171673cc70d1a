"""Routes of discussions and pull requests."""

from __future__ import annotations

from .accounts import require_login, require_writer
from .discussions import Discussions, comment_event, event
from .protocol import HubError, Reply, Request
from .repository import Repository
from .writing import require_author_or_writer

PAGE = 10


def list_discussions(request: Request, name: str) -> Reply:
    discussions = Discussions(request.hub.visible(name, request.user)).all()[::-1]
    filters = {key: request.query.get(key, ["all"])[0] for key in ("type", "status", "author")}
    if filters["type"] != "all":
        discussions = [item for item in discussions if item["isPullRequest"] == (filters["type"] == "pull_request")]
    if filters["status"] != "all":
        is_open = filters["status"] == "open"
        discussions = [item for item in discussions if (item["status"] in ("open", "draft")) == is_open]
    if filters["author"] != "all":
        discussions = [item for item in discussions if item["author"]["name"] == filters["author"]]
    start = PAGE * int(request.query.get("p", ["0"])[0])
    page = discussions[start : start + PAGE]
    return Reply.json({"discussions": page, "count": len(discussions), "start": start})


def show_discussion(request: Request, name: str, number: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    discussion = Discussions(repository).get(int(number))
    ref = f"refs/pr/{number}"
    if discussion["isPullRequest"] and ref in repository.git.refs():
        discussion["diff"] = repository.git.diff("refs/heads/main", ref)
        if discussion["status"] in ("open", "draft"):
            discussion["filesWithConflicts"] = repository.git.merge("refs/heads/main", ref)[1]
    return Reply.json(discussion)


def open_discussion(request: Request, name: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    user, body = require_login(request.user), request.json()
    proposal = bool(body.get("pullRequest"))
    with repository.lock:
        status = "draft" if proposal else "open"
        discussions = Discussions(repository)
        opened = discussions.open(
            body["title"], body.get("description") or "", user.name, pull_request=proposal, status=status
        )
        if proposal:
            repository.git.update_ref(f"refs/pr/{opened['num']}", repository.resolve("main"))
    return Reply.json({"num": opened["num"], "pullRequest": proposal})


def comment(request: Request, name: str, number: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    message = comment_event(require_login(request.user).name, request.json()["comment"])
    with repository.lock:
        Discussions(repository).add(int(number), message)
    return Reply.json({"newMessage": message})


def rename(request: Request, name: str, number: str) -> Reply:
    repository = request.hub.visible(name, request.user)
    with repository.lock:
        user = require_author_or_writer(request, repository, int(number))
        old, new = Discussions(repository).get(int(number))["title"], request.json()["title"]
        change = event("title-change", user.name, {"from": old, "to": new})
        Discussions(repository).add(int(number), change, title=new)
    return Reply.json({"newTitle": change})


def change_status(request: Request, name: str, number: str) -> Reply:
    repository, status = request.hub.visible(name, request.user), request.json()["status"]
    if status not in ("open", "closed"):
        raise HubError(400, f"Invalid status: {status}")
    with repository.lock:
        user = require_author_or_writer(request, repository, int(number))
        if Discussions(repository).get(int(number))["status"] == "merged":
            raise HubError(400, "Already merged")
        change = event("status-change", user.name, {"status": status})
        remarks = _remarks(request, user.name)
        Discussions(repository).add(int(number), *remarks, change, status=status)
    return Reply.json({"newStatus": change})


def _remarks(request: Request, author: str) -> list[dict[str, object]]:
    text = request.json().get("comment")
    return [comment_event(author, text)] if text else []


def merge(request: Request, name: str, number: str) -> Reply:
    """Squash a pull request into one commit on main, as the real Hub does."""
    repository = request.hub.visible(name, request.user)
    user = require_writer(request.user, repository.namespace)
    with repository.lock:
        discussion = Discussions(repository).get(int(number))
        if not discussion["isPullRequest"] or discussion["status"] not in ("open", "draft"):
            raise HubError(400, "Only an open pull request can be merged")
        oid = _squash(repository, f"refs/pr/{number}", f"{discussion['title']} (#{number})", user.name)
        events = [*_remarks(request, user.name), event("status-change", user.name, {"status": "merged"})]
        changes = {**discussion["changes"], "mergeCommitId": oid}
        Discussions(repository).add(int(number), *events, status="merged", changes=changes)
    return Reply.json({"oid": oid})


def _squash(repository: Repository, ref: str, message: str, author: str) -> str:
    main = repository.resolve("main")
    tree, conflicts = repository.git.merge(main, ref)
    if conflicts:
        raise HubError(409, f"Conflicting files: {', '.join(conflicts)}")
    oid = repository.git.write_commit(tree, [main], message, author)
    return repository.advance("refs/heads/main", oid, main)
