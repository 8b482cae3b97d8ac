"""The ``netfsfuse`` command: its subcommands, and errors as one line with an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click

import netfsfuse
from netfsfuse.cli.bench import bench_command
from netfsfuse.cli.choices import SMB_PORT
from netfsfuse.cli.daemon import LOGIN_REFUSED
from netfsfuse.cli.mount import mount_command
from netfsfuse.cli.probe import cached_at
from netfsfuse.cli.say import say
from netfsfuse.cli.source import is_source
from netfsfuse.cli.stats import stats_command
from netfsfuse.cli.umount import umount_command
from netfsfuse.cli.warm import warm_command
from netfsfuse.cli.watch import watch_command
from netfsfuse.errors import LoginRefused, NetfsError, UsageError

FAILURE = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class _Commands(click.Group):
    """Ours, and ``cache``, which is made late: it brings what other commands start without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "cache"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "cache":
            command = import_module("netfsfuse.fscache.command")
            made: click.Group = command.cache_group(cached_at, SMB_PORT)
            return made
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(netfsfuse.__version__, "-V", "--version", message="netfsfuse %(version)s")
def command() -> None:
    """Mount SMB3 shares through FUSE, with many reads in flight and a persistent cache.

    `netfsfuse //HOST/SHARE MOUNTPOINT -o OPT,...` is short for `netfsfuse mount ...`; mount(8) and
    /etc/fstab call it so for the type fuse.netfsfuse.
    """


@command.command("demo")
def demo_command() -> None:
    """Try it all on a private Samba server, and see numbers."""
    from netfsfuse.lab.demo.run import run_demo

    sys.exit(run_demo())


command.add_command(mount_command)
command.add_command(umount_command)
command.add_command(stats_command)
command.add_command(bench_command)
command.add_command(warm_command)
command.add_command(watch_command)


def with_mount_word(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the word ``mount`` in front, where mount(8) and fstab leave it out.

    It was left out when a source leads, or options lead and a source follows.
    """
    words = list(arguments)
    led_by_option = bool(words) and words[0].startswith("-")
    if any(map(is_source, words if led_by_option else words[:1])):
        return ["mount", *words]
    return words


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 1 failed, 2 wrong usage, 77 login refused, 130 interrupted
    by Ctrl-C.
    """
    _fill_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    words = with_mount_word(given)
    try:
        _invoke(words)
        sys.stdout.flush()
        status = 0
    except click.exceptions.Exit as error:
        status = error.exit_code
    except UsageError as error:
        status = _complain(str(error), WRONG_USAGE)
    except LoginRefused as error:
        status = _complain(str(error), LOGIN_REFUSED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        status = WRONG_USAGE
    except click.UsageError as error:
        status = _complain(_usage_line(error), WRONG_USAGE)
    except click.ClickException as error:
        status = _complain(error.format_message(), FAILURE)
    except NetfsError as error:
        status = _complain(str(error), FAILURE)
    except (KeyboardInterrupt, click.Abort):
        status = _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away; keep the interpreter from flushing into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = FAILURE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _complain(f"{where}{error.strerror or type(error).__name__}", FAILURE)
    except Exception as error:
        status = _complain(_unexpected(error), FAILURE)
    sys.exit(status)


def _fill_standard_streams() -> None:
    """Put /dev/null where the caller closed a standard stream (``>&-``): Python makes it None, and
    the descriptors of a pipe or socket of ours would take its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = open(os.devnull, mode)  # noqa: SIM115 - for as long as the process lives
            os.set_inheritable(null.fileno(), True)
            setattr(sys, name, null)
    if isinstance(sys.stdout, TextIOWrapper):  # letters that this locale has not, as stderr does
        sys.stdout.reconfigure(errors="backslashreplace")


def _invoke(words: list[str]) -> None:
    """Run the subcommand. Not by click's own ``main``, which writes a blank line on Ctrl-C."""
    with command.make_context("netfsfuse", words) as context:
        command.invoke(context)


def _complain(line: str, status: int) -> int:
    say(f"netfsfuse: {' '.join(line.split())}", err=True)
    return status


def _usage_line(error: click.UsageError) -> str:
    line = error.format_message().rstrip(".")
    name = error.ctx.command_path if error.ctx else "netfsfuse"
    return f"{line[:1].lower()}{line[1:]}; try `{name} --help`"


def _unexpected(error: Exception) -> str:
    """Where it happened, not what the exception says: that may hold a secret."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(last.filename)}:{last.lineno}"
    return f"unexpected {type(error).__name__} at {place}; please report this"
