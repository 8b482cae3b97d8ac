"""The subcommands that look: list, show, stats; and verify, which mends on request."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import click

from cachefiles.admin import report
from cachefiles.admin.session import Session, volume_folder
from cachefiles.admin.survey import Listed, listed, opened
from cachefiles.admin.verification import verify
from cachefiles.errors import translated

_SORTS: dict[str, Callable[[Listed], object]] = {
    "path": lambda each: (each.volume, each.path),
    "size": lambda each: each.size,
    "stored": lambda each: each.stored,
    "used": lambda each: each.used,
}


@click.command("list")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option(
    "--sort", type=click.Choice(sorted(_SORTS)), help="Default: as they are met, at once."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object per line.")
@click.pass_obj
def list_command(
    session: Session, names: tuple[str, ...], sort: str | None, reverse: bool, as_json: bool
) -> None:
    """List what is cached: volume, path, size, stored, last used, pinned."""
    with session.cache() as cache:
        found = listed(cache)
        if names:
            volumes = session.knowledge.volume_names
            found = (
                each
                for each in found
                if any(each.answers_to(name, volumes(each.volume)) for name in names)
            )
        if sort is not None:
            found = iter(sorted(found, key=_SORTS[sort], reverse=reverse))  # type: ignore[arg-type]
        elif reverse:
            found = reversed(list(found))
        try:
            for each in found:
                click.echo(json.dumps(report.as_dict(each)) if as_json else report.line(each))
        except BrokenPipeError:  # "| head" has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.command("show")
@click.argument("name", metavar="PATH-OR-OBJECT")
@click.pass_obj
def show_command(session: Session, name: str) -> None:
    """Show one object: a map of what is stored, its coherency, and what is wrong with it."""
    with session.cache() as cache:
        found = session.select(cache, (name,))
        exact = [each for each in found if each.path == name.strip("/")] or found
        if len(exact) > 1:
            some = ", ".join(f"{each.volume}/{each.path}" for each in exact[:3])
            raise click.ClickException(f"{name} means {len(exact)} objects: {some} ...")
        chosen = exact[0]
        with (
            volume_folder(cache, chosen.volume_name) as (folder, key),
            translated("reading the cache"),
        ):
            path = f"{chosen.name[:2]}/{chosen.name}"
            files = opened(folder.fd, chosen.volume_name, key, path)
            try:
                for text in report.details(chosen, files, session.knowledge.describe):
                    click.echo(text)
            finally:
                files.close()


@click.command("verify")
@click.argument("names", metavar="[PATH|VOLUME]...", nargs=-1)
@click.option("--repair", is_flag=True, help="Forget what is wrong, so that it is fetched again.")
@click.pass_obj
def verify_command(session: Session, names: tuple[str, ...], repair: bool) -> None:
    """Check every stored block against its checksum."""
    with session.cache() as cache:
        chosen = {(each.volume_name, each.name) for each in session.select(cache, names)}

        def wanted(volume: str, name: str) -> bool:
            return not names or (volume, name) in chosen

        def tell(text: str) -> None:
            click.echo(report.printable(text))

        with report.bar("verifying", max(0, cache.space.count().used)) as advance:
            verdict = verify(cache, wanted, tell, advance, repair=repair)
        click.echo(
            f"{verdict.objects} objects, {verdict.blocks} blocks: {verdict.bad} bad"
            + (f", {verdict.mended} repaired" if repair else "")
            + (f", {verdict.unknown} objects cannot be verified" if verdict.unknown else "")
            + (f", {verdict.unfinished} objects are unfinished" if verdict.unfinished else "")
        )
        if verdict.bad > verdict.mended:
            raise click.exceptions.Exit(1)


@click.command("stats")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def stats_command(session: Session, as_json: bool) -> None:
    """Sum it all up."""
    with session.cache() as cache:
        totals: dict[str, object] = {"cachedir": str(cache.directory)}
        objects = stored = size = pinned = pinned_bytes = 0
        volumes: set[str] = set()
        oldest, newest = 2**63, 0
        for each in listed(cache):
            objects += 1
            stored += each.stored
            size += each.size
            volumes.add(each.volume)
            oldest, newest = min(oldest, each.used), max(newest, each.used)
            if each.pinned:
                pinned += 1
                pinned_bytes += each.stored
        count = cache.space.count()
        disk = os.statvfs(cache.directory)
        totals |= {
            "volumes": len(volumes),
            "objects": objects,
            "size": size,
            "stored": stored,
            "counted": count.used + count.aside,
            "pinned": pinned,
            "pinned_stored": pinned_bytes,
            "oldest": report.when(oldest) if objects else None,
            "newest": report.when(newest) if objects else None,
            "disk_total": disk.f_blocks * disk.f_frsize,
            "disk_free": disk.f_bavail * disk.f_frsize,
        }
        click.echo(json.dumps(totals, indent=2) if as_json else report.table(totals))
