"""The subcommands that change what is cached: cull, drop, pin, unpin."""

from __future__ import annotations

import os
import time

import click

from cachefiles.admin import report
from cachefiles.admin.session import Session
from cachefiles.admin.survey import folders, listed
from cachefiles.cull import Culler, Step
from cachefiles.errors import translated
from cachefiles.folder import PINNED_XATTR, Doomed, Folder
from cachefiles.limits import Excess

_BUSY_TIMEOUT = 3.0  # seconds to wait for another culler


@click.command("cull")
@click.option("--to", "size", metavar="SIZE", help="Until the cache takes SIZE at most (100M, 2G).")
@click.pass_obj
def cull_command(session: Session, size: str | None) -> None:
    """Let the least recently used go, down to the disk's limits or to SIZE."""
    limit = None if size is None else report.parse_size(size)
    with session.cache() as cache:

        def excess() -> Excess:
            if limit is None:
                return cache.space.excess()
            count = cache.space.count()
            return Excess(max(0, count.used - limit))

        culler = Culler(cache, excess, recount=True)
        before = max(0, cache.space.count().used)
        with report.bar("culling", max(0, before - (limit or 0))) as advance:
            step, done = Step.MORE, 0
            until = time.monotonic() + _BUSY_TIMEOUT
            while step in (Step.MORE, Step.BUSY):
                step = culler.step(0.2)
                if step is Step.BUSY:
                    if time.monotonic() >= until:
                        raise click.ClickException("a mount is culling this cache; try again")
                    time.sleep(0.05)
                advance(culler.freed - done)
                done = culler.freed
        click.echo(
            f"freed {report.size(culler.freed)}, {culler.gone} objects; "
            f"{report.size(max(0, cache.space.count().used))} remain"
        )
        if step is Step.STUCK:
            raise click.ClickException("what remains is pinned or in use")


@click.command("drop")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All objects that are not pinned.")
@click.option("--pinned", is_flag=True, help="With --all: those that are, too.")
@click.pass_obj
def drop_command(session: Session, names: tuple[str, ...], everything: bool, pinned: bool) -> None:
    """Drop files, folders or volumes from the cache. A reader of one reads on."""
    if bool(names) == everything:
        raise click.UsageError("name what to drop, or --all")
    with session.cache() as cache:
        chosen = session.select(cache, names)
        count = freed = kept = 0
        for fd, volume, _ in folders(cache):
            folder = Folder(cache.filesystem, fd, cache.graveyard)
            for each in listed(cache) if everything else chosen:
                if each.volume_name != volume:
                    continue
                if everything and each.pinned and not pinned:
                    kept += 1
                    continue
                doomed = Doomed()
                try:
                    with translated("dropping a cached file"), folder.alone():
                        folder.bury(f"{each.name[:2]}/{each.name}", doomed)
                finally:
                    freed += folder.put_away(doomed)
                count += 1
        click.echo(
            f"dropped {count} objects, {report.size(freed)}"
            + (f"; {kept} pinned ones stay (--pinned drops them)" if kept else "")
        )


def _set_pin(session: Session, names: tuple[str, ...], *, pin: bool) -> None:
    with session.cache() as cache:
        count = 0
        for each in session.select(cache, names):
            path = f"{each.volume_name}/{each.name[:2]}/{each.name}"
            where = cache.directory / "volumes" / path
            with translated("pinning a cached file"):
                try:
                    if pin:
                        os.setxattr(where, PINNED_XATTR, b"1", follow_symlinks=False)
                    elif each.pinned:
                        os.removexattr(where, PINNED_XATTR, follow_symlinks=False)
                except FileNotFoundError:
                    continue
            count += 1
        click.echo(f"{'pinned' if pin else 'unpinned'} {count} objects")


@click.command("pin")
@click.argument("names", metavar="PATH|VOLUME...", nargs=-1, required=True)
@click.pass_obj
def pin_command(session: Session, names: tuple[str, ...]) -> None:
    """Keep files, or all below a folder, from being culled."""
    _set_pin(session, names, pin=True)


@click.command("unpin")
@click.argument("names", metavar="PATH|VOLUME...", nargs=-1, required=True)
@click.pass_obj
def unpin_command(session: Session, names: tuple[str, ...]) -> None:
    """Let them be culled again."""
    _set_pin(session, names, pin=False)
