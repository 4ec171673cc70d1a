"""The Hub's state: its repositories on disk, its accounts, its addresses."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from .accounts import User, require_login
from .protocol import HubError
from .repository import Repository
from .xet import XetStorage

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"


class Hub:
    """Repositories under `root`, one folder each.

    `url` and `storage_url` are two origins, as on the real Hub: what the client does with its token
    and with redirects depends on it.
    """

    def __init__(self, root: Path, users: Mapping[str, User]) -> None:
        self.root, self.users = root, users
        self.url = self.storage_url = ""
        self.xet: XetStorage | None = None
        self.renamed: dict[str, str] = {}
        self._repositories: dict[str, Repository] = {}
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    def _folder(self, name: str) -> Path:
        """Where a repository lies; a name that could lead elsewhere is refused."""
        if not re.fullmatch(f"{_NAME}/{_NAME}", name) or "--" in name or ".." in name or name.endswith((".", ".git")):
            raise HubError(400, f"Invalid repository name: {name}")
        return self.root / "datasets" / name

    def create(self, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        """Make a repository; refused with the body that `exist_ok=True` reads if it exists."""
        folder = self._folder(name)
        with self._lock:
            if folder.exists():
                raise HubError(409, "You already created this dataset repo")
            self._repositories[name] = Repository.create(folder, name, private=private, gated=gated)
            return self._repositories[name]

    def repository(self, name: str) -> Repository:
        folder = self._folder(name)
        with self._lock:
            if name not in self._repositories:
                if not (folder / "git").exists():
                    raise HubError(404, "Repository not found", "RepoNotFound")
                self._repositories[name] = Repository(folder, name)
            return self._repositories[name]

    def visible(self, name: str, user: User | None) -> Repository:
        """A repository, as far as this user may know of it: to others a private one does not exist."""
        try:
            repository = self.repository(name)
            if repository.private and not require_login(user).owns(repository.namespace):
                raise HubError(404, "Repository not found", "RepoNotFound")
        except HubError as error:
            # The real Hub tells a stranger to log in, for a repository that is missing too.
            status = 401 if user is None else 404
            raise HubError(status, "Repository not found", "RepoNotFound") from error
        if repository.disabled:
            raise HubError(403, "Access to this resource is disabled.")
        return repository

    def readable(self, name: str, user: User | None) -> Repository:
        """A repository whose files this user may have: of a gated one, strangers may know only that it exists."""
        repository = self.visible(name, user)
        if repository.gated and not (user and (user.owns(repository.namespace) or user.name in repository.granted())):
            page = self.page(repository)
            if user is None:
                message = f"Access to dataset {name} is restricted. You must be authenticated to access it."
                raise HubError(401, message, "GatedRepo")
            message = f"Access to dataset {name} is restricted and you are not in the authorized list. Visit {page}."
            raise HubError(403, message, "GatedRepo")
        return repository

    def rename(self, old: str, new: str) -> None:
        repository, folder = self.repository(old), self._folder(new)
        with self._lock:
            del self._repositories[old]
            folder.parent.mkdir(parents=True, exist_ok=True)
            repository.folder.rename(folder)
            self.renamed[old] = new

    def delete(self, name: str) -> None:
        repository = self.repository(name)
        with self._lock:
            del self._repositories[name]
            shutil.rmtree(repository.folder)

    def page(self, repository: Repository) -> str:
        return f"{self.url}/datasets/{repository.name}"

    def signature(self, name: str, sha256: str, size: int) -> str:
        """What entitles to one upload, in place of a token: storage knows no accounts."""
        return hmac.new(self._secret, f"{name}:{sha256}:{size}".encode(), hashlib.sha256).hexdigest()
