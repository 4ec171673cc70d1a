"""Which request goes where."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

from . import discussing, downloading, reading, writing, xet
from .protocol import HubError, Reply, Request

_DATASET = r"/api/datasets/([^/]+/[^/]+)"
_PART = r"([^/]+)"
_REST = r"(.+)"

_ROUTES: tuple[tuple[str, str, Callable[..., Reply]], ...] = (
    ("GET", "/api/whoami-v2", reading.whoami),
    ("POST", "/api/validate-yaml", reading.validate_card),
    ("POST", "/api/repos/create", writing.create_repository),
    ("DELETE", "/api/repos/delete", writing.delete_repository),
    ("GET", f"{_DATASET}/xet-read-token/{_PART}", xet.read_token),
    ("GET", _DATASET, reading.dataset_info),
    ("GET", f"{_DATASET}/revision/{_PART}", reading.dataset_info),
    ("GET", f"{_DATASET}/tree/{_PART}(?:/{_REST})?", reading.tree),
    ("POST", f"{_DATASET}/paths-info/{_PART}", reading.paths_info),
    ("GET", f"{_DATASET}/refs", reading.refs),
    ("GET", f"{_DATASET}/commits/{_PART}", reading.commits),
    ("POST", f"{_DATASET}/preupload/{_PART}", writing.preupload),
    ("POST", f"{_DATASET}/commit/{_PART}", writing.commit),
    ("POST", f"{_DATASET}/tag/{_PART}", writing.create_tag),
    ("DELETE", f"{_DATASET}/tag/{_PART}", writing.delete_tag),
    ("POST", f"{_DATASET}/branch/{_PART}", writing.create_branch),
    ("DELETE", f"{_DATASET}/branch/{_PART}", writing.delete_branch),
    ("GET", f"{_DATASET}/discussions", discussing.list_discussions),
    ("POST", f"{_DATASET}/discussions", discussing.open_discussion),
    ("GET", rf"{_DATASET}/discussions/(\d+)", discussing.show_discussion),
    ("POST", rf"{_DATASET}/discussions/(\d+)/comment", discussing.comment),
    ("POST", rf"{_DATASET}/discussions/(\d+)/title", discussing.rename),
    ("POST", rf"{_DATASET}/discussions/(\d+)/status", discussing.change_status),
    ("POST", rf"{_DATASET}/discussions/(\d+)/merge", discussing.merge),
    ("POST", r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", writing.large_file_batch),
    ("GET", f"/datasets/([^/]+/[^/]+)/resolve/{_PART}/{_REST}", downloading.resolve),
    ("GET", f"/lfs-objects/([^/]+/[^/]+)/{_PART}", downloading.large_file),
    ("PUT", f"/lfs-objects/([^/]+/[^/]+)/{_PART}", writing.store_large_file),
)


def dispatch(request: Request) -> Reply:
    """Carry a request out; a refusal is a reply too."""
    method = "GET" if request.method == "HEAD" else request.method
    try:
        if moved := _moved(request):
            return moved
        for verb, pattern, function in _ROUTES:
            if verb == method and (match := re.fullmatch(pattern, request.path)):
                return function(request, *(group for group in match.groups() if group is not None))
        # Models and spaces are looked up like datasets: there are none.
        missing_repository = re.match(r"/api/(datasets|models|spaces)/|.*/resolve/", request.path)
        raise HubError(404, "Not found", "RepoNotFound" if missing_repository else None)
    except HubError as error:
        return error.reply()


def _moved(request: Request) -> Reply | None:
    """The way to a repository that was renamed."""
    match = re.match(r"/(?:api/)?datasets/([^/]+/[^/]+?)(?=\.git/|/|$)", request.path)
    if match is None or match[1] not in request.hub.renamed:
        return None
    query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
    path = request.path[: match.start(1)] + request.hub.renamed[match[1]] + request.path[match.end(1) :]
    return Reply(307, {"Location": f"{path}{query}"}, b"Temporary Redirect")
