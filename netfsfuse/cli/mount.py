"""``netfsfuse mount``: from arguments to a mount that answers.

One command line, two roles. The command parses, checks what needs no server, finds the
credentials, starts the daemon and waits. The daemon is the same command with ``-f``, which mounts
in its own process; it finds the credentials in a handover instead of looking for them. A user's
own ``-f`` replaces itself once, when its arguments or environment held a password.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from netfsfuse.cli import daemon
from netfsfuse.cli.arguments import mountpoint_argument
from netfsfuse.cli.checks import check_fuse, check_hidden, ready_mountpoint
from netfsfuse.cli.choices import Choices, Invoker, build_config
from netfsfuse.cli.conceal import conceal, forbid_dumps
from netfsfuse.cli.credentials import SECRET_VARIABLES, renewal, resolve_credentials
from netfsfuse.cli.handover import Handover, Reporter, take_handover
from netfsfuse.cli.lock import mounting_alone
from netfsfuse.cli.log import reopen_log, set_up_log
from netfsfuse.cli.options import parse_options, secrets_in
from netfsfuse.cli.planted import followed
from netfsfuse.cli.say import say
from netfsfuse.cli.source import Source, parse_source
from netfsfuse.cli.table import GROUPS
from netfsfuse.config import Credentials, MountConfig
from netfsfuse.errors import LoginRefused, MountError
from netfsfuse.mountinfo import mount_at, read_mounts

logger = logging.getLogger(__name__)


def options_help() -> str:
    """The ``-o`` table for ``--help``."""
    lines = []
    for title, group in GROUPS.items():
        lines += ["\b", f"{title}:"]
        for option in group:
            names = ", ".join(option.names) + (f"={option.value}" if option.value else "")
            lines.append(f"  {names:<31} {option.help}")
        lines.append("")
    lines.append(
        "What fstab and mount(8) pass along (dev, suid, exec and atime in all forms, auto, nofail, "
        "_netdev, x-*, ...) is accepted, and so are mount.cifs's names for what happens anyway."
    )
    return "\n".join(lines)


@click.command("mount", epilog=options_help())
@click.argument("source", metavar="//HOST[:PORT]/SHARE[/SUBDIR]")
@mountpoint_argument
@click.option("-o", "texts", metavar="OPT,...", multiple=True, help="Mount options, see below.")
@click.option("-f", "--foreground", is_flag=True, help="Stay in the foreground, log to stderr.")
@click.option("-s", "sloppy", is_flag=True, help="Ignore unknown mount options.")
def mount_command(
    source: str, mountpoint: str, texts: tuple[str, ...], foreground: bool, sloppy: bool
) -> None:
    """Mount an SMB3 share and return once it answers. smb://HOST/SHARE names one as well, and so
    does cifs://.

    The password comes from pass=, credentials=FILE, the environment (PASSWD, PASSWD_FD,
    PASSWD_FILE) or a prompt. The log goes to syslog or journald where there is one, else to
    ~/.local/state/netfsfuse/log/netfsfuse.log.
    """
    forbid_dumps()
    conceal(secrets_in(texts))
    handover = take_handover(os.environ)
    reporter = Reporter(handover.ready_fd)
    try:
        choices = parse_options([*texts, *(["sloppy"] if sloppy else [])])
        request = _Request(source, parse_source(source), mountpoint, choices, _invoker())
        if foreground:
            _mount_here(request, handover, reporter)
        else:
            _mount_in_background(request)
    except MountError as error:
        if not reporter.pending:
            raise
        reporter.error(str(error))
        sys.exit(daemon.LOGIN_REFUSED if isinstance(error, LoginRefused) else 1)


class _Request:
    """One mount as asked for, and the pieces of the answer made from it."""

    def __init__(
        self, text: str, source: Source, mountpoint: str, choices: Choices, invoker: Invoker
    ) -> None:
        self.text = text
        self.source = source
        self.choices = choices
        self.invoker = invoker
        self.path = ready_mountpoint(mountpoint, invoker)
        allow_other = choices.allow_other
        check_fuse(invoker, allow_other=allow_other)

    def credentials(self) -> tuple[Credentials, list[str]]:
        """The login, and all notices up to here."""
        found, notices = resolve_credentials(
            self.choices, os.environ, self.invoker.cwd, _ask_password
        )
        return found, [*self.choices.notices, *notices]

    def config(self, credentials: Credentials, *, foreground: bool) -> MountConfig:
        """The configuration for the mount. Raises MountError if its own files would be hidden."""
        config = build_config(
            self.choices, self.source, self.path, credentials, self.invoker, foreground=foreground
        )
        check_hidden(self.path, _own_places(config))
        if config.cache.directory is not None:
            followed(config.cache.directory, "the cache")
        return config

    def renewing(self, config: MountConfig) -> MountConfig:
        """The same, that finds the login out anew where a credentials file has it."""
        environ, cwd = dict(os.environ), self.invoker.cwd
        renew = renewal(self.choices, environ, cwd, config.server.credentials)
        return replace(config, server=replace(config.server, renew_login=renew))

    def arguments(self) -> list[str]:
        """The command line of the process that does it."""
        return daemon.daemon_arguments(self.text, str(self.path), self.choices.public)


def _own_places(config: MountConfig) -> dict[str, Path | None]:
    """What the daemon uses while it serves the mount."""
    cache = None
    if config.cache.enabled:
        default = importlib.import_module("netfsfuse.fscache").default_directory
        cache = config.cache.directory or default()
    return {
        "its own cache (see cachedir=)": cache,
        "its own log (see log=)": config.log,
    }


def _invoker() -> Invoker:
    try:
        cwd = Path.cwd()
    except OSError:  # a removed directory, or one on a dead mount
        cwd = Path("/")
    return Invoker(os.geteuid(), os.getegid(), cwd)


def _ask_password(prompt: str) -> str | None:
    if not sys.stdin or not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return None


def _mount_in_background(request: _Request) -> None:
    credentials, notices = request.credentials()
    with _alone(request):
        notices += daemon.start(request.arguments(), credentials, str(request.path))
    show_notices(notices)


@contextlib.contextmanager
def _alone(request: _Request) -> Iterator[None]:
    """No other command mounts there now, nor has since it was found free. Raises MountError."""
    with mounting_alone(str(request.path)):
        mount = mount_at(str(request.path), read_mounts())
        if mount is not None and mount.is_ours:
            raise MountError(f"{request.path} is already mounted ({mount.source})")
        yield


def _mount_here(request: _Request, handover: Handover, reporter: Reporter) -> None:
    """Mount in this process, and return when it is unmounted."""
    if handover.credentials is None:
        credentials, notices = request.credentials()
        if request.choices.withheld or any(name in os.environ for name in SECRET_VARIABLES):
            daemon.replace_process(request.arguments(), credentials, notices)
    else:
        credentials, notices = handover.credentials, list(handover.notices)
    foreground = not reporter.pending
    config = request.renewing(request.config(credentials, foreground=foreground))
    untold: list[str] = []
    place = set_up_log(config.log, debug=config.debug, foreground=foreground, notice=untold.append)
    alone = contextlib.ExitStack()
    if foreground:
        alone.enter_context(_alone(request))  # else the command that waits for us does that
    else:
        os.chdir("/")

    def announce(more: Sequence[str]) -> None:
        alone.close()
        more = [*untold, *more]
        logger.info("mounted %s on %s", config.source, config.mountpoint)
        if not foreground or config.log is not None:  # the log has another reader than stderr
            for line in more:
                logger.warning("%s", line)
        if foreground:
            show_notices([*notices, *more])
        else:
            reporter.ok([_one_line(line) for line in more])
            _leave_terminal()

    try:
        with alone:
            serve = importlib.import_module("netfsfuse.mount").run
            serve(config, announce, None if foreground else reopen_log)
    except Exception as error:
        _fail(error, place, foreground=foreground)
    logger.info("unmounted %s", config.mountpoint)


def _fail(error: Exception, place: str, *, foreground: bool) -> NoReturn:
    """Log ``error`` and raise it as a MountError in one line."""
    reason = _mount_error(error)
    if reason is not None:
        if not foreground:  # there, main prints it
            logger.error("%s", reason)
        raise reason from None
    if not foreground or logger.isEnabledFor(logging.DEBUG):
        logger.error("the mount failed unexpectedly", exc_info=error)
    raise MountError(
        f"unexpected {type(error).__name__}; see {place}"
        if not foreground
        else f"unexpected {type(error).__name__}; -o debug shows where"
    ) from None


def _mount_error(error: BaseException) -> MountError | None:
    """The MountError in ``error``, which may be a nursery's group of exceptions."""
    if isinstance(error, MountError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_mount_error, error.exceptions)), None)
    return None


def _leave_terminal() -> None:
    """Point stdout and stderr to nowhere: their reader is about to go."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)
    os.close(null)


def show_notices(notices: Sequence[str]) -> None:
    """A line each on stderr, none twice."""
    for line in dict.fromkeys(map(_one_line, notices)):
        say(f"netfsfuse: {line}", err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())
