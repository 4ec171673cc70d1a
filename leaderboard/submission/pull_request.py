"""Submitting a run: a pull request on the leaderboard's dataset repository; and fetching one to check it."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile

from ...benchmark.forecast.run_folder import FORECASTS_NAME
from ...benchmark.record import RECORD_LIMIT, RECORD_NAME, Record, read_record
from ...benchmark.training.curves import CURVES_NAME
from ...benchmark.training.record import TrainingRecord, is_training_record, read_training_record
from ...registry.hub.client import api, read_bytes, streaming, with_retries
from ...registry.reference import COMMIT_PATTERN, HubLocation, check_repo, parse_hub
from ...utils.errors import DatasetArgumentError, HubError, ProtocolError
from ..store.evidence import fingerprint
from ..store.records import file_name
from ..training.store import check_whole
from ..training.store import file_name as training_file_name
from ..verify.folder import SUBMITTED, RunFolder
from .check import MAX_RUNS

REPOSITORY = "tipl-bench/leaderboard"
FOLDER = "submissions"
FORECASTS_LIMIT = 4 << 30
"""Bytes of one forecasts file; HalfCheetah's take 0.9 GB for 15 test trials."""
SUBMISSION_LIMIT = 16 << 30
"""Bytes of one pull request."""
MAX_FILES = 200_000
"""Files of the repository; a listing that goes on is no leaderboard's."""
TRAINING_SUBMITTED = (RECORD_NAME, CURVES_NAME)
"""Files of a submitted run of the training track."""
LIMITS = {RECORD_NAME: RECORD_LIMIT, FORECASTS_NAME: FORECASTS_LIMIT, CURVES_NAME: 64 << 20}
"""Bytes of a file, by its name."""
PLACE = re.compile(rf"{FOLDER}/([A-Za-z0-9][A-Za-z0-9._+-]{{0,229}})/({'|'.join(map(re.escape, LIMITS))})")


def submission_name(record: Record | TrainingRecord) -> str:
    """The folder of a run in the repository."""
    name = training_file_name(record) if isinstance(record, TrainingRecord) else file_name(record)
    return name.removesuffix(".json")


def submit(run: RunFolder, repo: str = REPOSITORY) -> str:
    """Open a pull request that adds a run; returns its address.

    Raises
    ------
    DatasetArgumentError
        If `repo` is not of the form OWNER/NAME.
    ProtocolError
        If the run is not a whole test run, or the repository has this row already.
    HubError
        If the Hub refuses.
    """
    if run.record.why_not_submittable:
        raise ProtocolError(f"This run cannot be submitted: {run.record.why_not_submittable}")
    key, files = run.record.key, [run.folder / name for name in SUBMITTED]
    title = f"{key.method.name} v{key.method.version} on {key.dataset.name}, seed {key.seed}"
    text = f"Record {fingerprint(run.record)}, forecasts {run.record.forecasts_sha256}."
    return _propose(repo, submission_name(run.record), files, title, text)


def submit_training(folder: Path, repo: str = REPOSITORY) -> str:
    """Open a pull request that adds a run of the training track; see `submit`."""
    record, files = read_training_record(folder), [folder / name for name in TRAINING_SUBMITTED]
    check_whole(folder, record)
    title = f"{record.key.label} in {record.key.protocol.environment}, {record.key.split} trials"
    return _propose(repo, submission_name(record), files, title, f"Curves {record.artifacts['curves']}.")


def _propose(repo: str, name: str, files: list[Path], title: str, text: str) -> str:
    check_repo(repo)
    location = HubLocation(repo)
    if any(path.startswith(f"{FOLDER}/{name}/") for path in _tree(location)):
        raise ProtocolError(f"{location} has {FOLDER}/{name} already; a row is never changed. Raise the version.")
    operations = [CommitOperationAdd(f"{FOLDER}/{name}/{file.name}", str(file)) for file in files]

    def propose() -> str:
        made = api().create_commit(
            repo, operations, commit_message=title, commit_description=text, repo_type="dataset", create_pr=True
        )
        return str(made.pr_url)

    return with_retries(location, propose, repeatable=False)  # twice would open two pull requests


@dataclass(frozen=True)
class PullRequest:
    """A pull request of a repository, as it stands or at one of its commits."""

    location: HubLocation
    number: int
    commit: str | None = None

    @property
    def head(self) -> HubLocation:
        """What it proposes."""
        return HubLocation(self.location.repo, self.commit or f"refs/pr/{self.number}")

    def pinned(self) -> PullRequest:
        """The same at its newest commit, so that what is checked cannot move; raises `HubError`."""
        head = self.head
        found = with_retries(head, lambda: api().dataset_info(head.repo, revision=head.revision))
        if not re.fullmatch(COMMIT_PATTERN, found.sha or ""):
            raise HubError(f"{head}: the Hub names no commit of it.")
        return replace(self, commit=found.sha)


