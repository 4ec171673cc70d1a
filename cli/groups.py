"""Command groups and the display of errors."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import click

from ..utils.errors import OptionError, TiplBenchError, UnknownNameError, reason
from ..utils.files import TEMPORARY
from .output import WORKING, echo, numbers_in_words, plain_output

RESUMABLE = (
    "run", "forecast", "tune", "train", "suite run", "reproduce", "leaderboard confirm", "datasets collect",
    "datasets ceiling", "datasets download", "datasets publish", "optimizers fit",
)  # fmt: skip
"""Commands that continue from finished work when they are repeated."""


TYPED = "tipl_bench.typed"
COMMAND = "tipl_bench.command"
"""Keys of the click context: the words of the command line; the command among them, as a `Call`."""
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class Call(NamedTuple):
    """A command of a command line: the group's context, its name there, the command, and the words behind it."""

    context: click.Context
    name: str
    command: click.Command
    words: list[str]


class Commands(click.Group):
    """A group that suggests the nearest command for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand; the error for an unknown one suggests the nearest and lists all."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(str(UnknownNameError("command", args[0], self.list_commands(ctx))), ctx)
        name, command, words = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            ctx.meta[COMMAND] = Call(ctx, name, command, [*words])
        return name, command, words


class ListingCommands(Commands):
    """A group that lists things: its command NAME is short for `show NAME`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Treat a single argument that is not a command as a name."""
        if ctx.params.get("as_json"):
            raise click.UsageError("--json lists all; of one, it goes behind the name.", ctx)
        names = [argument for argument in args if not argument.startswith("-")]
        if len(names) == 1 and args[0] == names[0] and self.get_command(ctx, args[0]) is None:
            args = ["show", *args]
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and keep what was typed."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and print errors folded to the terminal's width."""
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            shown = numbers_in_words(text.getvalue()) if isinstance(error, click.BadParameter) else text.getvalue()
            echo(shown.rstrip("\n"), err=True)
            raise click.exceptions.Exit(error.exit_code) from error

    def _invoke(self, ctx: click.Context) -> Any:
        """Run, turning expected errors into a message and an exit status: 2 for names and values that cannot be."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # Of options that exclude each other, say: which of them the file gave. Errors of one value say so.
            named = {one: value for one, value in _origins(ctx).items() if f"--{one.split()[-1]}" in error.message}
            if type(error) is not click.UsageError or not named:
                raise
            raise click.UsageError(error.message + _describe(named), error.ctx) from error
        except (OptionError, UnknownNameError) as error:
            raise _as_click(error, ctx) from error
        except TiplBenchError as error:
            raise click.ClickException(as_options(str(error))) from error
        except BrokenPipeError:
            raise  # the reader of the output is gone, as after `| head`: click ends silently
        except OSError as error:
            where = f"{_written(error.filename)}: " if error.filename else ""
            way_out = " Choose a folder that you can write." if error.errno in UNWRITABLE else ""
            raise click.ClickException(f"{where}{reason(error)}.{way_out}{_resume_hint(ctx)}") from error
        except MemoryError as error:
            raise click.ClickException(f"This machine is out of memory.{_resume_hint(ctx)}") from error
        except KeyboardInterrupt:
            echo(f"Interrupted.{_resume_hint(ctx) or _begin_hint(ctx)}", err=True)
            sys.exit(130)


def _written(name: str | bytes) -> str:
    """The full path of a file; of a temporary one that of the file which it was to become."""
    path = Path(os.fsdecode(name)).absolute()
    temporary = TEMPORARY.fullmatch(path.name)
    return str(path.with_name(temporary["name"]) if temporary else path)


def _as_click(error: OptionError | UnknownNameError, ctx: click.Context) -> click.ClickException:
    """The error of a wrong command line; of a name that nobody gave, as a record's may be, that of a failure."""
    message, origins = as_options(str(error)), _origins(ctx)
    if isinstance(error, UnknownNameError):
        if any(error.name in word for word in ctx.meta[TYPED]):
            return click.UsageError(message)
        if not any(error.name in str(value) for value in origins.values()):
            return click.ClickException(message)
    return click.UsageError(message + _describe(origins))


def _origins(ctx: click.Context) -> dict[str, Any]:
    """What a configuration file gave of the options of the command, by table and option."""
    from .defaults import defaults_taken

    call = ctx.meta.get(COMMAND)
    return defaults_taken(*call) if call else {}


def _describe(taken: dict[str, Any]) -> str:
    from .defaults import configuration

    parts = [f"{option} = {json.dumps(value, default=str, ensure_ascii=False)}" for option, value in taken.items()]
    return f" Taken from {configuration()}: {', '.join(parts)}." if parts else ""


def as_options(message: str) -> str:
    """A message of the library with its parameters, `out=`, `device="cpu"` or `collect=True`, spelt as options."""

    def spelt(found: re.Match[str]) -> str:
        name, value, text = found.groups()
        return f"--{'no-' if value == 'False' else ''}{name.replace('_', '-')}" + (f" {text}" if text else "")

    return re.sub(r'`(\w+)=("([^"`]*)"|True|False)?`', spelt, message)


def _resume_hint(ctx: click.Context) -> str:
    """Tell that finished work is kept, if some was reported and the command can be resumed."""
    return " Finished work is kept; run the same command to continue." if _resumable(ctx.meta.get(WORKING)) else ""


def _begin_hint(ctx: click.Context) -> str:
    """Tell what a repetition does if no work was reported: there is none yet, or only that of an earlier time."""
    call = ctx.meta.get(COMMAND)
    if call is None or not _resumable(f"{call.context.command_path} {call.name}"):
        return ""
    return " Run the same command again: it continues what an earlier one kept, or begins anew if nothing is kept yet."


def _resumable(command: str | None) -> bool:
    return str(command).endswith(tuple(f" {one}" for one in RESUMABLE))


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
