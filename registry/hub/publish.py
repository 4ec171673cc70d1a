"""Publishing a dataset: planned in full, committed on top of what was looked at, then tagged; never over a version."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, GitRefs
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile, RepoFolder

from ..catalog import CatalogEntry, catalog
from ..dataset import TRIALS_FOLDER, Dataset
from ..errors import DatasetError, HubError, MissingFileError
from ..index import INDEX_NAME, index_table, write_index
from ..manifest import MANIFEST_LIMIT, MANIFEST_NAME, Manifest, parse_manifest
from ..naming import HubLocation, family, is_repo
from ..statistics import draw_curves, return_statistics
from ..store import exclusive, home
from .card import CARD_NAME, FIGURE_NAME, render_card
from .client import api, patiently, read_bytes, speaking_of

FILES_PER_COMMIT = 2_000
"""More are spread over several commits; the manifest, which makes them a dataset, always comes with the last."""
ROUNDS = 5
"""Times the plan is made anew because someone else committed in between."""

Content = str | bytes
"""A local file's path, or the bytes themselves."""
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True)
class Plan:
    """What publishing changes.

    Parameters
    ----------
    location
        The repository, at the head that the plan is made on; without a revision if it does not exist yet.
    tag
        The version's tag.
    done
        The commit that holds this very version already, if one does.
    trials, rest
        Files to add or replace, as path, size and content; trials first, then what describes them.
    kept
        Paths that are there already with the same bytes.
    deleted
        Trial files there that this version does not have.
    """

    location: HubLocation
    tag: str
    done: str | None
    trials: tuple[tuple[str, int, Content], ...] = ()
    rest: tuple[tuple[str, int, Content], ...] = ()
    kept: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What would change, a line each."""
        if self.done:
            return [f"= {self.location} holds this version already (commit {self.done}, tag {self.tag})"]
        lines = [] if self.location.revision else [f"+ dataset repository {self.location.repo}"]
        lines += [f"+ {path} ({size:,} bytes)" for path, size, _ in (*self.trials, *self.rest)]
        lines += [f"= {path}" for path in self.kept]
        lines += [f"- {path}" for path in self.deleted]
        return [*lines, f"+ tag {self.tag}"]


def publish(
    dataset: Dataset, repo: str, *, dry_run: bool = False, progress: Progress = lambda stage, done, total, word: None
) -> tuple[Plan, HubLocation | None]:
    """Publish a dataset as a version of a Hub repository.

    Every file is hashed first. Files that are there with the same bytes are not sent again, so an interrupted
    publishing goes on where it stopped. The commit is made on top of the head that was looked at; if someone else
    commits in between, the plan is made anew.

    Parameters
    ----------
    dataset
        What to publish; its name's version becomes the tag.
    repo
        `OWNER/NAME`; created if it does not exist.
    dry_run
        Plan only.
    progress
        Told how it goes.

    Returns
    -------
    Plan, HubLocation or None
        The plan (the last one), and where the version is now; None after a dry run.

    Raises
    ------
    DatasetError
        If a file is damaged, or the version or tag exists with other content.
    HubError
        If the Hub cannot be reached or does not permit it.
    """
    if not is_repo(repo):
        raise DatasetError(f"{repo!r} is not a repository; one looks like OWNER/NAME.")
    size, done = sum(file.size for file in dataset.manifest.files), 0

    def hashed(path: str, count: int) -> None:
        nonlocal done
        done += count
        progress("verify", done, size, path)

    dataset.verify(hashed)
    with exclusive(f"publish-{dataset.name}"):
        described = _describe(dataset, repo)
        for _ in range(ROUNDS):
            plan = plan_publication(dataset, repo, described)
            if dry_run:
                return plan, None
            if plan.location.revision is None:
                # Planned anew on what it then holds: a rival may have been first.
                _create(plan.location)
                continue
            progress("publish", 0, 1, f"{len(plan.trials) + len(plan.rest)} files")
            commit = plan.done or _commit(plan, dataset)
            if commit:
                _tag(HubLocation(repo, commit), plan.tag)
                progress("publish", 1, 1, plan.tag)
                return plan, HubLocation(repo, commit)
    raise HubError(
        f"{HubLocation(repo)}: others keep committing there; {ROUNDS} plans were overtaken. Try again later."
    )


def plan_publication(dataset: Dataset, repo: str, described: Callable[[dict[str, str]], dict[str, Content]]) -> Plan:
    """Compare a dataset with what the repository holds.

    Parameters
    ----------
    dataset, repo
        As for `publish`.
    described
        Gives the files that describe the dataset, from the yanked versions of this repository.
    """
    manifest, location = dataset.manifest, HubLocation(repo)
    tag = f"v{manifest.version}"
    head, tagged = _refs(location, tag)
    for commit in filter(None, (tagged, head)):
        if _same_version(HubLocation(repo, commit), manifest, tagged=commit == tagged):
            return Plan(HubLocation(repo, head), tag, commit)
    base = HubLocation(repo, head)
    there = _files(base) if head else {}
    contents: dict[str, Content] = {entry.path: str(dataset.folder / entry.path) for entry in manifest.files}
    sizes = {entry.path: entry.size for entry in manifest.files}
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    kept = sorted(path for path in contents if there.get(path) == digests[path])
    trials = tuple((p, sizes[p], contents[p]) for p in contents if p not in kept)
    rest = tuple((path, _size(content), content) for path, content in described(_yanked(manifest)).items())
    stale = sorted(p for p in there if p.startswith(f"{TRIALS_FOLDER}/") and p not in contents)
    return Plan(base, tag, None, trials, rest, tuple(kept), tuple(stale))


def _refs(location: HubLocation, tag: str) -> tuple[str | None, str | None]:
    """The commits of the main branch and of a tag; None for what is not there."""

    def ask() -> GitRefs | None:
        try:
            return api().list_repo_refs(location.repo, repo_type="dataset")
        except RepositoryNotFoundError:
            return None

    refs = patiently(location, ask)
    if refs is None:
        return None, None
    head = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
    return head, next((found.target_commit for found in refs.tags if found.name == tag), None)


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

    tree = patiently(location, ask)
    return {item.path: item.lfs.sha256 if item.lfs else None for item in tree if isinstance(item, RepoFile)}


def _yanked(manifest: Manifest) -> dict[str, str]:
    """Yanked versions of the same family, as the catalog knows them."""
    entries = {name: entry for name, entry in catalog().items() if family(name) == family(manifest.name)}
    return {name.rpartition("-")[2]: entry.yanked for name, entry in entries.items() if entry.yanked}


def _describe(dataset: Dataset, repo: str) -> Callable[[dict[str, str]], dict[str, Content]]:
    """Make manifest, index, figure and card; the index goes to a file, as it may be large."""
    columns = {trial.index: trial.columns for trial in dataset.trials()}
    returns = {trial: scalars["episodic_return"] for trial, scalars in columns.items()}
    index = home() / "publishing" / dataset.digest / INDEX_NAME
    index.parent.mkdir(parents=True, exist_ok=True)
    write_index(index_table(dataset.manifest, columns), index)
    figure = draw_curves(returns, columns[0]["environment_steps"], dataset.name)
    statistics = return_statistics(returns)

    def described(yanked: dict[str, str]) -> dict[str, Content]:
        return {
            INDEX_NAME: str(index),
            FIGURE_NAME: figure,
            CARD_NAME: render_card(dataset.manifest, repo, statistics, yanked).encode(),
            MANIFEST_NAME: (dataset.manifest.model_dump_json(indent=1) + "\n").encode(),
        }

    return described


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else Path(content).stat().st_size


def _create(location: HubLocation) -> None:
    with speaking_of(location):
        api().create_repo(location.repo, repo_type="dataset", exist_ok=True)


def _commit(plan: Plan, dataset: Dataset) -> str | None:
    """Commit the plan on top of the head it was made on; None if someone else committed there in between."""
    repo = plan.location.repo
    parent = plan.location.revision
    with speaking_of(HubLocation(repo)):
        batches = list(_batches(plan.trials))
        for number, batch in enumerate([*batches[:-1], (*(batches[-1] if batches else ()), *plan.rest)]):
            last = number >= len(batches) - 1
            operations: list[Any] = [CommitOperationAdd(path, content) for path, _, content in batch]
            operations += [CommitOperationDelete(path) for path in plan.deleted] if last else []
            message = f"{dataset.name}" if last else f"{dataset.name}: trials, part {number + 1}"
            try:
                made = api().create_commit(
                    repo, operations, commit_message=message, repo_type="dataset", parent_commit=parent
                )
            except HfHubHTTPError as error:
                if error.response.status_code in (409, 412):
                    return None
                raise
            parent = made.oid
    return parent


def _batches(files: tuple[tuple[str, int, Content], ...]) -> Iterable[tuple[tuple[str, int, Content], ...]]:
    for start in range(0, len(files), FILES_PER_COMMIT):
        yield files[start : start + FILES_PER_COMMIT]


def _tag(location: HubLocation, tag: str) -> None:
    """Tag a commit; a tag that is there already must be on it."""
    with speaking_of(location):
        try:
            api().create_tag(location.repo, tag=tag, revision=location.revision, repo_type="dataset")
            return
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
    _, target = _refs(location, tag)
    if target != location.revision:
        raise DatasetError(f"{location}: tag {tag} is on commit {target} already, and tags are never moved.")


def catalog_lines(dataset: Dataset, location: HubLocation) -> str:
    """The catalog entry of a published dataset, as TOML to commit."""
    known = catalog().get(dataset.name)
    facts: dict[str, Any] = {
        "environment": dataset.environment,
        "summary": known.summary if known else f"{len(dataset)} trials of {dataset.environment}",
        "digest": dataset.digest,
        "default": known.default if known else False,
        "bundled": known.bundled if known else False,
        "repo": location.repo,
        "commit": location.revision,
    }
    entry = CatalogEntry.model_validate(facts)
    document = tomlkit.document()
    document[dataset.name] = entry.model_dump(exclude_defaults=True)
    return tomlkit.dumps(document)