def parse_pull_request(text: str) -> PullRequest | None:
    """Read `hf://datasets/OWNER/NAME@refs/pr/N` or the address of its page; None for what is no address at all.

    Raises `DatasetArgumentError` for any other address.
    """
    page = re.fullmatch(r"https?://[^/\s]+/datasets/([^/\s]+/[^/\s]+)/discussions/(\d{1,9})(?:[/?#]\S*)?", text)
    if page:
        return PullRequest(parse_hub(f"hf://datasets/{page[1]}"), int(page[2]))
    place = re.fullmatch(r"(hf://datasets/[^@\s]+)@refs/pr/(\d{1,9})", text)
    if place is None and re.match(r"(https?|hf)://", text):
        raise DatasetArgumentError(
            f"{text!r} is not a pull request; one looks like hf://datasets/OWNER/NAME@refs/pr/N or "
            "https://HUB/datasets/OWNER/NAME/discussions/N."
        )
    return PullRequest(parse_hub(place[1]), int(place[2])) if place else None


def fetch(request: PullRequest, folder: Path) -> list[Path]:
    """Download the runs that a pull request adds, once it is seen to do nothing else; their folders.

    Raises
    ------
    ProtocolError
        If it changes or removes what is there, or adds anything but runs; nothing is downloaded then.
    HubError
        If it cannot be had.
    """
    before, after = _tree(request.location), _tree(request.head)
    gone = sorted(before.keys() - after.keys())
    changed = sorted(path for path in before.keys() & after.keys() if before[path][1] != after[path][1])
    if gone or changed:
        raise ProtocolError(
            f"{request.head}: removes {gone[:3]} and changes {changed[:3]}; a submission only adds. Rebase it if the "
            "repository went on."
        )
    added = {path: size for path, (size, _) in after.items() if path not in before}
    names = set()
    for path, size in added.items():
        place = PLACE.fullmatch(path)
        if place is None:
            raise ProtocolError(
                f"{request.head}: adds unexpected file {path!r}; a submission may only add "
                f"{FOLDER}/NAME/{{{','.join(LIMITS)}}}."
            )
        if size > LIMITS[place[2]]:
            raise ProtocolError(f"{request.head}: {path} takes {size:,} bytes, where {LIMITS[place[2]]:,} may be.")
        names.add(place[1])
    if sum(added.values()) > SUBMISSION_LIMIT:
        raise ProtocolError(f"{request.head}: adds {sum(added.values()):,} bytes, where {SUBMISSION_LIMIT:,} may be.")
    if not names or len(names) > MAX_RUNS:
        raise ProtocolError(f"{request.head}: adds {len(names)} runs; a submission has 1 to {MAX_RUNS}.")
    for path, size in added.items():
        target = folder / PurePosixPath(path).parent.name / PurePosixPath(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name == FORECASTS_NAME:
            _download(request.head, path, size, target)
        else:
            target.write_bytes(read_bytes(request.head, path, limit=size))
    for name in names:
        _check_name(request, folder / name)
    return sorted(folder / name for name in names)


def _check_name(request: PullRequest, folder: Path) -> None:
    """The folder name must be the record's canonical name, its files those of its track; raises `ProtocolError`."""
    of_training = is_training_record(folder)
    read, usual = (read_training_record, TRAINING_SUBMITTED) if of_training else (read_record, SUBMITTED)
    if odd := {path.name for path in folder.iterdir()} - {*usual}:
        raise ProtocolError(
            f"{request.head}: adds {FOLDER}/{folder.name}/{min(odd)}; such a run has {', '.join(usual)}."
        )
    try:
        own = submission_name(read(folder / RECORD_NAME))
    except ProtocolError:
        return  # reported when the record is checked
    if folder.name != own:
        raise ProtocolError(
            f"{request.head}: {FOLDER}/{folder.name} must be named {FOLDER}/{own}, the canonical name of its record."
        )


def _download(location: HubLocation, path: str, size: int, target: Path) -> None:
    """A large file in pieces, never more than it was said to have."""

    def fetch() -> None:
        with streaming(location, path) as (_, pieces), target.open("wb") as stream:
            for piece in pieces:
                stream.write(piece)
                if stream.tell() > size:
                    raise ProtocolError(f"{location}: {path} is longer than the {size:,} bytes it was said to have.")

    with_retries(location, fetch)


def _tree(location: HubLocation) -> dict[str, tuple[int, str]]:
    """Size and content id of every file at a revision, by path."""

    def ask() -> list[object]:
        items = api().list_repo_tree(location.repo, recursive=True, revision=location.revision, repo_type="dataset")
        return list(itertools.islice(items, MAX_FILES + 1))

    found = with_retries(location, ask)
    if len(found) > MAX_FILES:
        raise ProtocolError(f"{location}: holds more than {MAX_FILES:,} files.")
    return {
        item.path: (item.size, item.lfs.sha256 if item.lfs else item.blob_id)
        for item in found
        if isinstance(item, RepoFile)
    }
