"""Withdraw a version: nothing is deleted; the catalog and the card say that it is yanked, and why."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import CommitOperationAdd

from ...utils.errors import DatasetError, UnknownNameError
from ..catalog import catalog, write_yanked
from ..reference import DatasetRef, HubLocation
from .card import CARD_NAME
from .client import api, read_bytes, with_retries

REASON_LIMIT = 300
CARD_LIMIT = 1 << 20


def yank(reference: DatasetRef, reason: str) -> tuple[str, Path, str | None]:
    """Mark a catalogued version as withdrawn; using it warns, and leaderboard rows that used it are greyed.

    Parameters
    ----------
    reference
        The version.
    reason
        Why, in one line.

    Returns
    -------
    str, Path, str or None
        The dataset's name, the catalog file that was changed, and the commit that changed the card if it is published.

    Raises
    ------
    DatasetError, UnknownNameError
        If it is not in a catalog or the reason is not one line of text.
    """
    name, entry = reference.name, catalog().get(reference.name or "")
    if name is None or entry is None:
        raise UnknownNameError("dataset", str(reference), catalog())
    if not reason.strip() or not reason.isprintable() or len(reason) > REASON_LIMIT:
        raise DatasetError(f"The reason must be one line of at most {REASON_LIMIT} characters.")
    path = write_yanked(name, reason)
    return name, path, _mark_card(HubLocation(entry.repo), name, reason) if entry.repo else None


def _mark_card(location: HubLocation, name: str, reason: str) -> str:
    """Put a warning under the card's title, in the place of one of this version that is there; returns the commit."""
    version = name.rpartition("-")[2]
    head = with_retries(location, lambda: api().dataset_info(location.repo).sha)
    content = read_bytes(HubLocation(location.repo, head), CARD_NAME, limit=CARD_LIMIT)
    warning = f"\n> [!WARNING]\n> **{version} is yanked**: "
    try:
        card = re.sub(rf"{re.escape(warning)}.*\n", "", content.decode())
    except UnicodeDecodeError:
        raise DatasetError(f"{location}: {CARD_NAME} is not UTF-8 text; add to it by hand:{warning}{reason}") from None
    title = re.search(r"^# .*\n", card, re.MULTILINE)
    place = title.end() if title else len(card)
    marked = f"{card[:place]}{warning}{reason}\n{card[place:]}"
    commit = with_retries(
        location,
        lambda: api().create_commit(
            location.repo,
            [CommitOperationAdd(CARD_NAME, marked.encode())],
            commit_message=f"Yank {version}: {reason}",
            repo_type="dataset",
            parent_commit=head,
        ),
        repeatable=False,
    )
    return str(commit.oid)
