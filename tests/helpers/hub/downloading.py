"""Routes that give out files: the Hub names and redirects, storage sends the large ones."""

from __future__ import annotations

from urllib.parse import quote, unquote

from .protocol import HubError, Reply, Request


def resolve(request: Request, name: str, revision: str, path: str) -> Reply:
    """A file of git itself, or the way to a large one."""
    repository = request.hub.readable(name, request.user)
    commit = repository.resolve(unquote(revision))
    entry = repository.file(commit, unquote(path))
    headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    if entry.pointer is None:
        headers |= {"ETag": f'"{entry.oid}"', "Content-Type": "text/plain; charset=utf-8"}
        return Reply(200, headers, repository.content(entry)).within(request)
    location = f"{request.hub.storage_url}/lfs-objects/{name}/{entry.etag}?path={quote(entry.path)}"
    headers |= {"X-Linked-ETag": f'"{entry.etag}"', "X-Linked-Size": str(entry.size), "Location": location}
    if request.hub.xet:
        headers["X-Xet-Hash"] = request.hub.xet.hash_of(repository.large.path(entry.etag))
        headers["X-Xet-Refresh-Route"] = f"{request.hub.url}/api/datasets/{name}/xet-read-token/{commit}"
    return Reply(302, headers, f"Found. Redirecting to {location}".encode())


def large_file(request: Request, name: str, sha256: str) -> Reply:
    """The bytes of a large file. Storage asks for no token: the real Hub signs the address instead."""
    large = request.hub.repository(name).large
    if not large.holds(sha256):
        raise HubError(404, "No such object")
    headers = {"ETag": f'"{sha256}"', "Content-Type": "application/octet-stream"}
    return Reply(200, headers, large.path(sha256)).within(request)
