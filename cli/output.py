"""Terminal output: tables on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


def console() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console()


def print_fields(fields: Mapping[str, str]) -> None:
    """Print names in bold beside their values, one a line, without empty ones."""
    from rich.text import Text

    width = max((len(name) for name, value in fields.items() if value), default=0)
    for name, value in fields.items():
        if value:
            console().print(Text.assemble((f"{name:>{width}}", "bold"), f"  {value}"), soft_wrap=True)


def print_warning(message: Warning | str, *where: object, **context: object) -> None:
    """Print a warning as one line on standard error; takes the place of `warnings.showwarning`."""
    click.echo(f"warning: {message}", err=True)


class Bars:
    """One progress bar a stage, on standard error, removed when done; none if that is not a terminal."""

    def __enter__(self) -> Bars:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:>10}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", style="dim", markup=False),  # from the predictor
        )
        console = Console(stderr=True)
        self.bars = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.tasks: dict[str, TaskID] = {}
        self.bars.start()
        return self

    def stage(self, name: str, done: int, total: int, status: str) -> None:
        """Show a stage's progress."""
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, status=status)
        self.bars.update(self.tasks[name], completed=done, total=total, status=status)

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()
