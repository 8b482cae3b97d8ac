"""A program that does all that programs do to files, beside a model of what must come of it.

It works in an empty folder on a mount, which it knows on the server's own disk as well. It reads,
writes, truncates, maps, renames and reopens files by several handles at once, and holds every
answer beside the model: bytes, sizes, names, and times that never go back. After each fsync, and
each close of a handle that writes, the server's disk must hold the model's bytes.

What differs is reported with the operations before it, the first wrong offset, and the operation
that the wrong bytes are of.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.exercise import LARGEST_FILE, MIB, PAGE, Operation, Payload
from tests.support.exercise_model import (
    Differs,
    ModelFile,
    Open,
    WrongBytes,
    check,
    check_bytes,
)
from tests.support.mapping import Mapping

PEER_SECONDS = 1.0
"""Within which another mount sees what was done on this one."""
CLOCKS = 100_000_000
"""ns by which a time may go back after all: a stat that meets the close of a file shows what the
server's clock was taken to be, and the next one what it was."""
_SETTLE_SECONDS = 3.0
_FIRST_UTIME = 978_307_200_000_000_000  # 2001-01-01 in ns: before whatever a clock says


class Exerciser:
    """``peer``: the folder on another mount. ``cachedir``: of this one, whose objects are dropped
    at times. ``drops_pages``: of the whole machine, at times. :meth:`close` gives handles back."""

    def __init__(
        self,
        here: Path,
        there: Path,
        *,
        peer: Path | None = None,
        cachedir: Path | None = None,
        drops_pages: bool = False,
    ) -> None:
        self._here = here
        self._there = there
        self._peer_folder = peer
        self._cachedir = cachedir
        self._drops_pages = drops_pages
        self._files: dict[str, ModelFile] = {}
        self._opens: dict[int, Open] = {}
        self._maps: dict[int, tuple[Mapping, str]] = {}
        self._payload = Payload()
        self._buffer = mmap.mmap(-1, LARGEST_FILE + PAGE)  # aligned, as O_DIRECT wants it
        self._acts: dict[str, Callable[[Operation], None]] = {
            kind: getattr(self, f"_{kind.replace('-', '_')}")
            for kind in (
                *("open", "close", "read", "write", "truncate", "ftruncate", "fsync", "fdatasync"),
                *("map", "load", "store", "msync", "unmap", "stat", "utime", "rename", "unlink"),
                *("list", "forget", "allocate", "copy", "whole", "peer"),
                *("drop-object", "drop-pages"),
            )
        }

    def run(
        self, program: Sequence[Operation], begun: Callable[[int], None] = lambda n: None
    ) -> None:
        """Do it all, then :meth:`settle`; ``begun`` hears the number of each operation.

        Raises :class:`Differs`.
        """
        for number, operation in enumerate(program):
            begun(number)
            try:
                self._acts[operation.kind](operation)
            except (Differs, OSError) as error:
                raise Differs(self._report(program, number, error)) from error
        begun(len(program))
        self.settle()

    def settle(self) -> None:
        """Close all; names, bytes, sizes and times are the same here, there and in the model.

        What a mapping held that is closed last is on the server soon: munmap waits for the mount
        only, and the mount is told of the last close behind the program's back.
        """
        self.close()
        check("names there", set(os.listdir(self._there)), set(self._files))
        for name in self._files:
            end = time.monotonic() + _SETTLE_SECONDS
            while not self._is_there(name) and time.monotonic() < end:
                time.sleep(0.05)
            self._check_there(name)
            self._check_whole(self._here / name, name)
            end = time.monotonic() + _SETTLE_SECONDS
            while (shown := self._times(name))[0] != shown[1]:
                if time.monotonic() > end:
                    raise Differs(f"{name}: modified at {shown[0]} here, {shown[1]} there")
                time.sleep(0.05)

    def close(self) -> None:
        """Give back all handles and mappings."""
        for slot in list(self._maps):
            self._maps.pop(slot)[0].unmap()
        for slot in list(self._opens):
            os.close(self._opens.pop(slot).fd)

    def _times(self, name: str) -> tuple[int, int]:
        """When it was modified, here and there, in the server's unit of 100 ns."""
        seen = ((folder / name).stat().st_mtime_ns // 100 for folder in (self._here, self._there))
        here, there = seen
        return here, there

    # Handles

    def _open(self, operation: Operation) -> None:
        """Whatever the flags; what the slot held is closed first."""
        self._close(operation)
        name, flags = operation.name, operation.flags
        known = self._files.get(name)
        refused = None
        if known is None and not flags & os.O_CREAT:
            refused = errno.ENOENT
        elif known is not None and flags & os.O_EXCL:
            refused = errno.EEXIST
        try:
            fd = os.open(self._here / name, flags, 0o644)
        except OSError as error:
            if error.errno != refused:
                raise
            return
        self._opens[operation.slot] = Open(fd, name, flags)
        check("errno of open", None, refused)
        if known is None:
            self._files[name] = ModelFile()
        elif flags & os.O_TRUNC:
            known.resize(0)

    def _close(self, operation: Operation) -> None:
        if opened := self._opens.pop(operation.slot, None):
            os.close(opened.fd)
            if opened.writes:
                self._check_there(opened.name)

    def _find(self, operation: Operation, suits: Callable[[Open], bool]) -> Open | None:
        """The slot's handle, or another one that suits."""
        first = self._opens.get(operation.slot)
        if first is not None and suits(first):
            return first
        return next((opened for opened in self._opens.values() if suits(opened)), None)

    def _free(self, name: str) -> None:
        """Close whatever holds the file: names move under closed files only."""
        for slot, (mapping, mapped) in list(self._maps.items()):
            if mapped == name:
                del self._maps[slot]
                mapping.unmap()
        for slot, opened in list(self._opens.items()):
            if opened.name == name:
                del self._opens[slot]
                os.close(opened.fd)

    # Bytes

    def _read(self, operation: Operation) -> None:
        opened = self._find(operation, lambda each: each.reads)
        if opened is None:
            return
        content = self._files[opened.name].content
        start, length = self._range(operation, opened, len(content))
        with memoryview(self._buffer) as view:
            count = os.preadv(opened.fd, [view[:length]], start)
            check_bytes(opened.name, start, view[:count], content[start : start + length])

    def _write(self, operation: Operation) -> None:
        opened = self._find(operation, lambda each: each.writes)
        if opened is None:
            return
        file = self._files[opened.name]
        start, length = self._range(operation, opened, len(file.content))
        length = min(length, LARGEST_FILE - start)
        if length <= 0:
            return
        piece = self._payload.of(operation.stamp, length)
        if opened.is_direct:
            length = len(piece) // PAGE * PAGE
            self._buffer[:length] = piece[:length]
            with memoryview(self._buffer) as view:
                count = os.pwritev(opened.fd, [view[:length]], start)
        elif opened.flags & os.O_APPEND:
            start = len(file.content)
            piece = piece[: max(0, LARGEST_FILE - start)]
            length = len(piece)
            count = os.write(opened.fd, piece)
        else:
            count = os.pwrite(opened.fd, piece, start)
        check("bytes written", count, length)
        file.write(start, piece[:length])

    @staticmethod
    def _range(operation: Operation, opened: Open, size: int) -> tuple[int, int]:
        start, length = min(operation.position(size), LARGEST_FILE), operation.length
        if opened.is_direct:
            start, length = start // PAGE * PAGE, -(-length // PAGE) * PAGE
        return start, length

    def _truncate(self, operation: Operation) -> None:
        """By name."""
        file = self._files.get(operation.name)
        if file is not None:
            size = self._new_size(operation, file)
            os.truncate(self._here / operation.name, size)
            self._resized(file, size)

    def _ftruncate(self, operation: Operation) -> None:
        opened = self._find(operation, lambda each: each.writes)
        if opened is not None:
            file = self._files[opened.name]
            size = self._new_size(operation, file)
            os.ftruncate(opened.fd, size)
            self._resized(file, size)

    @staticmethod
    def _new_size(operation: Operation, file: ModelFile) -> int:
        if operation.length % 8 == 0:
            return 0
        return min(operation.position(len(file.content)), LARGEST_FILE)

    @staticmethod
    def _resized(file: ModelFile, size: int) -> None:
        file.resize(size)

    def _allocate(self, operation: Operation) -> None:
        """posix_fallocate, which the C library does by writing a byte to each block."""
        opened = self._find(
            operation, lambda each: each.reads and each.writes and not each.flags & os.O_APPEND
        )
        if opened is None or opened.is_direct:
            return
        file = self._files[opened.name]
        start = min(operation.position(len(file.content)), LARGEST_FILE // 2)
        length = min(operation.length, 64 * 1024)
        os.posix_fallocate(opened.fd, start, length)
        self._resized(file, max(len(file.content), start + length))

    def _copy(self, operation: Operation) -> None:
        """copy_file_range from one file to another, as cp does it."""
        source = self._find(operation, lambda each: each.reads and not each.is_direct)
        target = self._find(
            operation,
            lambda each: (
                each.writes
                and each.name != (source.name if source else "")
                and not each.flags & (os.O_APPEND | os.O_DIRECT)
            ),
        )
        if source is None or target is None:
            return
        content, file = self._files[source.name].content, self._files[target.name]
        start = min(operation.position(len(content)), LARGEST_FILE // 2)
        piece = bytes(content[start : start + operation.length])
        to = operation.flags * PAGE % MIB
        count = os.copy_file_range(source.fd, target.fd, operation.length, start, to)
        if not count and piece:
            raise Differs("copy_file_range copied nothing")
        file.write(to, piece[:count])

    def _fsync(self, operation: Operation) -> None:
        self._synced(operation, os.fsync)

    def _fdatasync(self, operation: Operation) -> None:
        self._synced(operation, os.fdatasync)

    def _synced(self, operation: Operation, sync: Callable[[int], None]) -> None:
        opened = self._find(operation, lambda each: each.writes)
        if opened is not None:
            sync(opened.fd)
            self._check_there(opened.name)

    # Mappings

    def _map(self, operation: Operation) -> None:
        """Keep a mapping in the slot; it lives on when the handle is closed."""
        opened = self._find(operation, lambda each: each.reads)
        if opened is None or not self._files[opened.name].content:
            return
        self._unmap(operation)
        size = len(self._files[opened.name].content)
        writable = opened.writes
        self._maps[operation.slot] = Mapping(opened.fd, size, writable=writable), opened.name

    def _load(self, operation: Operation) -> None:
        if found := self._mapped(operation, writable=False):
            mapping, name, start, length = found
            content = self._files[name].content
            check_bytes(name, start, mapping.load(start, length), content[start : start + length])

    def _store(self, operation: Operation) -> None:
        if found := self._mapped(operation, writable=True):
            mapping, name, start, length = found
            piece = bytes(self._payload.of(operation.stamp, length))
            mapping.store(start, piece)
            self._files[name].write(start, piece)

    def _mapped(
        self, operation: Operation, *, writable: bool
    ) -> tuple[Mapping, str, int, int] | None:
        """A mapping, and what of it the file still has of the range; None where that is nothing."""
        suited = [each for each in self._maps.items() if each[1][0].writable >= writable]
        if not suited:
            return None
        _, (mapping, name) = min(suited, key=lambda each: each[0] != operation.slot)
        end = min(mapping.length, len(self._files[name].content))
        start = min(operation.position(end), end)
        length = min(operation.length, end - start)
        return (mapping, name, start, length) if length > 0 else None

    def _msync(self, operation: Operation) -> None:
        if found := self._maps.get(operation.slot):
            mapping, name = found
            mapping.sync()
            if mapping.writable:  # of what longer mappings hold no more is written
                self._check_there(name, mapping.length)

    def _unmap(self, operation: Operation) -> None:
        if found := self._maps.pop(operation.slot, None):
            found[0].unmap()

    # Names and attributes

    def _stat(self, operation: Operation) -> None:
        """By name, or by a handle; sizes are exact, times go forward only."""
        opened = self._opens.get(operation.slot)
        if opened is not None and operation.flags & 1:
            name, seen = opened.name, os.fstat(opened.fd)
        elif operation.name in self._files:
            name, seen = operation.name, os.stat(self._here / operation.name)
        else:
            check(f"{operation.name} exists", os.path.lexists(self._here / operation.name), False)
            return
        file = self._files[name]
        check(f"size of {name}", seen.st_size, len(file.content))
        if file.mtime_is_set:
            check(f"mtime of {name}", seen.st_mtime_ns // 100, file.mtime // 100)
        elif seen.st_mtime_ns < file.mtime - CLOCKS:
            raise Differs(f"mtime of {name} went back from {file.mtime} to {seen.st_mtime_ns}")
        else:
            file.mtime = seen.st_mtime_ns

    def _utime(self, operation: Operation) -> None:
        """By name, also while handles are open and bytes on their way."""
        file = self._files.get(operation.name)
        if file is None:
            return
        if any(mapped == operation.name for _, mapped in self._maps.values()):
            return  # the kernel writes stores when it likes, which modifies the file
        file.mtime = _FIRST_UTIME + operation.stamp * 1_000_000_700
        os.utime(self._here / operation.name, ns=(file.mtime, file.mtime))
        file.mtime_is_set = True

    def _rename(self, operation: Operation) -> None:
        """Over what is there, too."""
        name, to = operation.name, operation.to
        if name != to:
            self._free(name)
            self._free(to)
            try:
                os.rename(self._here / name, self._here / to)
            except FileNotFoundError:
                check(f"{name} exists", False, name in self._files)
                return
            check(f"{name} exists", True, name in self._files)
            self._files[to] = self._files.pop(name)

    def _unlink(self, operation: Operation) -> None:
        self._free(operation.name)
        try:
            os.unlink(self._here / operation.name)
        except FileNotFoundError:
            check(f"{operation.name} exists", False, operation.name in self._files)
            return
        check(f"{operation.name} exists", True, operation.name in self._files)
        del self._files[operation.name]

    def _list(self, operation: Operation) -> None:
        check("names", set(os.listdir(self._here)), set(self._files))

    # Other eyes, and forgetting

    def _whole(self, operation: Operation) -> None:
        """All of a file by a handle of its own, past the kernel's pages at times."""
        if operation.name in self._files:
            direct = os.O_DIRECT if operation.flags & os.O_EXCL else 0
            self._check_whole(self._here / operation.name, operation.name, direct)

    def _peer(self, operation: Operation) -> None:
        """Another mount reads all; what programs have in mappings is theirs until it is synced."""
        name = operation.name
        if self._peer_folder is None or any(mapped == name for _, mapped in self._maps.values()):
            return
        end = time.monotonic() + PEER_SECONDS
        while True:
            try:
                if name in self._files:
                    self._check_whole(self._peer_folder / name, name)
                else:
                    seen = os.path.lexists(self._peer_folder / name)
                    check(f"{name} exists for the other mount", seen, False)
            except (Differs, FileNotFoundError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def _forget(self, operation: Operation) -> None:
        """The kernel gives clean pages of a file away."""
        if opened := self._opens.get(operation.slot):
            os.posix_fadvise(opened.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _drop_object(self, operation: Operation) -> None:
        """The disk cache loses all objects that are not in use."""
        if self._cachedir is not None:
            words = [sys.executable, "-m", "cachefiles", f"--cachedir={self._cachedir}"]
            done = subprocess.run([*words, "drop", "--all"], capture_output=True, check=False)
            if done.returncode not in (0, 1):
                raise Differs(f"cachefiles drop: {done.stderr.decode()}")

    def _drop_pages(self, operation: Operation) -> None:
        if self._drops_pages:
            Path("/proc/sys/vm/drop_caches").write_text("3")

    # Comparing

    def _check_there(self, name: str, length: int | None = None) -> None:
        """All of it, or the first ``length`` bytes."""
        seen, content = (self._there / name).read_bytes(), self._files[name].content
        check_bytes(f"{name} there", 0, seen[:length], content[:length])

    def _is_there(self, name: str) -> bool:
        return (self._there / name).read_bytes() == self._files[name].content

    def _check_whole(self, path: Path, name: str, flags: int = 0) -> None:
        content = self._files[name].content
        fd = os.open(path, os.O_RDONLY | flags)
        try:
            with memoryview(self._buffer) as view:
                count = os.preadv(fd, [view], 0)
                check_bytes(f"{path}", 0, view[:count], content)
        finally:
            os.close(fd)

    def _report(self, program: Sequence[Operation], number: int, error: Exception) -> str:
        lines = [f"operation {number}: {program[number]}", f"{type(error).__name__}: {error}"]
        if isinstance(error, WrongBytes):
            for word, piece in (("read", error.seen), ("wanted", error.wanted)):
                origins = [
                    str(each) for each in self._payload.origins(piece, program[: number + 1])
                ]
                lines.append(f"the bytes {word} are of {origins or 'a hole, or nothing'}")
        lines += ["open:", *(f"  {slot}: {each}" for slot, each in self._opens.items())]
        lines += [f"  {slot}: mapping of {each[1]}" for slot, each in self._maps.items()]
        before = program[max(0, number - 30) : number + 1]
        return "\n".join([*lines, "the last operations:", *(f"  {each}" for each in before)])
