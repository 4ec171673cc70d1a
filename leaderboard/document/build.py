"""Make the leaderboard's document from the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..._version import __version__
from ...benchmark.record import Record
from ...registry.catalog import catalog
from ..store import records as stored
from .entries import boards as grouped
from .environment_board import Ceilings, board_ceilings, board_rows, environment_board, greyed_reason
from .metric_values import SHOWN
from .overall import comparisons_across
from .schema import EnvironmentBoard, LeaderboardDocument


def document(records: Path | None = None) -> LeaderboardDocument:
    """The leaderboard as one document.

    Parameters
    ----------
    records
        Folder of records; those of `records.committed_folder` by default.

    Returns
    -------
    LeaderboardDocument
        The same records give the same document.

    Raises
    ------
    ProtocolError
        If there are no records, one is not valid, or records of one board cannot be compared; the message names it.
    """
    return document_of(stored.load(records))


def document_of(records: Mapping[Path, Record]) -> LeaderboardDocument:
    """The document of records by their files; see `document`."""
    groups = grouped(records)
    listed = catalog()
    newest: dict[tuple[str, str], int] = {}
    for entries in groups.values():
        key = entries[0].first.key
        dataset = (key.dataset.name, key.dataset.first_digest)
        newest[dataset] = max(newest.get(dataset, 0), key.protocol.version)
    boards, protocols = [], {}
    ceilings: dict[str, Ceilings] = {}
    for name, entries in groups.items():
        key = entries[0].first.key
        dataset = (key.dataset.name, key.dataset.first_digest)
        entry = listed.get(key.dataset.name)
        ceilings[name] = board_ceilings(entries, entry)
        boards.append(environment_board(name, entries, entry, newest[dataset], ceilings[name]))
        protocols[str(key.protocol.version)] = key.protocol

    def place(board: EnvironmentBoard) -> tuple[bool, bool, bool, str]:
        bundled = board.published and listed[board.dataset].bundled
        return greyed_reason(board) is not None, board.superseded is not None, not bundled, board.id

    boards.sort(key=place)
    rows = [row for board in boards for row in board_rows(board, groups[board.id], ceilings[board.id])]
    return LeaderboardDocument(
        version=__version__,
        protocols=dict(sorted(protocols.items(), key=lambda item: int(item[0]))),
        metrics=SHOWN,
        boards=boards,
        rows=rows,
        overall=comparisons_across(boards, rows, groups),
    )
