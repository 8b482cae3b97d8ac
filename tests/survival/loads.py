"""Work on a mount, round after round, each byte checked: ``python -m tests.survival.loads``.

The arguments name loads. The mount is told by the environment: among the arguments it would make
this process pass for the mount's daemon.

A line of JSON for each round: which load, when it began and ended (monotonic clock, which all
processes of a machine share), and the error or the wrong content that it met. Rounds are repeated
until standard input ends; the last ones are finished. ``idle`` does nothing before that end, or a
line on standard input, and one round then.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from netfsfuse.lab.server import data

MOUNT = "SURVIVAL_MOUNT"
"""The environment's variable with the mount point."""

LARGE = 4  # files
LARGE_BYTES = 4 * data.MIB + 1234
SMALL = 30
_READ = 1 << 20
_READERS = 8
_WRITTEN = 300_000


class WrongContent(Exception):
    """A byte, a size or a name is not what was put there."""


def prepare(folder: Path) -> None:
    """What the loads read, made on the server's own disk."""
    for number in range(LARGE):
        data.write_file(folder / f"large-{number}", LARGE_BYTES, seed=f"large-{number}")
    (folder / "small").mkdir()
    for number in range(SMALL):
        (folder / "small" / f"note-{number:03}").write_bytes(_small(number))
    (folder / "written").mkdir()


def check_written(folder: Path) -> int:
    """Every file that a writer was told to be there, on the server's own disk; how many."""
    names = [path.name for path in (folder / "written").glob("done-*")]
    for name in names:
        if (folder / "written" / name).read_bytes() != written(name.removeprefix("done-")):
            raise WrongContent(name)
    return len(names)


def written(name: str) -> bytes:
    """The content of what the writer writes as ``name``."""
    return random.Random(name).randbytes(_WRITTEN)


def _small(number: int) -> bytes:
    return f"note {number}: {data.NEEDLE}\n".encode() * (20 + number)


_large: dict[int, bytes] = {}


def _content(number: int) -> bytes:
    if number not in _large:
        _large[number] = b"".join(data.blocks(f"large-{number}", LARGE_BYTES))
    return _large[number]


def _pread(fd: int, start: int, size: int) -> bytes:
    with mmap.mmap(-1, size) as target:
        return target[: os.preadv(fd, [target], start)]


class Loads:
    """The loads by name. ``mount`` is what they work on."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._count = 0
        self._held = os.open(mount / "large-0", os.O_RDONLY | os.O_DIRECT)
        for number in range(LARGE):
            _content(number)

    def copy(self) -> None:
        """A large file from its begin to its end, past the kernel's pages."""
        number = random.randrange(LARGE)
        fd = os.open(self.mount / f"large-{number}", os.O_RDONLY | os.O_DIRECT)
        try:
            at = 0
            while piece := _pread(fd, at, _READ):
                if piece != _content(number)[at : at + len(piece)]:
                    raise WrongContent(f"large-{number} at {at}")
                at += len(piece)
        finally:
            os.close(fd)
        if at != LARGE_BYTES:
            raise WrongContent(f"large-{number} ends at {at}")

    def readers(self) -> None:
        """Random reads through a descriptor that has been open all the time."""
        at = random.randrange(0, LARGE_BYTES - (1 << 16), 4096)
        if _pread(self._held, at, 1 << 16) != _content(0)[at : at + (1 << 16)]:
            raise WrongContent(f"large-0 at {at}")

    def grep(self) -> None:
        """Every small file."""
        for number in range(SMALL):
            path = self.mount / "small" / f"note-{number:03}"
            if path.read_bytes() != _small(number):
                raise WrongContent(path.name)

    def look(self) -> None:
        """Names and sizes."""
        names = sorted(os.listdir(self.mount / "small"))
        if len(names) != SMALL:
            raise WrongContent(f"{len(names)} names")
        number = random.randrange(SMALL)
        path = self.mount / "small" / f"note-{number:03}"
        if path.stat().st_size != len(_small(number)):
            raise WrongContent(f"size of {path.name}")

    def df(self) -> None:
        """How much room there is."""
        if not os.statvfs(self.mount).f_blocks:
            raise WrongContent("no room at all")

    def write(self) -> None:
        """A new file, flushed, and renamed once it is there."""
        self._count += 1
        name = f"{os.getpid()}-{self._count}"
        folder = self.mount / "written"
        with (folder / name).open("wb") as file:
            file.write(written(name))
            file.flush()
            os.fsync(file.fileno())
        (folder / name).rename(folder / f"done-{name}")

    def idle(self) -> None:
        """The first look after a long time."""
        self.look()


NAMES = ("copy", "readers", "grep", "look", "df", "write", "idle")


def _tell(said: dict[str, object]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")  # at once, whichever thread it is


def _round(name: str, work: Callable[[], None]) -> bool:
    """One round, told; whether it was as it should be."""
    said: dict[str, object] = {"load": name, "begin": time.monotonic()}
    try:
        work()
    except OSError as error:
        said["error"] = errno.errorcode.get(error.errno or 0, str(error))
        said["where"] = str(error)
    except WrongContent as wrong:
        said["wrong"] = str(wrong)
    said["end"] = time.monotonic()
    _tell(said)
    return "error" not in said


def _repeat(name: str, work: Callable[[], None], over: threading.Event) -> None:
    while not over.is_set():
        over.wait(0.02 if _round(name, work) else 0.1)


def main() -> None:
    """Run the loads that are named until standard input ends."""
    loads = Loads(Path(os.environ[MOUNT]))
    over = threading.Event()
    names = [name for name in sys.argv[1:] if name != "idle"]
    names += ["readers"] * (_READERS - len(names) if "readers" in names else 0)
    threads = [
        threading.Thread(target=_repeat, args=(name, getattr(loads, name), over)) for name in names
    ]
    for thread in threads:
        thread.start()
    _tell({"load": "ready", "begin": 0, "end": 0})
    for _ in sys.stdin:
        pass
    over.set()
    if "idle" in sys.argv[1:]:
        _round("idle", loads.idle)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
