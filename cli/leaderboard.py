"""`tipl-bench leaderboard`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from .groups import Commands


@click.group(cls=Commands)
def leaderboard() -> None:
    """Build the leaderboard from records."""


@leaderboard.command("add")
@click.argument("run_folder", type=click.Path(path_type=Path))
@click.option("--records", type=click.Path(path_type=Path), help="Records folder. [default: the package's own]")
def add_record(run_folder: Path, records: Path | None) -> None:
    """Put a finished run's record among the board's records."""
    from ..leaderboard.records import add

    click.echo(f"added {add(run_folder, records)}")


@leaderboard.command("build")
@click.option("--records", type=click.Path(path_type=Path), help="Records folder. [default: the package's own]")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), show_default="here", help="Where to write.")
def build_board(records: Path | None, out: Path) -> None:
    """Render LEADERBOARD.md and index.html from the records."""
    from ..leaderboard.build import build

    for path in build(records, out):
        click.echo(f"wrote {path}")


@leaderboard.command("serve")
@click.option("--out", type=click.Path(path_type=Path), default=Path(), show_default="here", help="The built page.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for any free one.")
def serve_board(out: Path, port: int) -> None:
    """Show the built page on this machine's own address, until Ctrl-C."""
    from ..leaderboard.site.serving import HOST, server

    with server(out, port) as serving:
        click.echo(f"http://{HOST}:{serving.server_port}/ shows {out / 'index.html'}; Ctrl-C ends it.")
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()
    click.echo("ended")
