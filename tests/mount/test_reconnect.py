"""Server and line come and go; who has a file open goes on, or gets an error, never other bytes."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy
from tests.support.until import until

MIB = 1 << 20
SIZE = 48 * MIB
OPLOCK_BREAK = 0x12


@pytest.fixture
def server(samba_factory) -> PrivateSamba:
    made: PrivateSamba = samba_factory()
    (made.path / "big.bin").write_bytes(os.urandom(MIB) * (SIZE // MIB))
    (made.path / "small.txt").write_text("small\n")
    return made


@pytest.fixture
def line(server: PrivateSamba, proxy) -> PrivateProxy:
    made: PrivateProxy = proxy(server.port, delay=0.02)
    return made


@pytest.fixture
def mounted(server: PrivateSamba, line: PrivateProxy, mount) -> Mounted:
    made: Mounted = mount(server, "actimeo=0", source=f"//127.0.0.1:{line.port}/share")
    return made


def reader_of(path: Path, copy: Path) -> subprocess.Popen[bytes]:
    """A ``cat`` of ``path``."""
    with copy.open("wb") as out:
        return subprocess.Popen(["cat", str(path)], stdout=out, stderr=subprocess.PIPE)


@pytest.fixture
def dropped(server: PrivateSamba, line: PrivateProxy, request: pytest.FixtureRequest):
    """Ways to lose a connection."""
    return {
        "server restarted": server.restart,
        "connection closed": line.cut,
        "connection reset": lambda: line.cut(reset=True),
    }[request.param]


@pytest.mark.parametrize(
    "dropped", ["server restarted", "connection closed", "connection reset"], indirect=True
)
def test_readers_do_not_notice(
    server: PrivateSamba, line: PrivateProxy, mounted: Mounted, dropped
) -> None:
    """Dropped while idle with a file open, and again in the middle of a cat: both go on with the
    right bytes, and no handler answered an error."""
    truth = server.path / "big.bin"
    with (mounted.path / "big.bin").open("rb", buffering=0) as early:
        assert early.read(1000) == truth.read_bytes()[:1000]
        dropped()
        assert os.listdir(mounted.path)
        assert os.pread(early.fileno(), 1000, SIZE - 1000) == truth.read_bytes()[-1000:]
        copy = mounted.folder / "copy"
        start = line.bytes_to_client
        with reader_of(mounted.path / "big.bin", copy) as cat:
            until(lambda: line.bytes_to_client - start > 2 * MIB, 10, "cat is under way")
            dropped()
            assert cat.wait(30) == 0, cat.stderr.read() if cat.stderr else ""
        assert copy.read_bytes() == truth.read_bytes()
        assert os.pread(early.fileno(), 1000, 20 * MIB) == truth.read_bytes()[20 * MIB :][:1000]
    stats = mounted.stats()
    assert stats["server"]["reconnects"] >= 2
    assert stats["server"]["channels"] == 1
    assert stats["application"]["errors"] == 0


def test_a_file_replaced_in_the_meantime_is_stale(
    server: PrivateSamba, line: PrivateProxy, mounted: Mounted, mount
) -> None:
    """The old handle answers ESTALE, not the new file's bytes; the name leads to the new file. Also
    on a mount that trusts attributes, where the kernel does not ask for them before the read.
    """
    old = server.path / "big.bin"
    trusting = mount(server, "actimeo=3600", source=f"//127.0.0.1:{line.port}/share")
    with (
        (mounted.path / "big.bin").open("rb", buffering=0) as handle,
        (trusting.path / "big.bin").open("rb", buffering=0) as trusted,
    ):
        handle.read(1000)
        trusted.read(1000)
        server.kill()
        old.rename(server.path / "kept")  # so that its inode number is not given out again
        old.write_bytes(b"\xee" * SIZE)
        server.restart()
        for stale in (handle, trusted):
            with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
                os.pread(stale.fileno(), 1000, SIZE - 1000)
    assert (mounted.path / "big.bin").read_bytes() == b"\xee" * SIZE
    server_copy = (mounted.path / "kept").read_bytes()
    assert server_copy == (server.path / "kept").read_bytes()


def test_a_file_removed_in_the_meantime_is_stale(server: PrivateSamba, mounted: Mounted) -> None:
    with (mounted.path / "big.bin").open("rb", buffering=0) as handle:
        handle.read(1000)
        server.kill()
        (server.path / "big.bin").unlink()
        server.restart()
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            os.pread(handle.fileno(), 1000, SIZE - 1000)
        with pytest.raises(FileNotFoundError):
            (mounted.path / "big.bin").stat()


def test_a_server_that_is_down_and_comes_back(server: PrivateSamba, mounted: Mounted) -> None:
    """Down: what waits fails after half a minute, what comes later at once, while the root and
    `stats` answer. Back: everything works by itself."""
    with (mounted.path / "big.bin").open("rb", buffering=0) as handle:
        handle.read(1000)
        server.kill()
        begin = time.monotonic()
        for within, failing in (
            (40, lambda: os.pread(handle.fileno(), 1000, SIZE - 1000)),
            (5, (mounted.path / "small.txt").read_text),
            (5, lambda: os.listdir(mounted.path)),
        ):
            with pytest.raises(OSError, match=os.strerror(errno.EHOSTDOWN)):
                failing()
            assert time.monotonic() - begin < within
            begin = time.monotonic()
        assert mounted.path.stat().st_mode
        assert mounted.stats()["server"]["channels"] == 0
        server.restart()
        until(lambda: mounted.stats()["server"]["channels"] == 1, 10, "it is connected again")
        assert (mounted.path / "small.txt").read_text() == "small\n"
        last = os.pread(handle.fileno(), 1000, SIZE - 1000)
        assert last == (server.path / "big.bin").read_bytes()[-1000:]
    assert mounted.stats()["server"]["channels"] == 1


def test_a_server_that_falls_silent(
    server: PrivateSamba, line: PrivateProxy, mounted: Mounted
) -> None:
    """A read and a look-up fail by the handlers' deadline, root and `stats` answer meanwhile, and
    when the server speaks again all is well, by itself. It waits for the real deadline."""
    with (mounted.path / "big.bin").open("rb", buffering=0) as handle:
        line.pause()
        begin = time.monotonic()
        words = ["dd", "bs=4k", "count=1", "skip=9000", "status=none", "iflag=direct"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with (
            subprocess.Popen(words, stdin=handle, **quiet) as reader,
            subprocess.Popen(["cat", str(mounted.path / "small.txt")], **quiet) as opener,
        ):
            assert mounted.path.stat().st_mode
            assert mounted.stats()["server"]["channels"] == 1
            assert time.monotonic() - begin < 10
            for stuck in (reader, opener):
                _, said = stuck.communicate(timeout=45)
                assert any(os.strerror(code) in said for code in (errno.ETIMEDOUT, errno.EHOSTDOWN))
        assert time.monotonic() - begin < 40
        reconnects = mounted.stats()["server"]["reconnects"]
        line.resume()
        line.cut()
        until(lambda: mounted.stats()["server"]["reconnects"] > reconnects, 10, "connected again")
        assert (mounted.path / "small.txt").read_text() == "small\n"
        last = os.pread(handle.fileno(), 1000, SIZE - 1000)
        assert last == (server.path / "big.bin").read_bytes()[-1000:]
    assert "Traceback" not in mounted.log_text()


def unsolicited(body: bytes) -> bytes:
    """An oplock or lease break: MessageId all ones ([MS-SMB2] 2.2.23)."""
    header = struct.pack(
        "<4sHHIHHIIQIIQ16s",
        *(b"\xfeSMB", 64, 0, 0, OPLOCK_BREAK, 0, 1, 0, 2**64 - 1, 0, 0, 0, bytes(16)),
    )
    return header + body


def test_breaks_nobody_asked_for_do_no_harm(server: PrivateSamba, mount, proxy) -> None:
    """A server should break nothing that was not granted; other servers and bugs do.
    (smbprotocol's own receive thread dies of it.)"""
    relay: PrivateProxy = proxy(server.port)
    mounted = mount(server, source=f"//127.0.0.1:{relay.port}/share")
    with (mounted.path / "big.bin").open("rb", buffering=0) as handle:
        relay.inject(unsolicited(struct.pack("<HBBI16s", 24, 0, 0, 0, bytes(16))))
        relay.inject(unsolicited(struct.pack("<HHI16sIIIII", 44, 0, 1, bytes(16), 3, 1, 0, 0, 0)))
        assert (mounted.path / "small.txt").read_text() == "small\n"
        assert (
            os.pread(handle.fileno(), MIB, 3) == (server.path / "big.bin").read_bytes()[3 : MIB + 3]
        )
    assert relay.connections == 1
    assert mounted.stats()["server"]["reconnects"] == 0
    assert mounted.log_text().count("that we have not: dropped") == 2
