"""The board's document: everything its pages show, as one JSON object, made from the records."""

from __future__ import annotations

from pathlib import Path

from ..._version import __version__
from ...registry.catalog import catalog
from ..store import records as stored
from .entries import boards as grouped
from .environment_board import Board
from .numbers import Json
from .overall import overall_rows

FORMAT = 1


def document(records: Path | None = None) -> Json:
    """The board's data.

    Parameters
    ----------
    records
        Folder of records; the package's own by default.

    Returns
    -------
    dict
        `format`, `version`, `protocols` by version, `boards`, `rows` (best first within their board, greyed ones
        last), `overall` and `overall_scope`. The same records give the same document.

    Raises
    ------
    ProtocolError
        If there are no records, one is not valid, or records of one board cannot be compared; the message names it.
    """
    groups = grouped(stored.load(records))
    listed = catalog()
    boards = [Board(name, entries, listed.get(entries[0].first.key.dataset.name)) for name, entries in groups.items()]
    boards.sort(key=lambda board: (board.greyed is not None, not (board.listed and board.listed.bundled), board.id))
    protocols = {board.protocol.version: board.protocol.model_dump(mode="json") for board in boards}
    described = [board.describe() for board in boards]
    rows = [row for board in boards for row in board.rows()]
    overall, scope = overall_rows(described, rows, groups)
    return {
        "format": FORMAT,
        "version": __version__,
        "protocols": {str(version): protocols[version] for version in sorted(protocols)},
        "boards": described,
        "rows": rows,
        "overall": overall,
        "overall_scope": scope,
    }
