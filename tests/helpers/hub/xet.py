"""Xet storage: large files in chunks, in a folder that the client's own engine reads in place of a server."""

from __future__ import annotations

import time
from pathlib import Path

from .protocol import Reply, Request

VALID = 3600
"""Seconds that an access token is good for."""


class XetStorage:
    """The chunks of every file that is served through Xet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"local://{folder}"
        self._hashes: dict[str, str] = {}

    def put(self, path: Path, *, sha256: str) -> str:
        """Store a file in place of the one with this sha256, which it need not be; its Xet hash."""
        import hf_xet

        session = hf_xet.XetSession()
        expiry = int(time.time()) + VALID
        with session.new_upload_commit(endpoint=self.address, token="-", token_expiry_unix_secs=expiry) as commit:
            upload = commit.start_upload_file(str(path))
        self._hashes[sha256] = upload.result().xet_info.hash
        return self._hashes[sha256]

    def hash_of(self, path: Path) -> str:
        """The Xet hash of a large file, which is stored on first use."""
        return self._hashes.get(path.name) or self.put(path, sha256=path.name)


def read_token(request: Request, name: str, revision: str) -> Reply:
    """What entitles to reading a repository's files from Xet storage."""
    request.hub.readable(name, request.user)
    assert request.hub.xet is not None
    headers = {
        "X-Xet-Cas-Url": request.hub.xet.address,
        "X-Xet-Access-Token": "-",
        "X-Xet-Token-Expiration": str(int(time.time()) + VALID),
    }
    return Reply.json({}, headers=headers)
