"""References to a dataset: a name, a folder's path, or an address on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..utils.errors import DatasetArgumentError

NAME_LENGTH = 80
NAME_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*-v[1-9][0-9]{0,3}$"
"""`<environment>/<collection>-v<N>`."""
_ALIKE = str.maketrans("01i", "oll", "._-")
HUB_PREFIX = "hf://"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
REPO_PATTERN = rf"(?![^@]*(?:--|\.\.)){_PART}/{_PART}(?<!\.git)"
"""`OWNER/NAME`; the Hub itself refuses `--` and `..` in both, an end in `-` or `.`, and names ending in `.git`."""
COMMIT_PATTERN = r"[0-9a-f]{40}"
REVISION_PATTERN = r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}"


@dataclass(frozen=True)
class HubLocation:
    """A dataset repository on the Hub.

    Parameters
    ----------
    repo
        `owner/name`.
    revision
        A 40-hex commit, a tag or a branch; None stands for the default branch.
    """

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{HUB_PREFIX}datasets/{self.repo}" + (f"@{self.revision}" if self.revision else "")

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which cannot move."""
        return self.revision is not None and re.fullmatch(COMMIT_PATTERN, self.revision) is not None


@dataclass(frozen=True)
class DatasetRef:
    """One dataset, as `registry.loading.parse_reference` understood a person's text; everything else takes this.

    Parameters
    ----------
    name
        `<environment>/<collection>-v<N>`, if it was referred to by name.
    path
        Its folder, if it was referred to by path.
    location
        Where it is published: the address itself, or for a name what the catalog says (None if it is not published).
    """

    name: str | None = None
    path: Path | None = None
    location: HubLocation | None = None

    def __post_init__(self) -> None:
        if (self.path is not None) == (self.name is not None or self.location is not None):
            raise ValueError("a reference has either a path, or a name, a location or both")

    def __str__(self) -> str:
        """What a person would type."""
        return self.name or str(self.path or self.location)

    @property
    def kind(self) -> Literal["name", "path", "hub"]:
        """How the dataset was referred to."""
        return "name" if self.name else "path" if self.path else "hub"

    @property
    def version(self) -> int | None:
        """The version that was named: of `half-cheetah/ppo-v2` and `hf://datasets/OWNER/NAME@v2` it is 2."""
        if self.name:
            return version_number(self.name)
        tag = re.fullmatch(r"v([1-9]\d{0,3})", (self.location and self.location.revision) or "")
        return int(tag[1]) if tag else None


def parse_hub(text: str) -> HubLocation:
    """Read `hf://datasets/OWNER/NAME[@REVISION]`.

    Raises
    ------
    DatasetArgumentError
        If it is not of that form.
    """
    found = re.fullmatch(rf"{HUB_PREFIX}datasets/({REPO_PATTERN})(?:@({REVISION_PATTERN}))?", text)
    if found is None:
        raise DatasetArgumentError(
            f"{text!r} is not an address on the Hub; one looks like {HUB_PREFIX}datasets/OWNER/NAME or "
            f"{HUB_PREFIX}datasets/OWNER/NAME@REVISION, with the revision a tag, a branch or a 40-hex commit."
        )
    return HubLocation(found[1], found[2])


def is_name(name: str) -> bool:
    """Whether `name` has the form `<environment>/<collection>-v<N>` and at most `NAME_LENGTH` characters."""
    return len(name) <= NAME_LENGTH and re.fullmatch(NAME_PATTERN, name) is not None


def is_repo(text: str) -> bool:
    """Whether a text has the form `OWNER/NAME`."""
    return re.fullmatch(REPO_PATTERN, text) is not None


def check_repo(text: str) -> None:
    """A text has the form `OWNER/NAME`; raises `DatasetArgumentError`."""
    if not is_repo(text):
        raise DatasetArgumentError(f"{text!r} is not a repository; one looks like OWNER/NAME.")


def parse_name(text: str, known: Iterable[str]) -> tuple[str, str | None] | None:
    """Read `NAME-vN`, `NAME@vN`, `NAME-vN@COMMIT`, or `NAME`, which stands for its newest known version.

    Parameters
    ----------
    text
        What was written.
    known
        The dataset names known here.

    Returns
    -------
    (str, str or None) or None
        The name and the commit, if one was given; None if the text has no such form.

    Raises
    ------
    DatasetArgumentError
        If the text names two versions that differ, or a revision that is none.
    """
    base, at, revision = text.partition("@")
    if is_name(base):
        version = base.rpartition("-")[2]
        if at and re.fullmatch(r"v\d+", revision) and revision != version:
            raise DatasetArgumentError(f"{text!r} names two versions, {version} and {revision}; give one.")
        if at and revision != version and re.fullmatch(COMMIT_PATTERN, revision) is None:
            raise DatasetArgumentError(
                f"{text!r}: {revision!r} is neither a version (v1, v2, ...) nor a 40-hex commit."
            )
        return base, revision if re.fullmatch(COMMIT_PATTERN, revision) else None
    if not is_name(f"{base}-v1"):
        return None
    if at:
        named = f"{base}-{revision}"
        return (named, None) if "-" not in revision and is_name(named) else None
    versions = [name for name in known if family(name) == base]
    return (max(versions, key=version_number), None) if versions else None


def family(name: str) -> str:
    """A dataset's name without its version."""
    return name.rpartition("-v")[0]


def version_number(name: str) -> int:
    """N of a name that ends in `-vN`."""
    return int(name.rpartition("-v")[2])


def skeleton(name: str) -> str:
    """What of a name is compared: two names that a reader or a disk takes for one another have the same.

    Case and separators do not count, nor do the digits 0 and 1 and the letter i beside o and l.
    """
    return name.casefold().translate(_ALIKE)
