"""What publishing would change in a repository; what would overwrite a version is refused."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import GitRefs
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder

from ...utils.errors import DatasetError, MissingFileError
from ..catalog import catalog
from ..dataset import Dataset
from ..derived import DERIVED_NAME, derived_protocols, parse_derived
from ..manifest import DERIVED_FOLDER, MANIFEST_LIMIT, MANIFEST_NAME, Manifest, parse_manifest
from ..reference import HubLocation, family
from ..trial import TRIALS_FOLDER
from .client import api, read_bytes, with_retries

Content = str | bytes
"""A local file's path, or the bytes themselves."""
Described = Callable[[dict[str, str]], dict[str, Content]]
"""Makes the files that describe a dataset, by path, given the yanked versions of its repository."""


@dataclass(frozen=True)
class Plan:
    """What publishing changes.

    Parameters
    ----------
    location
        The repository, at the head that the plan is made on; without a revision if it does not exist yet.
    tag
        The version's tag; None if it stays on an earlier commit, which lacks only derived data.
    done
        The commit that holds this very version already, if one does.
    trials, rest
        Files to add or replace, as path, size and content; trials first, then what describes them.
    kept
        Paths that the repository has with the same bytes.
    deleted
        Trial and derived files there that this version does not have.
    """

    location: HubLocation
    tag: str | None
    done: str | None
    trials: tuple[tuple[str, int, Content], ...] = ()
    rest: tuple[tuple[str, int, Content], ...] = ()
    kept: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What would change, a line each."""
        if self.done:
            tag = f", tag {self.tag}" if self.tag else ""
            return [f"= {self.location} has this version already (commit {self.done}{tag})"]
        lines = [] if self.location.revision else [f"+ dataset repository {self.location.repo}"]
        lines += [f"+ {path} ({size:,} bytes)" for path, size, _ in (*self.trials, *self.rest)]
        lines += [f"= {path}" for path in self.kept]
        lines += [f"- {path}" for path in self.deleted]
        return [*lines, *([f"+ tag {self.tag}"] if self.tag else [])]


def plan_publication(dataset: Dataset, repo: str, described: Described) -> Plan:
    """Compare a dataset with what the repository holds.

    Parameters
    ----------
    dataset, repo
        As for `publish`.
    described
        Makes the files that describe the dataset, given the yanked versions of this repository.
    """
    manifest, location = dataset.manifest, HubLocation(repo)
    tag = f"v{manifest.version}"
    head, tagged = refs(location, tag)
    for commit in filter(None, (tagged, head)):
        if _same_version(HubLocation(repo, commit), manifest, tagged=commit == tagged):
            return _plan_derived(dataset, HubLocation(repo, head), described, commit, tag, tagged)
    base = HubLocation(repo, head)
    there = _files(base) if head else {}
    files = dataset.contents()
    contents: dict[str, Content] = {entry.path: str(dataset.folder / entry.path) for entry in files}
    sizes = {entry.path: entry.size for entry in files}
    digests = {entry.path: entry.sha256 for entry in files}
    kept = sorted(path for path in contents if there.get(path) == digests[path])
    trials = tuple((p, sizes[p], contents[p]) for p in contents if p not in kept)
    rest = tuple((path, _size(content), content) for path, content in described(_yanked(manifest)).items())
    present = {*contents, *(path for path, _, _ in rest)}
    stale = sorted(p for p in there if p.startswith((f"{TRIALS_FOLDER}/", f"{DERIVED_FOLDER}/")) and p not in present)
    return Plan(base, tag, None, trials, rest, tuple(kept), tuple(stale))


def _plan_derived(
    dataset: Dataset,
    head: HubLocation,
    described: Described,
    commit: str,
    tag: str,
    tagged: str | None,
) -> Plan:
    """Of a version that is there: what protocols have derived from it since. The tag stays where it is.

    It is added only while the main branch is at this version; otherwise the version stays as it is.
    """
    files = {entry.path: str(dataset.folder / entry.path) for entry in dataset.contents()}
    wanted: dict[str, Content] = {**files, **described({})}
    derived = {path: content for path, content in wanted.items() if path.startswith(f"{DERIVED_FOLDER}/")}
    there = _files(HubLocation(head.repo, commit))
    if derived.keys() <= there.keys() or _digest_at(head) != dataset.digest:
        _check_derived(dataset, HubLocation(head.repo, commit), there)
        return Plan(head, tag, commit)
    there, new_tag = _files(head), None if tagged else tag
    _check_derived(dataset, head, there)
    rest = tuple((path, _size(content), content) for path, content in derived.items() if path not in there)
    if not rest:
        return Plan(head, new_tag, head.revision)
    return Plan(head, new_tag, None, rest=rest, kept=tuple(sorted(derived.keys() & there.keys())))


def _check_derived(dataset: Dataset, location: HubLocation, there: Collection[str]) -> None:
    """Refuse derived data that are there with other numbers, as another machine's: the catalog would pin these."""
    for protocol in derived_protocols(dataset.folder):
        path = f"{DERIVED_FOLDER}/p{protocol}/{DERIVED_NAME}"
        mine = dataset.derived(protocol)
        if path not in there or mine is None:
            continue
        content = read_bytes(location, path, limit=MANIFEST_LIMIT)
        theirs = parse_derived(content, f"{location}: {path}", dataset.manifest, protocol)
        if theirs.sha256 != mine.manifest.sha256:
            raise DatasetError(
                f"{location}: what protocol {protocol} derives from {dataset.name} is published with other numbers "
                f"than those of this machine. Remove {mine.folder} and download the dataset to have the published ones."
            )


