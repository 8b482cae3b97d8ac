"""Flags of FUSE's INIT that libfuse 3.14 does not know of.

libfuse answers the kernel's INIT with the flags that it knows. Here a socket stands between the two
for this one request: libfuse reads the kernel's question from it and writes its answer to it, the
flags that we want are added to the answer where the kernel has offered them, and the kernel's own
descriptor takes the socket's place again. It is all done before pyfuse3 reads the second request.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pyfuse3

log = logging.getLogger(__name__)

HANDLE_KILLPRIV_V2 = 1 << 28
"""The file system takes suid, sgid and capabilities from a file that is written (Linux 5.11). Then
the kernel asks for ``security.capability`` before the first write of an inode, and not before each:
16,385 GETXATTRs of ``dd bs=4k`` of 64 MiB were 2. Here there is nothing to take: no file has
capabilities, and which modes are shown the mount's options say; that a suid bit among them has no
effect, as FUSE mounts are ``nosuid``."""

DIRECT_IO_ALLOW_MMAP = 1 << 36
"""Files opened with FOPEN_DIRECT_IO may be mapped shared (Linux 6.6); each mmap(2) drops the pages
that are there. Reads go to the file system all the same."""

_INIT = 26
_INIT_EXT = 1 << 30
_REQUEST_MAX = 1 << 20
_OPCODE_AT, _IN_FLAGS_AT = 4, 40 + 12  # struct fuse_in_header, fuse_init_in
_ERROR_AT, _OUT_FLAGS_AT, _OUT_FLAGS2_AT = 4, 16 + 12, 16 + 32  # fuse_out_header, fuse_init_out


def offered(request: bytes) -> int:
    """The flags that the kernel's INIT offers; 0 for another request."""
    if len(request) < _IN_FLAGS_AT + 8 or struct.unpack_from("<I", request, _OPCODE_AT)[0] != _INIT:
        return 0
    low: int
    high: int
    low, high = struct.unpack_from("<II", request, _IN_FLAGS_AT)
    return low | high << 32 if low & _INIT_EXT else low


def with_flags(reply: bytes, flags: int) -> bytes:
    """The answer to an INIT, with ``flags`` added as far as it has room for them. A refusal stays
    as it is."""
    low, high = flags & 0xFFFFFFFF, flags >> 32
    refused = struct.unpack_from("<i", reply, _ERROR_AT)[0]
    if refused or len(reply) < _OUT_FLAGS_AT + 4:
        return reply
    changed = bytearray(reply)
    if high and len(reply) >= _OUT_FLAGS2_AT + 4:
        low |= _INIT_EXT
        high |= struct.unpack_from("<I", reply, _OUT_FLAGS2_AT)[0]
        struct.pack_into("<I", changed, _OUT_FLAGS2_AT, high)
    low |= struct.unpack_from("<I", reply, _OUT_FLAGS_AT)[0]
    struct.pack_into("<I", changed, _OUT_FLAGS_AT, low)
    return bytes(changed)


class InitFlags:
    """Adds ``wanted`` for the session whose descriptor of /dev/fuse is ``descriptor``.

    Made between the mount and the first wait for a request. :meth:`finish` is to be called before
    each wait until it has done its work; it never blocks. :meth:`close` at the end.
    """

    def __init__(self, descriptor: int, wanted: int) -> None:
        self._descriptor = descriptor
        self._kernel = -1
        self._ours: socket.socket | None = None
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if not poller.poll(0):  # the kernel asks when it mounts: it is unmounted again
            return
        request = os.read(descriptor, _REQUEST_MAX)
        self._added = offered(request) & wanted
        self._kernel = os.dup(descriptor)
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            os.dup2(theirs.fileno(), descriptor, inheritable=False)
        self._ours.send(request)

    def finish(self) -> bool:
        """If libfuse has answered, so is the kernel, and from then on they speak directly: then
        nothing is left to do."""
        if self._ours is None:
            return True
        try:
            reply = self._ours.recv(_REQUEST_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        try:
            if reply:
                os.write(self._kernel, with_flags(reply, self._added))
        except OSError as failed:  # unmounted already, as libfuse will find out
            log.debug("answering INIT: %s", failed)
        self.close()
        return True

    def close(self) -> None:
        """The kernel's descriptor in its place, whatever was answered. Idempotent."""
        if self._ours is None:
            return
        os.dup2(self._kernel, self._descriptor, inheritable=False)
        os.close(self._kernel)
        self._ours.close()
        self._ours = None


@contextmanager
def added(descriptor: int, wanted: int) -> Iterator[None]:
    """Add ``wanted`` to the INIT of pyfuse3's session, which is mounted and not yet served."""
    flags = InitFlags(descriptor, wanted)
    original: Callable[[], Awaitable[bool]] = pyfuse3._wait_fuse_readable  # type: ignore[attr-defined]

    async def wait_readable() -> bool:
        if flags.finish():
            pyfuse3._wait_fuse_readable = original  # type: ignore[attr-defined]
        return await original()

    pyfuse3._wait_fuse_readable = wait_readable  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pyfuse3._wait_fuse_readable = original  # type: ignore[attr-defined]
        flags.close()
