"""How the administrator's command shows things: lines, sizes, dates, a map, a progress bar."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import Progress

from cachefiles.admin.survey import Listed, Opened
from cachefiles.contentmap import BLOCK, block_count
from cachefiles.extents import Extent

_COLUMNS = 64
_UNITS = "KMGTP"
_SIZE = re.compile(rf"([0-9]{{1,18}})([{_UNITS}]?)(?:i?B)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of ``100M``, ``2G``, ``4096``. ``click.UsageError`` for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is not a size (write 65536, 64K or 4M)")
    power = _UNITS.index(match[2].upper()) + 1 if match[2] else 0
    return int(match[1]) * int(1024**power)


def size(count: int) -> str:
    """Bytes for a person."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1023.95:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def when(used: int) -> str:
    """Nanoseconds since the epoch as ISO 8601, UTC."""
    moment = datetime.fromtimestamp(min(used, 2**62) / 1e9, UTC)
    return moment.isoformat(timespec="seconds")


def printable(text: str) -> str:
    """``text`` with everything that a terminal would act on, or not show, escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def line(each: Listed) -> str:
    """An object in a listing. What a terminal would take as more than text is escaped."""
    shown = printable(f"{each.volume}/{each.path}") + ("  (unfinished)" if each.unfinished else "")
    percent = 100 if not each.size else min(100, 100 * each.stored // each.size)
    return (
        f"{each.name[:12]}  {size(each.size):>10}  {size(each.stored):>10} {percent:>3} %  "
        f"{when(each.used)[:19]}  {'pinned' if each.pinned else '      '}  {shown}"
    )


def as_dict(each: Listed) -> dict[str, object]:
    """The same for JSON, sizes in bytes."""
    return {
        "volume": each.volume,
        "path": each.path,
        "object": each.name,
        "size": each.size,
        "stored": each.stored,
        "used": when(each.used),
        "pinned": each.pinned,
        "unfinished": each.unfinished,
    }


def stored_map(stored: list[Extent], length: int, columns: int = _COLUMNS) -> str:
    """One line: ``#`` all stored, ``+`` some of it, ``.`` nothing."""
    blocks = block_count(length)
    columns = max(1, min(columns, blocks))
    marks = []
    for column in range(columns):
        start = column * blocks // columns * BLOCK
        end = min((column + 1) * blocks // columns * BLOCK, length)
        have = sum(max(0, min(end, b) - max(start, a)) for a, b in stored)
        marks.append("." if not have else "#" if have >= end - start else "+")
    return "".join(marks)


def details(each: Listed, files: Opened, describe: Callable[[bytes], list[str]]) -> Iterator[str]:
    """All about one object, line by line."""
    stored = files.stored()
    have = sum(end - start for start, end in stored)
    yield f"volume      {printable(each.volume)}"
    yield f"path        {printable(each.path)}"
    yield f"object      {each.volume_name}/{each.name[:2]}/{each.name}"
    yield f"size        {size(each.size)} ({each.size} bytes)"
    percent = 100 if not each.size else 100 * have / each.size
    yield f"stored      {size(have)} ({percent:.1f} %), {size(each.stored)} on disk"
    yield f"last used   {when(each.used)}"
    yield f"pinned      {'yes' if each.pinned else 'no'}"
    if files.record is not None:
        for number, text in enumerate(describe(files.record.coherency)):
            yield f"{'coherency' if not number else '':<11} {printable(text)}"
    if each.size:
        yield f"map         {stored_map(stored, each.size)}"
    wrong = files.wrong(each.name)
    if wrong is None and files.is_unfinished:
        yield "unfinished  it is being changed, or was at a crash: nothing of it is found meanwhile"
    elif wrong is not None:
        yield f"stale       {wrong}: it is dropped at the next open"
    elif each.size and not have:
        yield "stale       no block is stored"


def table(values: Mapping[str, object]) -> str:
    """Names and values; what counts bytes is shown so."""
    byte_names = {"size", "stored", "counted", "pinned_stored"}
    lines = []
    for name, value in values.items():
        shown = (
            size(value)
            if isinstance(value, int) and (name in byte_names or name.startswith("disk_"))
            else value
        )
        told = "-" if shown is None else printable(str(shown))
        lines.append(f"{name.replace('_', ' '):<14} {told}")
    return "\n".join(lines)


@contextmanager
def bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of ``total`` bytes on a terminal; yields what advances it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(title, total=max(total, 1))
        yield lambda done: progress.advance(task, done)
