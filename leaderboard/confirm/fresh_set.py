"""A set of fresh trials on this machine: secret seeds in a private folder, committed to by a hash until revealed."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ...registry.catalog import identity_of
from ...registry.collection.fresh import collect_fresh
from ...registry.dataset import Dataset
from ...registry.locations import cache_root
from ...utils.canonical import canonical_json, strict_json
from ...utils.errors import DatasetError, OptionError, ProtocolError, UnknownNameError
from ...utils.fields import Document, Sha256
from ...utils.files import is_file, private_files, write_text
from ...utils.progress import Progress
from ..statistics.board import MIN_TRIALS

SECRET_NAME = "secret.json"
DATASET_FOLDER, RUNS_FOLDER = "dataset", "runs"
SEED_BITS = 128
ID_LENGTH = 12
SECRET_LIMIT = 1 << 20
FRESH_TRIALS, MAX_FRESH_TRIALS = 15, 1000


class Secret(Document):
    """What a set's commitment hides, as `secret.json` keeps it; nothing of it is shown before the set is revealed."""

    format: Literal[1] = 1
    """The format of this file."""
    dataset: str
    """The dataset whose configuration is collected."""
    digest: Sha256
    """The digest by which that was first known."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << SEED_BITS)], ...], Field(repr=False)]
    """The trials' seeds."""
    salt: Annotated[Sha256, Field(repr=False)]
    """Hashed with the seeds."""
    revealed: bool = False
    """Whether the seeds were published: nothing is confirmed on these trials any more."""

    @property
    def commitment(self) -> str:
        """The sha256 of salt and seeds: it tells nothing of them, and no others have it."""
        return hashlib.sha256(canonical_json({"salt": self.salt, "seeds": self.seeds}).encode()).hexdigest()


@dataclass(frozen=True)
class FreshSet:
    """A set of fresh trials.

    Parameters
    ----------
    folder
        Its folder, which its own user alone can enter.
    secret
        Its seeds.
    """

    folder: Path
    secret: Secret

    @property
    def id(self) -> str:
        """The start of its commitment."""
        return self.secret.commitment[:ID_LENGTH]

    @property
    def runs(self) -> Path:
        """Where predictors' runs on it are."""
        return self.folder / RUNS_FOLDER

    @property
    def dataset_folder(self) -> Path:
        """Where its trials are, once they are collected."""
        return self.folder / DATASET_FOLDER

    def collect(self, base: Dataset, threads: int, progress: Progress) -> Dataset:
        """Collect its trials, or open them."""
        collection, _, version = base.name.rpartition("-v")
        name = f"{collection}-fresh-{self.id}-v{version}"
        return collect_fresh(base, name, self.secret.seeds, self.dataset_folder, threads=threads, progress=progress)

    def mark_revealed(self) -> FreshSet:
        """The same set, of which this machine knows from now on that it was revealed."""
        return _write(self.folder, self.secret.model_copy(update={"revealed": True}))


def fresh_root() -> Path:
    """The folder of all sets."""
    return cache_root() / "fresh"


def open_set(base: Dataset) -> FreshSet | None:
    """The set of a dataset that was not revealed yet, if there is one."""
    digest = identity_of(base).first_digest
    return next((one for one in find_sets() if not one.secret.revealed and one.secret.digest == digest), None)


def open_or_create(base: Dataset, trials: int | None, least: int = MIN_TRIALS) -> FreshSet:
    """The set of a dataset that was not revealed yet, or a new one.

    Parameters
    ----------
    base
        The dataset whose configuration is to be collected.
    trials
        How many trials the set must have; None for as many as an open set has, or `FRESH_TRIALS`
        of a new one.
    least
        How many the records need.

    Raises
    ------
    OptionError
        If there are too few or too many.
    ProtocolError
        If the open set has another number of them, or can be entered by other users.
    """
    wanted = FRESH_TRIALS if trials is None else trials
    if not least <= wanted <= MAX_FRESH_TRIALS:
        raise OptionError(
            f"{wanted} fresh trials: use {least} to {MAX_FRESH_TRIALS} (`trials=`). With fewer than {least}, chance "
            "alone could make all of them worse than the public test trials."
        )
    if found := open_set(base):
        if found.folder.stat().st_mode & fresh_root().stat().st_mode & 0o077:
            raise ProtocolError(
                f"{found.folder} can be entered by others than its user, who may know its seeds. Nothing is confirmed "
                f"on it any more: reveal it (`tipl-bench leaderboard reveal {found.id}`)."
            )
        held = len(found.secret.seeds)
        if held < least or trials not in (None, held):
            use = "" if held < least else "Use them (leave out `trials=`), or "
            raise ProtocolError(
                f"{found.folder} holds {held} fresh trials of {base.name} that were not revealed yet, where "
                f"{trials or least} are asked for. {use or 'First '}reveal them "
                f"(`tipl-bench leaderboard reveal {found.id}`)."
            )
        return found
    secret = Secret(
        dataset=base.name,
        digest=identity_of(base).first_digest,
        seeds=tuple(secrets.randbits(SEED_BITS) for _ in range(wanted)),
        salt=secrets.token_hex(32),
    )
    return _write(fresh_root() / secret.commitment[:ID_LENGTH], secret)


def find_sets() -> list[FreshSet]:
    """All sets on this machine; folders that a killed process left without a secret are none."""
    return [read_set(path.parent) for path in sorted(fresh_root().glob(f"*/{SECRET_NAME}"))]


def find_set(name: str) -> FreshSet:
    """The set with an id, or the only one of a dataset that was not revealed yet."""
    known = find_sets()
    chosen = [one for one in known if one.id == name]
    chosen = chosen or [one for one in known if one.secret.dataset == name and not one.secret.revealed]
    if not chosen:
        where = f"Sets are in {fresh_root()}; `tipl-bench leaderboard confirm` makes them"
        raise UnknownNameError("set of fresh trials", name, [one.id for one in known], where)
    return chosen[0]


def read_set(folder: Path) -> FreshSet:
    """The set in a folder of this machine's store; raises `DatasetError` if its secret is not readable."""
    found = FreshSet(folder, read_secret(folder / SECRET_NAME))
    if folder.name != found.id:
        raise DatasetError(f"{folder / SECRET_NAME}: not the secret that {folder.name} is named after.")
    return found


def read_secret(path: Path) -> Secret:
    """A secret from its file; raises `DatasetError`, without a word of what the file holds."""
    try:
        if path.stat().st_size > SECRET_LIMIT:
            raise ValueError("too large")
        return Secret.model_validate(strict_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        raise DatasetError(f"{path}: not readable as the seeds of fresh trials.") from None


def lock_name(dataset: str) -> str:
    """The store's lock on the sets of a dataset."""
    return f"fresh--{dataset}"


def _write(folder: Path, secret: Secret) -> FreshSet:
    cache_root().mkdir(parents=True, exist_ok=True)  # with the modes that it has otherwise
    with private_files():
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder.parent, folder):
            place.chmod(0o700)  # whatever made it
        write_text(folder / SECRET_NAME, secret.model_dump_json(indent=1) + "\n")
    return FreshSet(folder, secret)


def make_private(folder: Path) -> None:
    """Take a folder's files from every user but this one."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if is_file(path) or path.is_dir():
                path.chmod(path.stat().st_mode & 0o700)
