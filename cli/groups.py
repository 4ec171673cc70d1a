"""Command groups and the display of errors."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import click

from .output import print_warning

RESUMABLE = ("run", "datasets")
"""Commands that continue from finished work when they are repeated."""


class Commands(click.Group):
    """A group that prints errors of this package without a traceback, and suggests the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand; the error for an unknown one suggests the nearest and lists all."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from ..utils.errors import UnknownNameError

            raise click.UsageError(str(UnknownNameError("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, turning expected errors into a message and exit status 1."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        from ..utils.errors import TiplBenchError

        try:
            with warnings.catch_warnings():
                warnings.showwarning = print_warning
                return super().invoke(ctx)
        except TiplBenchError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}.{_resume_hint(ctx)}") from error
        except KeyboardInterrupt:
            click.echo(f"Interrupted.{_resume_hint(ctx)}", err=True)
            sys.exit(130)


def _resume_hint(ctx: click.Context) -> str:
    """Tell that finished work is kept, for commands that can be resumed."""
    resumable = ctx.invoked_subcommand in RESUMABLE
    return " Finished work is kept; run the same command to continue." if resumable else ""
