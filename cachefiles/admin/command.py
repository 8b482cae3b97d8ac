"""The administrator's command: ``python -m cachefiles --cachedir DIR COMMAND``.

Works on a cache in use; never makes one. :func:`build` makes the group of commands, for a program
that has a default directory, knows what its coherency bytes say, or can resolve names of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cachefiles.admin import change, look, report
from cachefiles.admin.session import Knowledge, Session
from cachefiles.errors import CacheError


def build(knowledge: Knowledge, name: str) -> click.Group:
    """The group ``name``."""

    @click.group(name, context_settings={"help_option_names": ["-h", "--help"]})
    @click.option(
        "--cachedir",
        type=Path,
        required=knowledge.directory is None,
        help="The cache's directory." + ("" if knowledge.directory is None else " Default: yours."),
    )
    @click.pass_context
    def group(context: click.Context, cachedir: Path | None) -> None:
        """Look at a cache and manage it, also while mounts use it."""
        if cachedir is None:
            assert knowledge.directory is not None
            cachedir = knowledge.directory()
        context.obj = Session(cachedir.absolute(), knowledge)

    for command in (
        look.list_command,
        look.show_command,
        look.verify_command,
        change.cull_command,
        change.drop_command,
        change.pin_command,
        change.unpin_command,
        look.stats_command,
    ):
        group.add_command(command)
    return group


def main(arguments: list[str] | None = None) -> None:
    """``python -m cachefiles``: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    group = build(Knowledge(), "cachefiles")
    try:
        status = group.main(arguments, prog_name="cachefiles", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except click.UsageError as error:
        click.echo(report.printable(f"cachefiles: {error.format_message()}"), err=True)
        sys.exit(2)
    except click.ClickException as error:
        click.echo(report.printable(f"cachefiles: {error.format_message()}"), err=True)
        sys.exit(1)
    except (CacheError, OSError) as error:
        click.echo(report.printable(f"cachefiles: {error}"), err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo("cachefiles: interrupted", err=True)
        sys.exit(130)
