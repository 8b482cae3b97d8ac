"""Lines for a person."""

from __future__ import annotations

import click

from netfsfuse.printable import printable


def say(line: str, *, err: bool = False) -> None:
    """Write one line to stdout or stderr, with what a terminal would act on escaped."""
    click.echo(printable(line), err=err)