def _digest_at(location: HubLocation) -> str | None:
    """The digest of the dataset at a commit; None if there is none."""
    try:
        text = read_bytes(location, MANIFEST_NAME, limit=MANIFEST_LIMIT).decode()
    except MissingFileError:
        return None
    return parse_manifest(text, f"{location}: {MANIFEST_NAME}").digest


def refs(location: HubLocation, tag: str) -> tuple[str | None, str | None]:
    """The commits of the main branch and of a tag; None for what is not there."""

    def ask() -> GitRefs | None:
        try:
            return api().list_repo_refs(location.repo, repo_type="dataset")
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None

    found = with_retries(location, ask)
    if found is None:
        return None, None
    head = next((branch.target_commit for branch in found.branches if branch.name == "main"), None)
    return head, next((known.target_commit for known in found.tags if known.name == tag), None)


def _same_version(location: HubLocation, mine: Manifest, *, tagged: bool) -> bool:
    """Whether a commit holds this very version; raises if it holds what must not be overwritten."""
    try:
        text = read_bytes(location, MANIFEST_NAME, limit=MANIFEST_LIMIT).decode()
    except MissingFileError:
        if tagged:
            raise DatasetError(f"{location}: tag v{mine.version} exists there and holds no dataset.") from None
        return False
    theirs = parse_manifest(text, f"{location}: {MANIFEST_NAME}")
    if family(theirs.name) != family(mine.name):
        raise DatasetError(f"{location} holds {theirs.name}; {mine.name} needs a repository of its own.")
    if theirs.version == mine.version and theirs.digest != mine.digest:
        raise DatasetError(
            f"{location} holds {theirs.name} with digest {theirs.digest}, not {mine.digest}. A version is never "
            f"overwritten: publish the new content as {family(mine.name)}-v{mine.version + 1}."
        )
    if not tagged and theirs.version > mine.version:
        raise DatasetError(f"{location} is at {theirs.name} already; {mine.name} cannot be published after it.")
    return theirs.digest == mine.digest


def _files(location: HubLocation) -> dict[str, str | None]:
    """The sha256 of every LFS file at a commit, by path; None for files that git itself holds."""

    def ask() -> list[RepoFile | RepoFolder]:
        return list(
            api().list_repo_tree(location.repo, recursive=True, revision=location.revision, repo_type="dataset")
        )

    tree = with_retries(location, ask)
    return {item.path: item.lfs.sha256 if item.lfs else None for item in tree if isinstance(item, RepoFile)}


def _yanked(manifest: Manifest) -> dict[str, str]:
    """Yanked versions of the same family, as the catalog knows them."""
    entries = {name: entry for name, entry in catalog().items() if family(name) == family(manifest.name)}
    return {name.rpartition("-")[2]: entry.yanked for name, entry in entries.items() if entry.yanked}


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else Path(content).stat().st_size
