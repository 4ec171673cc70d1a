"""A bare git repository, through the `git` executable: blobs, trees, commits and references."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ABSENT = "0" * 40  # as the old value of a reference: it must not exist yet

# Nothing of the user's own configuration may change what a test sees.
_ISOLATED = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C", "TZ": "UTC"}


class GitError(Exception):
    """git refused."""


@dataclass(frozen=True)
class Node:
    """An entry of a tree: `kind` is `"blob"` or `"tree"`, `size` is 0 for a tree."""

    path: str
    mode: str
    kind: str
    oid: str
    size: int


@dataclass(frozen=True)
class Commit:
    """A commit, its date in seconds since 1970."""

    oid: str
    author: str
    date: int
    title: str
    message: str


class Git:
    """One bare repository on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path) -> Git:
        folder.mkdir(parents=True)
        git = cls(folder)
        git.run("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(folder))
        return git

    def run(self, *arguments: str, stdin: bytes = b"", author: str = "hub") -> bytes:
        """Standard output of one git command; `GitError` if it fails."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        identity = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", author), ("EMAIL", f"{author}@example.org"))
        }
        command = ["git", "-C", str(self.folder), *arguments]
        environment = {**inherited, **_ISOLATED, **identity, "GIT_DIR": str(self.folder)}
        done = subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)
        if done.returncode:
            raise GitError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}", done.stdout)
        return done.stdout

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store blobs in one call of git; their object names."""
        if not contents:
            return []
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / str(index) for index in range(len(contents))]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            names = "".join(f"{path}\n" for path in paths).encode()
            return self.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names).decode().split()

    def read_blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """Read blobs in one call of git."""
        wanted = list(dict.fromkeys(oids))
        if not wanted:
            return {}
        output = self.run("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in wanted).encode())
        contents, position = {}, 0
        for oid in wanted:
            end = output.index(b"\n", position)
            size = int(output[position:end].split()[2])
            contents[oid] = output[end + 1 : end + 1 + size]
            position = end + size + 2
        return contents

    def nodes(self, commit: str) -> list[Node]:
        """Every file and folder of a commit."""
        output = self.run("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", commit).decode()
        nodes = []
        for line in filter(None, output.split("\0")):
            properties, path = line.split("\t", 1)
            mode, kind, oid, size = properties.split()
            nodes.append(Node(path, mode, kind, oid, 0 if size == "-" else int(size)))
        return nodes

    def write_tree(self, files: Mapping[str, tuple[str, str]]) -> str:
        """Store the tree of these files, path to (mode, object name); its object name.

        `git mktree` takes any name, `..` too: a hostile repository can be built.
        """
        lines, folders = [], dict[str, dict[str, tuple[str, str]]]()
        for path, (mode, oid) in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                folders.setdefault(name, {})[rest] = (mode, oid)
            else:
                lines.append(f"{mode} blob {oid}\t{name}\0")
        lines += [f"040000 tree {self.write_tree(inner)}\t{name}\0" for name, inner in folders.items()]
        return self.run("mktree", "-z", stdin="".join(lines).encode()).decode().strip()

    def write_commit(self, tree: str, parents: Sequence[str], message: str, author: str) -> str:
        flags = [flag for parent in parents for flag in ("-p", parent)]
        return self.run("commit-tree", tree, *flags, stdin=message.encode(), author=author).decode().strip()

    def write_tag(self, name: str, commit: str, message: str, author: str) -> str:
        """Store an annotated tag; its object name."""
        tagger = f"{author} <{author}@example.org> 0 +0000"
        text = f"object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n"
        return self.run("mktag", stdin=text.encode()).decode().strip()

    def update_ref(self, ref: str, new: str, old: str | None = None) -> bool:
        """Move a reference if it still is at `old` (anywhere, if None): an atomic compare-and-swap."""
        try:
            self.run("update-ref", "--no-deref", ref, new, *([] if old is None else [old]))
        except GitError:
            return False
        return True

    def delete_ref(self, ref: str) -> None:
        self.run("update-ref", "-d", ref)

    def refs(self) -> dict[str, str]:
        """Full name of each reference, and the commit that it names, through an annotated tag too."""
        output = self.run("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)").decode()
        return {words[0]: words[-1] for words in (line.split() for line in output.splitlines())}

    def find_commit(self, oid: str) -> str | None:
        """Full name of the commit that a hexadecimal prefix names."""
        try:
            return self.run("rev-parse", "--verify", "--quiet", f"{oid}^{{commit}}").decode().strip()
        except GitError:
            return None

    def history(self, commit: str, *, path: str | None = None, limit: int | None = None) -> list[Commit]:
        """The commits that lead to this one, newest first."""
        flags = [] if limit is None else [f"--max-count={limit}"]
        paths = [] if path is None else ["--", f":(literal){path}"]
        output = self.run("log", "-z", "--format=%H%n%an%n%at%n%s%n%b", *flags, commit, *paths).decode()
        commits = []
        for record in filter(None, output.split("\0")):
            oid, author, date, title, message = record.split("\n", 4)
            commits.append(Commit(oid, author, int(date), title, message.strip()))
        return commits

    def merge(self, ours: str, theirs: str) -> tuple[str, list[str]]:
        """The tree of a merge, and the paths in conflict."""
        try:
            output = self.run("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs)
        except GitError as error:
            output = error.args[1]
            if not output:
                raise
        tree, *conflicts = filter(None, output.decode().split("\0"))
        return tree.strip(), conflicts

    def diff(self, base: str, head: str) -> str:
        """The changes that `head` made since it left `base`."""
        return self.run("diff", "--no-ext-diff", f"{base}...{head}").decode(errors="replace")
