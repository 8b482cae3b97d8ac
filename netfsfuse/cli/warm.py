"""``netfsfuse warm``: the command, and its summary."""

from __future__ import annotations

from importlib import import_module

import click

from netfsfuse.cli.probe import real_on_mount
from netfsfuse.cli.say import say
from netfsfuse.cli.sizes import format_size
from netfsfuse.errors import MountError

JOBS = 16
_FAILURES_SHOWN = 20


@click.command("warm")
@click.argument("paths", metavar="MOUNTPOINT[/PATH]...", nargs=-1, required=True)
@click.option("--pin", is_flag=True, help="Keep what was read from being culled.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=JOBS, show_default=True, help="Files at once."
)
def warm_command(paths: tuple[str, ...], pin: bool, jobs: int) -> None:
    """Read files and whole trees of a mount into its cache.

    What is cached already is skipped: after an interruption, run it again. `netfsfuse cache unpin`
    takes back what --pin does.
    """
    tops = [real_on_mount(path) for path in paths]
    bar = import_module("netfsfuse.cli.progress").Bar("warming")
    with bar.shown():
        outcome = import_module("netfsfuse.warm").warm(tops, jobs, bar, pin=pin)
    for line in outcome.failures[:_FAILURES_SHOWN]:
        say(f"netfsfuse: {line}", err=True)
    if len(outcome.failures) > _FAILURES_SHOWN:
        say(f"netfsfuse: and {len(outcome.failures) - _FAILURES_SHOWN} more", err=True)
    say(
        f"{outcome.files} files: {format_size(outcome.read)} read, "
        f"{format_size(outcome.present)} were cached already"
        + (f", {outcome.pinned} pinned" if pin else "")
    )
    if outcome.failures:
        raise MountError(f"{len(outcome.failures)} files are not in the cache")
