"""Command groups and the display of errors."""

from __future__ import annotations

import io
import re
import sys
from types import TracebackType
from typing import Any

import click

from .output import WORKING, echo, plain_output

RESUMABLE = ("run", "reproduce", "datasets collect", "datasets download", "datasets publish")
"""Commands that continue from finished work when they are repeated."""


class Commands(click.Group):
    """A group that suggests the nearest command for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand; the error for an unknown one suggests the nearest and lists all."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from ..utils.errors import UnknownNameError

            raise click.UsageError(str(UnknownNameError("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)


def examples(*commands: str) -> str:
    """The end of a command's help: command lines as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  tipl-bench {command}" for command in commands)


class MainCommands(Commands):
    """The outermost group: prints expected errors without a traceback, in any encoding."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        with plain_output():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and print errors folded to the terminal's width."""
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            echo(text.getvalue().rstrip("\n"), err=True)
            raise click.exceptions.Exit(error.exit_code) from error

    def _invoke(self, ctx: click.Context) -> Any:
        """Run, turning expected errors into a message and exit status 1."""
        from ..utils.errors import TiplBenchError, reason

        try:
            return super().invoke(ctx)
        except TiplBenchError as error:
            raise click.ClickException(as_options(str(error))) from error
        except BrokenPipeError:
            raise  # the reader of the output is gone, as after `| head`: click ends silently
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{reason(error)}.{_resume_hint(ctx)}") from error
        except MemoryError as error:
            raise click.ClickException(f"This machine is out of memory.{_resume_hint(ctx)}") from error
        except KeyboardInterrupt:
            echo(f"Interrupted.{_resume_hint(ctx)}", err=True)
            sys.exit(130)


def as_options(message: str) -> str:
    """A message of the library with its parameters, `out=` or `device="cpu"`, spelt as options of the command line."""
    return re.sub(
        r'`(\w+)=(?:"([^"`]*)")?`',
        lambda found: f"--{found[1].replace('_', '-')}" + (f" {found[2]}" if found[2] else ""),
        message,
    )


def _resume_hint(ctx: click.Context) -> str:
    """Tell that finished work is kept, if some was reported and the command can be resumed."""
    resumable = str(ctx.meta.get(WORKING)).endswith(tuple(f" {command}" for command in RESUMABLE))
    return " Finished work is kept; run the same command to continue." if resumable else ""


def print_unexpected(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an error that is a fault of this package, in one line: a `sys.excepthook`."""
    from ..utils.text import one_line

    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = f" ({traceback.tb_frame.f_code.co_filename}, line {traceback.tb_lineno})" if traceback else ""
    echo(
        f"Error: unexpected {kind.__name__}{where}: {one_line(error)}\nThis is a fault of tipl-bench or of a package "
        "that it uses. `tipl-bench -v COMMAND` prints the traceback, for a report.",
        err=True,
    )
