"""``netfsfuse bench``: the measurements, with rclone and smbclient beside us where installed."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netfsfuse.cli.choices import SMB_PORT, Choices
from netfsfuse.cli.conceal import conceal
from netfsfuse.cli.credentials import resolve_credentials
from netfsfuse.cli.options import parse_options, secrets_in
from netfsfuse.cli.sizes import parse_size
from netfsfuse.cli.source import parse_source
from netfsfuse.errors import MountError, UsageError

if TYPE_CHECKING:
    from netfsfuse.lab.bench.target import Target

_SIZES = (1024 * 1024, 64 * 1024**3)  # least and most of --size, bytes
_MOST_ROUNDS = 99
_OWN_OPTIONS = ("user", "username", "domain", "dom", "workgroup", "port", "cachedir", "log")
"""Options that the bench sets itself, from what was given or made."""


@click.command("bench")
@click.argument("source", metavar="[//HOST[:PORT]/SHARE[/FILE]]", required=False)
@click.option("--file", "file", metavar="PATH", help="The big file of the share to read.")
@click.option("--row", "rows", metavar="NAME", multiple=True, help="Only this row; repeatable.")
@click.option("--list", "lists", is_flag=True, help="List the rows and exit.")
@click.option("--size", metavar="SIZE", help="The most that one run reads (default: 1G).")
@click.option("--rounds", metavar="N", type=click.IntRange(1, _MOST_ROUNDS), help="Default: 5.")
@click.option("--quick", is_flag=True, help="Under two minutes: one round, smaller, fewer cells.")
@click.option("--json", metavar="FILE", type=Path, help="Write all results.")
@click.option("--plot", metavar="FILE.svg", type=Path, help="Draw the rates.")
@click.option("--directory", metavar="DIR", type=Path, help="Where data goes.")
@click.option("-o", "texts", metavar="OPT,...", multiple=True, help="Mount options for ours.")
def bench_command(
    source: str | None,
    file: str | None,
    rows: tuple[str, ...],
    lists: bool,
    size: str | None,
    rounds: int | None,
    quick: bool,
    json: Path | None,
    plot: Path | None,
    directory: Path | None,
    texts: tuple[str, ...],
) -> None:
    """Measure: cold and warm reads, round trips, memory, CPU; beside rclone and smbclient.

    Without a source a private Samba server on loopback is measured. A share that is given is only
    read: the file of the source or of --file, or the largest at its top. The password comes from
    where `netfsfuse mount` takes it. Ctrl-C ends it and shows what was measured so far.
    """
    from netfsfuse.lab.bench.request import Request
    from netfsfuse.lab.bench.run import run_bench
    from netfsfuse.lab.server.smbd import SambaError

    if lists:
        _list_rows()
        return
    conceal(secrets_in(texts))
    choices = parse_options(texts)
    if source is None and file is not None:
        raise UsageError("--file names a file of a share: give the share as well")
    target, named = (None, None) if source is None else _target(source, choices)
    if named and file:
        raise UsageError("the source names a file already: leave out --file")
    request = Request(
        target=target,
        file=file or named,
        rows=rows,
        size=None if size is None else _parse_size(size),
        rounds=rounds,
        quick=quick,
        json=json,
        plot=plot,
        options=_public(choices),
        directory=directory,
    )
    try:
        sys.exit(run_bench(request))
    except SambaError as error:
        raise MountError(str(error)) from None


def _list_rows() -> None:
    from netfsfuse.lab.bench.rows import ROWS

    for name, (question, make) in ROWS.items():
        click.echo(f"{name:<12}{len(make()):>3}  {question}")


def _parse_size(text: str) -> int:
    size = parse_size(text)
    least, most = _SIZES
    if not least <= size <= most or size % least:
        raise UsageError(f"--size {text}: must be whole MiB from 1M to 64G")
    return size


def _target(source: str, choices: Choices) -> tuple[Target, str | None]:
    """The share and its login, and the file that the source names."""
    from netfsfuse.lab.bench.target import Target

    parsed = parse_source(source)
    login, _ = resolve_credentials(choices, os.environ, Path.cwd(), _ask_password)
    target = Target(
        host=choices.address or parsed.host,
        port=parsed.port or choices.port or SMB_PORT,
        share=parsed.share,
        username=login.username or "",
        password=login.password or "",
        domain=login.domain or "",
        options=_public(choices),
    )
    return target, parsed.subdir or None


def _public(choices: Choices) -> tuple[str, ...]:
    return tuple(text for text in choices.public if text.partition("=")[0] not in _OWN_OPTIONS)


def _ask_password(prompt: str) -> str | None:
    if not sys.stdin or not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return None
