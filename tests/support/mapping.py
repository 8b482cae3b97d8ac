"""A shared mapping that outlives its descriptor, as a C program's does; Python's keeps its own."""

from __future__ import annotations

import ctypes
import mmap
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

_MS_SYNC = 4


class Mapping:
    """``[0, length)`` of an open file, MAP_SHARED. To touch what lies behind the end of the file
    kills the process (SIGBUS), as everywhere."""

    def __init__(self, fd: int, length: int, *, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        address = _libc.mmap(None, length, protection, mmap.MAP_SHARED, fd, 0)
        if address == ctypes.c_void_p(-1).value:
            _fail()
        self._address: int = address
        self.length = length
        self.writable = writable

    def load(self, start: int, length: int) -> bytes:
        """Bytes as the program sees them."""
        return ctypes.string_at(self._address + start, length)

    def store(self, start: int, piece: bytes) -> None:
        """Change some."""
        ctypes.memmove(self._address + start, piece, len(piece))

    def sync(self) -> None:
        """msync(MS_SYNC) of all."""
        if _libc.msync(self._address, self.length, _MS_SYNC):
            _fail()

    def unmap(self) -> None:
        """The end; once."""
        if _libc.munmap(self._address, self.length):
            _fail()


def _fail() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
