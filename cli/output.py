"""Terminal output: results on standard output; progress, warnings and messages on standard error.

Commands print with `echo`, `console()` and `Bars`, and JSON with `click.echo`; `plain_output` makes all of them safe in
any encoding.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from ..utils.progress import Progress

QUIET = "tipl_bench.quiet"
WORKING = "tipl_bench.working"
"""Keys of the click context: whether to print no progress, and the command that has reported some."""
ESCAPE = "tipl_bench.escape"
"""The name of the handler for characters that an encoding lacks."""
PLAIN_ASCII = "tipl_bench_ascii"
LOOKALIKES = {
    "█": "#", "━": "=", "─": "-", "│": "|", "·": ".", "•": "*", "…": "...", "±": "+/-", "\u00d7": "x", "→": "->",
    "—": "-", "\u2013": "-", "\u2212": "-", "≥": ">=", "≤": "<=", "≈": "~", "\u2018": "'", "\u2019": "'",
    "“": '"', "”": '"',
}  # fmt: skip
IGNORED_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Warnings for programmers, of this package's dependencies."""


def print_descriptions(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and what they are, below each other, those without a description left out."""
    described = [(name, text) for name, text in pairs if text]
    if described:
        formatter = click.HelpFormatter(width=min(console().width, 120))
        formatter.write_dl(described)
        click.echo("\n" + formatter.getvalue(), nl=False)


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, option, value: ctx.meta.__setitem__(QUIET, value),
    help="Print no progress.",
)


@contextlib.contextmanager
def plain_output() -> Iterator[None]:
    """Make standard output and error take any character, and print warnings and log messages as one line each."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # click takes ASCII for a mistake and would write UTF-8, unless the encoding has another name.
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=PLAIN_ASCII if ascii_only else None, errors=ESCAPE)
    messages = MessageHandler()
    logging.getLogger().addHandler(messages)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _print_warning
            yield
    finally:
        logging.getLogger().removeHandler(messages)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that the output's encoding lacks: a look-alike, or an escape as JSON has it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(LOOKALIKES.get(character) or _json_escape(character) for character in missing), error.end


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _find_plain_ascii(name: str) -> codecs.CodecInfo | None:
    if name != PLAIN_ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        name=PLAIN_ASCII,
        incrementalencoder=found.incrementalencoder,
        incrementaldecoder=found.incrementaldecoder,
    )


codecs.register_error(ESCAPE, _escape)
codecs.register(_find_plain_ascii)


def _print_warning(message: Warning | str, category: type[Warning], *where: Any, **rest: Any) -> None:
    from ..utils.text import one_line

    if not issubclass(category, IGNORED_WARNINGS):
        echo(f"warning: {one_line(message, 2000)}", err=True)


class MessageHandler(logging.Handler):
    """Prints log messages on standard error as it is now: `warning: ...`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        where = "" if record.levelno >= logging.WARNING else f"{record.name}: "
        echo(f"{record.levelname.lower()}: {where}{record.getMessage()}", err=True)


def echo(text: object = "", *, err: bool = False, indent: int | None = None) -> None:
    """Print text, folded (see `fold`) to the width of the terminal, or to `COLUMNS`; elsewhere each line stays one."""
    click.echo(fold(str(text), _width(sys.stderr if err else sys.stdout), indent), err=err)


def numbers_in_words(message: str) -> str:
    """What click says of a text that is not a number, without its names of types."""
    message = re.sub(r"is not a valid integer(?: range)?\.", "is not a whole number.", message)
    return re.sub(r"is not a valid float(?: range)?\.", "is not a number.", message)


def fold(text: str, width: int | None, indent: int | None = None) -> str:
    """Break the lines of a text that are longer than `width`, between words: paths and hashes stay whole.

    Parameters
    ----------
    text
        Lines.
    width
        Characters a line; None breaks nothing.
    indent
        Spaces before the continuation of a line; as many as before the line by default.
    """
    lines = []
    for line in text.split("\n"):
        if width is None or len(line) <= width:
            lines.append(line)
            continue
        spaces = len(line) - len(line.lstrip(" ")) if indent is None else indent
        lines += textwrap.wrap(
            line, width, subsequent_indent=" " * spaces, break_long_words=False, break_on_hyphens=False
        )
    return "\n".join(lines)


def _width(stream: TextIO) -> int | None:
    """Characters a line of a terminal, or of whatever `COLUMNS` tells of; None for a file or a pipe."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or None
    return None


def console() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console()


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names in bold beside their values, one a line, without empty ones."""
    from rich.text import Text

    columns = _width(sys.stdout)
    beside = max((len(name) for name, value in fields.items() if value), default=0)
    for name, value in fields.items():
        if not value:
            continue
        title, indent = f"{name:>{beside}}  ", beside + 2
        if columns and indent + max(map(len, value.split(" "))) > columns:  # a path or a hash: below the name
            title, indent = f"{name:>{beside}}\n  ", 2
        lines = fold(title + value, columns, indent)
        console().print(Text.assemble((lines[:beside], "bold"), lines[beside:]), soft_wrap=True)


class Bars:
    """Progress on standard error: a bar a stage, removed when done; lines of text if that is not a terminal."""

    def __enter__(self) -> Bars:
        from rich.console import Console

        from ..utils.progress import ProgressLines, silent

        context, console = click.get_current_context(silent=True), Console(stderr=True)
        self.meta = context.meta if context else {}
        self.command = context.command_path if context else ""
        self.lines = ProgressLines()
        self.stop = contextlib.ExitStack()
        self.report: Progress = self.lines
        if self.meta.get(QUIET):
            self.report = silent
        elif console.is_terminal and not console.is_dumb_terminal:
            self.report = self.stop.enter_context(draw_bars(console))
        return self

    def stage(self, name: str, done: int, total: int, status: str) -> None:
        """Show a stage's progress."""
        self.meta[WORKING] = self.command
        self.report(name, done, total, status)

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        self.stop.close()
        if failure is None:
            self.lines.finish()


@contextlib.contextmanager
def draw_bars(console: Console) -> Iterator[Progress]:
    """Bars on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Column

    def whole(width: int) -> Column:
        """A column that a narrow terminal does not cut."""
        return Column(min_width=width, no_wrap=True)

    columns = (
        TextColumn("{task.description}", justify="right", markup=False, table_column=whole(10)),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%", table_column=whole(4)),
        TimeElapsedColumn(table_column=whole(7)),
        TextColumn("left", table_column=whole(4)),
        TimeRemainingColumn(table_column=whole(7)),
        TextColumn("{task.fields[status]}", style="dim", markup=False),  # from the predictor
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as bars:

        def report(stage: str, done: int, total: int, status: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, status=status)
            bars.update(tasks[stage], completed=done, total=total, status=status)

        yield report
