"""A mount that is taken away while the server has not got all that was written to it."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import COMMAND, SOURCE_TREE, Mounted
from tests.support.proxy import PrivateProxy
from tests.support.until import until

MIB = 1 << 20
SOON = 15.0
DATA = os.urandom(MIB) * 8


class Held:
    """A mount with ``asyncclose`` that has taken 8 MiB, of which the server has not got most."""

    def __init__(self, samba: PrivateSamba, mount: Callable[..., Mounted], line: PrivateProxy):
        self.line = line
        self.mounted = mount(samba, "asyncclose", source=f"//127.0.0.1:{line.port}/share")
        name = f"unsent-{os.urandom(4).hex()}"
        self.there = samba.path / name
        with (self.mounted.path / name).open("wb", buffering=0) as file:
            file.write(DATA[:5])
            os.fsync(file.fileno())
            line.pause()
            for at in range(5, len(DATA), MIB):
                file.write(DATA[at : at + MIB])

    def is_whole(self) -> bool:
        return self.there.read_bytes() == DATA

    def wait_ended(self, seconds: float) -> None:
        """Until the daemon is gone."""
        until(lambda: not mounts.daemons(self.mounted.path), seconds, "the daemon is gone")


@pytest.fixture
def held(samba: PrivateSamba, mount, proxy: Callable[..., PrivateProxy]) -> Held:
    return Held(samba, mount, proxy(samba.port))


def umount(held: Held) -> None:
    subprocess.run(["umount", held.mounted.path], check=True, timeout=SOON)


def terminate(held: Held) -> None:
    os.kill(held.mounted.pid, signal.SIGTERM)
    until(lambda: not mounts.is_mounted(held.mounted.path), SOON, "it is unmounted")


@pytest.mark.parametrize("end", [umount, terminate])
def test_the_daemon_sends_it_before_it_ends(held: Held, end: Callable[[Held], None]) -> None:
    end(held)
    assert mounts.daemons(held.mounted.path)
    assert not held.is_whole()
    held.line.resume()
    held.wait_ended(SOON)
    assert held.is_whole()
    assert "lost" not in held.mounted.log_text()


def test_what_cannot_be_sent_is_named_in_the_log(held: Held) -> None:
    """All ranges of it, after 20 s in which nothing has moved."""
    umount(held)
    held.wait_ended(45)
    lost = re.findall(
        rf"{held.there.name}: bytes (\d+) to (\d+) could not be written and are lost",
        held.mounted.log_text(),
    )
    ranges = sorted((int(start), int(end)) for start, end in lost)
    assert [start for start, _ in ranges] == [5, *[end for _, end in ranges[:-1]]]
    assert ranges[-1][1] == len(DATA)
    assert held.there.read_bytes() == DATA[:5]


def test_a_mapping_that_is_changed_when_the_daemon_is_told_to_end(
    samba: PrivateSamba, mount: Callable[..., Mounted]
) -> None:
    """No program has written, synced or closed it: the kernel alone knows."""
    mounted = mount(samba)
    (samba.path / "mapped").write_bytes(bytes(MIB))
    fd = os.open(mounted.path / "mapped", os.O_RDWR)
    try:
        with mmap.mmap(fd, 0) as mapped:
            mapped[5:10] = b"later"
            mapped[-5:] = b"ended"
            os.kill(mounted.pid, signal.SIGTERM)
            until(lambda: not mounts.daemons(mounted.path), SOON, "the daemon is gone")
            expected = bytes(5) + b"later" + bytes(MIB - 15) + b"ended"
            assert (samba.path / "mapped").read_bytes() == expected
    finally:
        with contextlib.suppress(OSError):  # there is no daemon any more
            os.close(fd)


def start_umount(mounted: Mounted) -> subprocess.Popen[str]:
    """``netfsfuse umount``, which waits and has said so."""
    process = subprocess.Popen(
        [*COMMAND, "umount", str(mounted.path)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE_TREE},
    )
    assert process.stderr is not None
    assert "8.0 MiB are not on the server yet" in process.stderr.readline()
    return process


def test_our_umount_waits_and_when_interrupted_leaves_all_as_it_was(held: Held) -> None:
    with start_umount(held.mounted) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON) == 130
    assert mounts.is_mounted(held.mounted.path)
    with start_umount(held.mounted) as process:
        assert process.poll() is None
        assert mounts.is_mounted(held.mounted.path)
        held.line.resume()
        assert process.wait(SOON) == 0
    assert not mounts.is_mounted(held.mounted.path)
    assert held.is_whole()
    assert not mounts.daemons(held.mounted.path)


def test_a_mount_is_busy_while_a_file_is_open_and_stays(
    samba: PrivateSamba, mount: Callable[..., Mounted]
) -> None:
    mounted = mount(samba)
    with (mounted.path / "unsent-open").open("wb", buffering=0) as file:
        file.write(b"some")
        result = subprocess.run(
            [*COMMAND, "umount", str(mounted.path)],
            capture_output=True,
            text=True,
            timeout=SOON,
            check=False,
            env={**os.environ, "PYTHONPATH": SOURCE_TREE},
        )
        assert result.returncode == 1
        assert "is busy" in result.stderr
        file.write(b" more")
    assert Path(samba.path / "unsent-open").read_bytes() == b"some more"
    mounted.umount()
