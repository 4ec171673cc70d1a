"""Tables for the terminal that never cut a number: what does not fit beside stands in a further block below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

Cell = str | Text


class _Rule(box.Box):
    """A rule below the header; of hyphens where the output's encoding has no line drawing."""

    def substitute(self, options: ConsoleOptions, safe: bool = True) -> box.Box:
        """The box itself, or its ASCII form."""
        return box.Box(str(self).replace("─", "-"), ascii=True) if options.ascii_only else self


RULE = _Rule(str(box.SIMPLE_HEAD))


@dataclass(frozen=True)
class ColumnGroup:
    """Columns that stay side by side.

    Parameters
    ----------
    titles
        One a column.
    topic
        Groups of one topic share a block where the width allows it.
    """

    titles: tuple[str, ...]
    topic: str = ""


@dataclass(frozen=True)
class _Row:
    """A row; of a heading, `groups` is None and `key` is the heading."""

    key: Cell
    groups: Sequence[Sequence[Cell]] | None
    end_section: bool = False

    def cells(self, block: Sequence[int], columns: int) -> list[Cell]:
        """The cells of a block of so many columns."""
        if self.groups is None:
            return ["", self.key, *[""] * (columns - 2)]
        return [self.key, *(cell for number in block for cell in self.groups[number])]


class FoldedTable:
    """A table with a key column and groups of columns; a narrow terminal gets several blocks, each with the keys.

    Parameters
    ----------
    key
        Title of the first column.
    groups
        The other columns.
    justify
        How all columns are justified.
    """

    def __init__(self, key: str, groups: Sequence[ColumnGroup], *, justify: Literal["left", "right"] = "right") -> None:
        self.key, self.groups, self.justify = key, groups, justify
        self.rows: list[_Row] = []

    def add_row(self, key: Cell, groups: Sequence[Sequence[Cell]], *, end_section: bool = False) -> None:
        """Add a row: its key, and the cells of each group."""
        self.rows.append(_Row(key, groups, end_section))

    def add_heading(self, text: str) -> None:
        """Add a line that names the rows below it, in the second column of every block."""
        self.rows.append(_Row(Text(text, "bold"), None))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The blocks that fit the width."""
        for number, block in enumerate(self._blocks(options.max_width)):
            if number:
                yield ""
            yield self._table(block)

    def _blocks(self, width: int) -> list[list[int]]:
        """The numbers of the groups in each block of at most `width` characters; one too wide stands alone."""
        found: list[list[int]] = []
        for topic in dict.fromkeys(group.topic for group in self.groups):
            numbers = [number for number, group in enumerate(self.groups) if group.topic == topic]
            if found and self._width([*found[-1], *numbers]) <= width:
                found[-1] += numbers
                continue
            found.append([])
            for number in numbers:
                if found[-1] and self._width([*found[-1], number]) > width:
                    found.append([])
                found[-1].append(number)
        return found

    def _lines(self, block: Sequence[int]) -> list[list[Cell]]:
        """The cells of a block, its titles first."""
        titles: list[Cell] = [self.key, *(title for number in block for title in self.groups[number].titles)]
        return [titles, *(row.cells(block, len(titles)) for row in self.rows)]

    def _width(self, block: Sequence[int]) -> int:
        """The width of a block: its columns, with a space between."""
        columns = list(zip(*self._lines(block), strict=True))
        return sum(max(cell_len(str(cell)) for cell in column) for column in columns) + len(columns) - 1

    def _table(self, block: Sequence[int]) -> Table:
        table = Table(box=RULE, show_edge=False, header_style="bold", padding=0)
        titles, *lines = self._lines(block)
        for title in titles:
            table.add_column(_literal(title), justify=self.justify, overflow="fold")
        for row, cells in zip(self.rows, lines, strict=True):
            table.add_row(*map(_literal, cells), end_section=row.end_section)
        return table


def _literal(cell: Cell) -> Text:
    """A cell without markup: names come from packages and records of others."""
    return Text(cell) if isinstance(cell, str) else cell
