"""INIT, with flags that libfuse does not know of."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from netfsfuse.fuse.initflags import (
    DIRECT_IO_ALLOW_MMAP,
    HANDLE_KILLPRIV_V2,
    InitFlags,
    offered,
    with_flags,
)

EXT = 1 << 30
HIGH = DIRECT_IO_ALLOW_MMAP >> 32
OFFER = EXT | 0x1234


def request(low: int = OFFER, high: int = HIGH | 1, opcode: int = 26) -> bytes:
    """struct fuse_in_header and fuse_init_in."""
    body = struct.pack("<5I44x", 7, 45, 1 << 17, low, high)
    return struct.pack("<IIQQIIIHH", 40 + len(body), opcode, 2, 0, 0, 0, 1, 0, 0) + body


def reply(low: int = 0x1200, error: int = 0) -> bytes:
    """struct fuse_out_header and fuse_init_out, as libfuse 3.14 answers."""
    body = struct.pack("<4I2H2I2HI28x", 7, 38, 1 << 17, low, 12, 9, 1 << 20, 1, 256, 0, 0)
    return struct.pack("<IiQ", 16 + len(body), error, 2) + body


def test_the_flags_that_are_offered() -> None:
    assert offered(request()) == OFFER | HIGH << 32 | 1 << 32
    assert offered(request(low=0x1234)) == 0x1234  # a kernel without the upper half
    assert offered(request(opcode=27)) == 0
    assert offered(request()[:50]) == 0


def test_flags_are_added_to_an_answer_and_nothing_else_is_changed() -> None:
    changed = with_flags(reply(), DIRECT_IO_ALLOW_MMAP)
    assert len(changed) == len(reply())
    differing = {
        at for at, (old, new) in enumerate(zip(reply(), changed, strict=True)) if old != new
    }
    assert differing == {16 + 12 + 3, 16 + 32}
    assert struct.unpack_from("<I", changed, 28)[0] == 0x1200 | EXT
    assert struct.unpack_from("<I", changed, 48)[0] == HIGH
    assert with_flags(reply(), 0) == reply()
    assert with_flags(reply(error=-71), DIRECT_IO_ALLOW_MMAP) == reply(error=-71)
    assert with_flags(reply()[:40], DIRECT_IO_ALLOW_MMAP) == reply()[:40]  # protocol 7.22
    both = with_flags(reply(), DIRECT_IO_ALLOW_MMAP | HANDLE_KILLPRIV_V2)
    assert struct.unpack_from("<I", both, 28)[0] == 0x1200 | EXT | 1 << 28
    assert struct.unpack_from("<I", both, 48)[0] == HIGH


@pytest.mark.parametrize("length", [40, len(reply())])
def test_a_flag_of_the_lower_half_needs_no_upper_one(length: int) -> None:
    changed = with_flags(reply()[:length], HANDLE_KILLPRIV_V2)
    assert struct.unpack_from("<I", changed, 28)[0] == 0x1200 | 1 << 28
    assert changed[:28] + changed[32:] == (reply()[:28] + reply()[32:])[: length - 4]
    assert with_flags(reply(error=-71), HANDLE_KILLPRIV_V2) == reply(error=-71)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The kernel, and our descriptor of it."""
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel, ours:
        kernel.settimeout(5)
        yield kernel, ours


@pytest.mark.parametrize("high", [HIGH, 0], ids=["offered", "not offered"])
def test_libfuse_answers_once_by_way_of_us(
    pair: tuple[socket.socket, socket.socket], high: int
) -> None:
    kernel, ours = pair
    before = len(os.listdir("/proc/self/fd"))
    kernel.send(request(high=high))
    flags = InitFlags(ours.fileno(), DIRECT_IO_ALLOW_MMAP)
    assert not flags.finish()
    assert os.read(ours.fileno(), 1 << 20) == request(high=high)
    assert not flags.finish()
    os.write(ours.fileno(), reply())
    assert flags.finish()
    assert kernel.recv(1000) == with_flags(reply(), high << 32)
    kernel.send(b"the second request")
    assert os.read(ours.fileno(), 1000) == b"the second request"
    assert flags.finish()
    flags.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("asked", [False, True])
def test_a_session_that_ends_at_once_has_its_descriptor(
    pair: tuple[socket.socket, socket.socket], asked: bool
) -> None:
    kernel, ours = pair
    if asked:
        kernel.send(request())
    flags = InitFlags(ours.fileno(), DIRECT_IO_ALLOW_MMAP)
    flags.close()
    os.write(ours.fileno(), b"still the kernel's")
    assert kernel.recv(100) == b"still the kernel's"
