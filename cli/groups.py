"""Groups of commands, and what a failure looks like to a person."""

from __future__ import annotations

import sys
from typing import Any

import click

RESUMED = ("run", "datasets")
"""Commands that go on with what is done when they are repeated."""


class Commands(click.Group):
    """A group that prints this package's own errors without a traceback and suggests the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a subcommand, or name the nearest and all valid ones."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            from ..utils.errors import UnknownNameError

            raise click.UsageError(str(UnknownNameError("command", args[0], self.list_commands(ctx))), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run, turning expected failures into one message and an exit code of 1."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        from ..utils.errors import TiplBenchError

        try:
            return super().invoke(ctx)
        except TiplBenchError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}.{_resuming(ctx)}") from error
        except KeyboardInterrupt:
            click.echo(f"Interrupted.{_resuming(ctx)}", err=True)
            sys.exit(130)


def _resuming(ctx: click.Context) -> str:
    """What becomes of the work so far, where there is some to go on from."""
    resumed = ctx.invoked_subcommand in RESUMED
    return " Finished work is kept; the same command goes on from there." if resumed else ""
