"""What programs do to files by handles and by name: open, read, write, cut, extend, copy, sync."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from tests.support.exercise import LARGEST_FILE, MIB, PAGE, Operation
from tests.support.exercise_model import Differs, ModelFile, Open, check, check_bytes
from tests.support.exercise_scene import Scene


class FileActs(Scene):
    """One method for each kind of operation."""

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
