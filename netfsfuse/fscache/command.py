"""``netfsfuse cache``: the administrator's command of ``cachefiles``, which knows our names.

The cache is the user's own unless said otherwise; a path on a mount names the object that the mount
says; and coherency bytes are shown as what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click

from cachefiles.admin.command import build
from cachefiles.admin.session import Knowledge
from netfsfuse.fscache.binding import default_directory
from netfsfuse.fscache.cookie import coherency_from
from netfsfuse.types import NO_TIME


def cache_group(place_of: Callable[[str], str | None], default_port: int) -> click.Group:
    """The group ``cache``. ``place_of(path)`` asks a mount where the file at ``path`` is cached:
    the text of ``OBJECT_XATTR``, or None when no mount says so. It may hang no longer than a
    command may, and raise NetfsError. ``default_port``: the one that a source need not name.
    """

    def resolve(text: str) -> str:
        """The name of the object of a file on a mount; any other text as it is."""
        try:
            return str(json.loads(place_of(text) or "")["object"])
        except (ValueError, KeyError, TypeError):
            return text

    def volume_names(volume: str) -> list[str]:
        """What the share with the key ``volume`` is called: on the default port also without it."""
        host, port, share = volume.partition(f":{default_port}/")
        return [volume, f"{host}/{share}"] if port else [volume]

    knowledge = Knowledge(default_directory, describe, resolve, volume_names)
    return build(knowledge, "cache")


def describe(raw: bytes) -> list[str]:
    """The members of the record, times as dates."""
    known = coherency_from(raw)
    if known is None:
        return [raw.hex()]
    lines = []
    for name, value in known._asdict().items():
        if name in ("creation", "change", "write"):
            lines.append(f"{name} {_date(value)}")
        else:
            lines.append(f"{name} {value:#x}" if name == "file_id" else f"{name} {value}")
    return lines


def _date(time: int) -> str:
    """A time of ``Coherency``, to the microsecond; one that no calendar holds as its number."""
    if time == NO_TIME:
        return "none"
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time // 1000)
    except OverflowError:
        return str(time)
    return moment.isoformat(timespec="microseconds")
