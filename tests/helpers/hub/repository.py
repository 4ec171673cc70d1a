"""A dataset repository: revisions, files, commits and tags, and the edits no client could make."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .git import ABSENT, Git
from .protocol import HubError
from .storage import ATTRIBUTES, POINTER_LIMIT, LargeFiles, Pointer, is_large

FILE, SYMLINK = "100644", "120000"

_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")


@dataclass(frozen=True)
class Entry:
    """A file or a folder at some commit; `size` is the file's own, not its pointer's."""

    path: str
    mode: str
    kind: str
    oid: str
    size: int
    pointer: Pointer | None = None

    @property
    def etag(self) -> str:
        return self.pointer.sha256 if self.pointer else self.oid


Change = tuple[str, bytes] | None
"""A file's new (mode, blob), or None to delete it."""


class Repository:
    """One repository on disk, at `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.git = Git(folder / "git")
        self.large = LargeFiles(folder / "lfs")
        self.lock = threading.RLock()
        self._entries: dict[str, dict[str, Entry]] = {}

    @classmethod
    def create(cls, folder: Path, name: str, *, private: bool = False, gated: bool = False) -> Repository:
        Git.create(folder / "git")
        repository = cls(folder, name)
        if private:
            (folder / "private").touch()
        if gated:
            (folder / "gated").touch()
        repository.write({".gitattributes": ATTRIBUTES.encode()}, "initial commit", raw=True)
        return repository

    @property
    def namespace(self) -> str:
        return self.name.split("/")[0]

    @property
    def private(self) -> bool:
        return (self.folder / "private").exists()

    @property
    def gated(self) -> bool:
        """Whether only those who were granted access may have the files; anyone sees that the repository is there."""
        return (self.folder / "gated").exists()

    def grant(self, user: str) -> None:
        """Let someone into a gated repository."""
        with (self.folder / "gated").open("a") as granted:
            granted.write(f"{user}\n")

    def granted(self) -> list[str]:
        return (self.folder / "gated").read_text().split()

    def disable(self) -> None:
        """Close the repository to everyone, as the Hub's moderators do."""
        (self.folder / "disabled").touch()

    @property
    def disabled(self) -> bool:
        return (self.folder / "disabled").exists()

    # Reading

    def ref(self, revision: str) -> str | None:
        """The full name of the branch, tag or pull request that a revision names."""
        if not _REVISION.fullmatch(revision) or ".." in revision:
            return None
        references = self.git.refs()
        candidates = (f"refs/heads/{revision}", f"refs/tags/{revision}", revision)
        return next((name for name in candidates if name in references), None)

    def resolve(self, revision: str) -> str:
        """The commit that a revision names: a branch, a tag, `refs/pr/N`, or a commit by its hexadecimal name."""
        if re.fullmatch(r"[0-9a-f]{40}", revision) and revision in self._entries:
            return revision
        reference = self.ref(revision)
        commit = self.git.refs().get(reference) if reference else None
        if commit is None and re.fullmatch(r"[0-9a-f]{7,40}", revision):
            commit = self.git.find_commit(revision)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def entries(self, commit: str) -> dict[str, Entry]:
        """Every file and folder of a commit, by path."""
        if commit not in self._entries:
            nodes = self.git.nodes(commit)
            short = [node.oid for node in nodes if node.mode == FILE and node.size <= POINTER_LIMIT]
            pointers = {oid: Pointer.decode(blob) for oid, blob in self.git.read_blobs(short).items()}
            entries = {}
            for node in nodes:
                pointer = pointers.get(node.oid) if node.mode == FILE else None
                size = pointer.size if pointer else node.size
                entries[node.path] = Entry(node.path, node.mode, node.kind, node.oid, size, pointer)
            self._entries[commit] = entries
        return self._entries[commit]

    def file(self, commit: str, path: str) -> Entry:
        entry = self.entries(commit).get(path)
        if entry is None or entry.kind != "blob":
            raise HubError(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit})
        return entry

    def content(self, entry: Entry) -> bytes | Path:
        """A file's bytes, or where they lie if it is large."""
        if entry.pointer is None:
            return self.git.read_blobs([entry.oid])[entry.oid]
        return self.large.path(entry.pointer.sha256)

    def read(self, path: str, revision: str = "main") -> bytes:
        """A file's bytes, as a download would give them."""
        content = self.content(self.file(self.resolve(revision), path))
        return content if isinstance(content, bytes) else content.read_bytes()

    # Writing

    def commit(
        self, ref: str, changes: Mapping[str, Change], message: str, author: str, *, parent: str | None, old: str | None
    ) -> str:
        """Store a commit on top of `parent` and move `ref` to it, if `ref` still is at `old` (absent, if None)."""
        tree = self.git.write_tree(self._files_after(parent, changes))
        commit = self.git.write_commit(tree, [parent] if parent else [], message, author)
        return self.advance(ref, commit, old)

    def advance(self, ref: str, commit: str, old: str | None) -> str:
        """Move a reference from one commit to the next; refused if it moved meanwhile."""
        if not self.git.update_ref(ref, commit, old or ABSENT):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        return commit

    def _files_after(self, parent: str | None, changes: Mapping[str, Change]) -> dict[str, tuple[str, str]]:
        before = self.entries(parent).values() if parent else ()
        files = {entry.path: (entry.mode, entry.oid) for entry in before if entry.kind == "blob"}
        added = {path: change for path, change in changes.items() if change is not None}
        oids = self.git.write_blobs([content for _, content in added.values()])
        for path in changes.keys() - added.keys():
            del files[path]
        files |= {path: (mode, oid) for (path, (mode, _)), oid in zip(added.items(), oids, strict=True)}
        folders = {path[: match.start()] for path in files for match in re.finditer("/", path)}
        if both := sorted(folders & files.keys()):
            raise HubError(400, f"Both a file and a folder: {both[0]}")
        return files

    def tag(self, name: str, commit: str, message: str | None, author: str) -> None:
        """Put up a tag; refused if it exists."""
        if not _REVISION.fullmatch(name) or self._is_malformed(f"refs/tags/{name}"):
            raise HubError(400, f"Invalid tag name: {name}")
        target = commit
        if message:
            target = self.git.write_tag(name, commit, message, author)
        if not self.git.update_ref(f"refs/tags/{name}", target, ABSENT):
            raise HubError(409, f"Tag {name} already exists")

    def branch(self, name: str, commit: str) -> None:
        """Put up a branch; refused if it exists."""
        if not _REVISION.fullmatch(name) or self._is_malformed(f"refs/heads/{name}"):
            raise HubError(400, f"Invalid branch name: {name}")
        if not self.git.update_ref(f"refs/heads/{name}", commit, ABSENT):
            raise HubError(409, f"Branch {name} already exists")

    def _is_malformed(self, ref: str) -> bool:
        return (
            ".." in ref
            or "//" in ref
            or any(part.endswith((".", ".lock")) or part[:1] == "." for part in ref.split("/"))
        )

    # Edits that go past every check: what a careless or hostile owner could do

    def write(
        self,
        changes: Mapping[str, bytes | None],
        message: str = "Edit",
        *,
        raw: bool = False,
        revision: str = "main",
        mode: str = FILE,
    ) -> str:
        """Commit files as they are; the new commit.

        Parameters
        ----------
        changes
            Path to content; None deletes.
        raw
            Put large files into git itself: a pointer of one's own making, say.
        revision
            The branch.
        mode
            The files' mode in git.
        """
        with self.lock:
            blobs: dict[str, Change] = {}
            for path, content in changes.items():
                if content is not None and not raw and is_large(path, len(content)):
                    content = self.large.add(content).encode()
                blobs[path] = None if content is None else (mode, content)
            ref = f"refs/heads/{revision}"
            head = self.git.refs().get(ref)
            return self.commit(ref, blobs, message, self.namespace, parent=head, old=head)

    def symlink(self, path: str, target: str, *, revision: str = "main") -> str:
        """Commit a symbolic link; the new commit."""
        return self.write({path: target.encode()}, f"Link {path}", raw=True, revision=revision, mode=SYMLINK)

    def move_tag(self, tag: str, commit: str) -> None:
        """Put a tag elsewhere, as no client can."""
        self.git.update_ref(f"refs/tags/{tag}", commit)

    def corrupt(self, path: str, offset: int = 0, *, revision: str = "main") -> None:
        """Invert one byte of a large file where it is stored: its name, size and etag stay."""
        content = bytearray(self.read(path, revision))
        content[offset] ^= 0xFF
        self.overwrite(path, bytes(content), revision=revision)

    def overwrite(self, path: str, content: bytes, *, revision: str = "main") -> None:
        """Put other bytes in the place of a large file's: its name and etag stay."""
        stored = self.content(self.file(self.resolve(revision), path))
        if isinstance(stored, bytes):
            raise ValueError(f"{path} is in git, not in the large file storage")
        stored.write_bytes(content)
