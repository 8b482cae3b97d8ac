"""What the kernel asks of a mount's daemon, and what the daemon tells the kernel: by strace.

The mount's own counters know what programs and the server cost; of the kernel's look-ups, its
questions for attributes, and of what it was told to forget, only /dev/fuse tells.
"""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.until import until

_OPCODES = {
    **{1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 14: "open", 15: "read", 16: "write"},
    **{18: "release", 20: "fsync", 22: "getxattr", 25: "flush", 27: "opendir", 28: "readdir"},
    **{29: "releasedir", 34: "access", 35: "create", 42: "batch_forget", 44: "readdirplus"},
    **{39: "ioctl", 43: "fallocate", 47: "copy_file_range"},
    **{9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename", 45: "rename2", 46: "lseek"},
}
_INVALIDATE_INODE = 2
_NOTICES = {2: "invalidate inode", 3: "invalidate entry", 4: "store", 6: "delete"}
_PIECES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_READ = re.compile(r'read(?:\([^"]*| resumed>)"((?:\\x[0-9a-f]{2})+)')
_WRITE = re.compile(r'writev?\([^"]*"((?:\\x[0-9a-f]{2})+)')
_HEADER = 16
"""Bytes of a header: length, opcode or error, and the request's number."""
_NOTICE = 32
"""With what is told of an inode: its number, and where its pages begin that are to be dropped, -1
for none of them."""


class KernelCalls:
    """A context manager. ``asked`` and ``told`` count, once it has ended, what went through
    /dev/fuse of the daemon ``pid`` within: requests by their name, and notices."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.asked: Counter[str] = Counter()
        self.told: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._out = tempfile.NamedTemporaryFile("r", suffix=".strace")
        words = ["strace", "-f", "-xx", "-s", str(_NOTICE), "-e", "trace=read,write,writev"]
        words += ["-P", "/dev/fuse", "-o", self._out.name, "-p", str(self._pid)]
        self._process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            until(self._is_traced, 10.0, "strace is attached")
        except BaseException:
            self._end()
            raise
        return self

    def _is_traced(self) -> bool:
        if self._process.poll() is not None:
            assert self._process.stderr is not None
            raise AssertionError(f"strace: {self._process.stderr.read()}")
        tasks = Path(f"/proc/{self._pid}/task").iterdir()
        return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=20.0)
        with self._out:
            for line in self._out:
                self._count(line)

    def _count(self, line: str) -> None:
        if found := _READ.search(line):
            _, opcode, _ = self._header(found.group(1))
            self.asked[_OPCODES.get(opcode, str(opcode))] += 1
        elif found := _WRITE.search(line):
            _, code, number = self._header(found.group(1))
            if not number:
                name = _NOTICES.get(code, str(code))
                whole = _PIECES.findall(line)
                if code == _INVALIDATE_INODE and self._start(whole) < 0:
                    name = "invalidate attributes"
                self.told[name] += 1

    @staticmethod
    def _start(pieces: list[str]) -> int:
        """Where the pages begin, of a notice written in such pieces."""
        whole = b"".join(bytes.fromhex(piece.replace("\\x", "")) for piece in pieces)
        start: int = struct.unpack_from("<q", whole.ljust(_NOTICE, b"\0"), _HEADER + 8)[0]
        return start

    @staticmethod
    def _header(text: str) -> tuple[int, int, int]:
        whole = bytes.fromhex(text.replace("\\x", "")).ljust(_HEADER, b"\0")
        length, code, number = struct.unpack_from("<IiQ", whole)
        return length, code, number
