"""Publish a dataset: plan, commit on top of the head the plan was made on, tag; a version is never overwritten."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from ...utils.errors import DatasetError, HubError
from ...utils.progress import Progress, silent
from ..catalog import CatalogEntry, catalog, entry_lines, identity_of
from ..dataset import Dataset
from ..derived import DERIVED_NAME, derived_folder, derived_protocols
from ..manifest import DERIVED_FOLDER, MANIFEST_NAME
from ..reference import HubLocation, check_repo
from ..store import exclusive
from ..views.index import INDEX_NAME, index_table, write_index
from ..views.statistics import draw_curves, return_statistics
from .card import CARD_NAME, FIGURE_NAME, render_card
from .client import api, current_name, with_retries
from .plan import Content, Described, Plan, plan_publication, refs

FILES_PER_COMMIT = 2_000
"""More are spread over several commits; the manifest, which makes them a dataset, always comes with the last."""
ATTEMPTS = 5
"""Plans made before giving up, if someone else commits in between each time."""


def publish(
    dataset: Dataset, repo: str, *, dry_run: bool = False, progress: Progress = silent
) -> tuple[Plan, HubLocation | None]:
    """Publish a dataset as a version of a Hub repository.

    Every file is hashed first. Files that the repository has with the same bytes are not uploaded again, so an
    interrupted upload continues where it stopped. The commit is made on top of the head that the plan was made on; if
    someone else commits in between, a new plan is made.

    Parameters
    ----------
    dataset
        What to publish; its name's version becomes the tag.
    repo
        `OWNER/NAME`; created if it does not exist.
    dry_run
        Plan only.
    progress
        Receives stage, done, total and a note.

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
    check_repo(repo)
    _verify(dataset, progress)
    repo = _current_name(HubLocation(repo))
    with (
        exclusive(f"publish-{dataset.name}", required=False),
        tempfile.TemporaryDirectory(prefix="tipl-bench-") as scratch,
    ):
        described = _describe(dataset, repo, Path(scratch) / INDEX_NAME)
        for _ in range(ATTEMPTS):
            plan = plan_publication(dataset, repo, described)
            if dry_run:
                return plan, None
            if plan.location.revision is None:
                # Plan again on what it then holds: someone else may have created it first.
                _create(plan.location)
                continue
            progress("publish", 0, 1, f"{len(plan.trials) + len(plan.rest)} files")
            commit = plan.done or _commit(plan, dataset)
            if commit:
                if plan.tag:
                    _tag(HubLocation(repo, commit), plan.tag)
                progress("publish", 1, 1, plan.tag or commit)
                return plan, HubLocation(repo, commit)
    raise HubError(f"{HubLocation(repo)}: concurrent commits; gave up after {ATTEMPTS} attempts. Try again later.")


def _verify(dataset: Dataset, progress: Progress) -> None:
    size, done = sum(file.size for file in dataset.contents()), 0

    def hashed(path: str, count: int) -> None:
        nonlocal done
        done += count
        progress("verify", done, size, path)

    dataset.verify(hashed)


def _describe(dataset: Dataset, repo: str, index: Path) -> Described:
    """Make manifest, index, figure and card; the index goes to the file `index`, as it may be large."""
    columns = {trial.index: trial.columns for trial in dataset.trials()}
    returns = {trial: scalars["episodic_return"] for trial, scalars in columns.items()}
    steps = {trial: scalars["environment_steps"] for trial, scalars in columns.items()}
    write_index(index_table(dataset.manifest, columns), index)
    figure = draw_curves(returns, steps, dataset.name)
    statistics = return_statistics(returns)
    derived: dict[str, Content] = {
        f"{DERIVED_FOLDER}/p{protocol}/{DERIVED_NAME}": str(derived_folder(dataset.folder, protocol) / DERIVED_NAME)
        for protocol in derived_protocols(dataset.folder)
    }

    def described(yanked: dict[str, str]) -> dict[str, Content]:
        return {
            INDEX_NAME: str(index),
            FIGURE_NAME: figure,
            **derived,
            CARD_NAME: render_card(dataset.manifest, repo, statistics, yanked).encode(),
            MANIFEST_NAME: dataset.manifest.to_json().encode(),
        }

    return described


def _current_name(location: HubLocation) -> str:
    """The repository's name, which is another than the given one where it was renamed."""

    def ask() -> str:
        try:
            return str(api().dataset_info(location.repo).id)
        except RepositoryNotFoundError:
            return location.repo

    return current_name(location, with_retries(location, ask))


def _create(location: HubLocation) -> None:
    with_retries(location, lambda: api().create_repo(location.repo, repo_type="dataset", exist_ok=True))


def _commit(plan: Plan, dataset: Dataset) -> str | None:
    """Commit the plan on top of the head it was made on; None if someone else committed there in between."""
    parent = plan.location.revision
    batches = list(_batches(plan.trials))
    for number, batch in enumerate([*batches[:-1], (*(batches[-1] if batches else ()), *plan.rest)]):
        last = number >= len(batches) - 1
        operations: list[Any] = [CommitOperationAdd(path, content) for path, _, content in batch]
        operations += [CommitOperationDelete(path) for path in plan.deleted] if last else []
        message = f"{dataset.name}" if last else f"{dataset.name}: trials, part {number + 1}"
        made = _commit_on(HubLocation(plan.location.repo, parent), operations, message)
        if made is None:
            return None
        parent = made.oid
    return parent


def _commit_on(head: HubLocation, operations: list[Any], message: str) -> CommitInfo | None:
    """Commit on top of a head; None if the head moved. A commit whose answer was lost moves it too."""

    def ask() -> CommitInfo | None:
        try:
            return api().create_commit(
                head.repo, operations, commit_message=message, repo_type="dataset", parent_commit=head.revision
            )
        except HfHubHTTPError as error:
            if error.response.status_code in (409, 412):
                return None
            raise

    return with_retries(HubLocation(head.repo), ask)


def _batches(files: tuple[tuple[str, int, Content], ...]) -> Iterable[tuple[tuple[str, int, Content], ...]]:
    for start in range(0, len(files), FILES_PER_COMMIT):
        yield files[start : start + FILES_PER_COMMIT]


def _tag(location: HubLocation, tag: str) -> None:
    """Tag a commit; a tag that is there already must be on it."""

    def ask() -> bool:
        try:
            api().create_tag(location.repo, tag=tag, revision=location.revision, repo_type="dataset")
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            return False
        return True

    if with_retries(location, ask):
        return
    _, target = refs(location, tag)
    if target != location.revision:
        raise DatasetError(f"{location}: tag {tag} is on commit {target} already, and tags are never moved.")


def catalog_lines(dataset: Dataset, location: HubLocation) -> str:
    """The catalog entry of a published dataset, as TOML to commit."""
    known = catalog().get(dataset.name)
    found = [dataset.derived(protocol) for protocol in derived_protocols(dataset.folder)]
    derived = {f"p{one.manifest.protocol}": one.manifest.sha256 for one in found if one}
    facts: dict[str, Any] = {
        "environment": dataset.environment,
        "summary": known.summary if known else f"{len(dataset)} trials of {dataset.environment}",
        "digest": dataset.digest,
        "former_digest": identity_of(dataset).former_digest,
        "derived": derived | (known.derived if known else {}),
        "ceilings": known.ceilings if known else {},
        "default": known.default if known else False,
        "bundled": known.bundled if known else False,
        "repo": location.repo,
        "commit": location.revision,
    }
    return entry_lines(dataset.name, CatalogEntry.model_validate(facts))
