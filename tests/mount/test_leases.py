"""Leases: re-opens that cost nothing, breaks that are answered, and a mount without any."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.second_client import SecondClient, second_client
from tests.support.until import until

pytestmark = pytest.mark.alone  # what the kernel forgets under pressure costs a message

Mount = Callable[..., Mounted]
MIB = 1024 * 1024


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    for number in range(20):
        (folder / f"f{number}").write_bytes(b"old%d" % number)
    data.write_file(folder / "big", 3 * MIB)
    time.sleep(0.1)  # no file is racily clean any more
    return folder


@pytest.fixture
def client(samba: PrivateSamba) -> Iterator[SecondClient]:
    with second_client(samba) as client:
        yield client


def messages(mounted: Mounted) -> dict[str, int]:
    return mounted.messages()


def sent_by(mounted: Mounted, action: Callable[[], object]) -> dict[str, int]:
    """Messages by command that ``action`` cost, all others' apart."""
    base = messages(mounted)
    asking = {name: count - base.get(name, 0) for name, count in messages(mounted).items()}
    before = messages(mounted)
    action()
    after = messages(mounted)
    return {
        name: count - before.get(name, 0) - asking.get(name, 0)
        for name, count in after.items()
        if count - before.get(name, 0) - asking.get(name, 0)
    }


@pytest.mark.parametrize("name", ["f1", "big"])
def test_opens_that_follow_cost_nothing(
    samba: PrivateSamba, folder: Path, mount: Mount, name: str
) -> None:
    """Its directory is watched from the first open on."""
    mounted = mount(samba)
    here = mounted.path / folder.name / name
    expected = (folder / name).read_bytes()
    assert here.read_bytes() == expected

    def again() -> None:
        for _ in range(10):
            assert here.read_bytes() == expected

    assert sent_by(mounted, again) == {}


def open_handles(samba: PrivateSamba, path: Path) -> int:
    """Of one file, by the server's own account."""
    command = ["smbstatus", "-s", str(samba.folder / "smb.conf"), "--locks"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(str(path.relative_to(samba.path)) in line for line in shown.splitlines())


def test_the_handle_is_parked_and_closed_in_the_end(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    mounted = mount(samba, "closetimeo=1.5")
    (mounted.path / folder.name / "big").read_bytes()
    assert open_handles(samba, folder / "big") == 1
    until(lambda: not open_handles(samba, folder / "big"), 4, "the handle is closed")


@pytest.mark.parametrize("options", ["closetimeo=0", "nolease"])
def test_nothing_is_kept_open(
    samba: PrivateSamba, folder: Path, mount: Mount, options: str
) -> None:
    mounted = mount(samba, options)
    (mounted.path / folder.name / "big").read_bytes()
    until(lambda: not open_handles(samba, folder / "big"), 0.5, "it is closed")


@pytest.mark.parametrize("options", ["", "nolease"])
def test_another_client_is_not_kept_waiting(
    samba: PrivateSamba, folder: Path, mount: Mount, client: SecondClient, options: str
) -> None:
    """It writes, renames and removes what we have parked, and we read what it has left."""
    mounted = mount(samba, options)
    for number in range(20):
        here = mounted.path / folder.name / f"f{number}"
        assert here.read_bytes() == b"old%d" % number
        begin = time.monotonic()
        client.write(f"{folder.name}/f{number}", b"new%d" % number)
        client.rename(f"{folder.name}/f{number}", f"{folder.name}/n{number}")
        client.remove(f"{folder.name}/n{number}")
        client.write(f"{folder.name}/f{number}", b"newer%d" % number)
        assert time.monotonic() - begin < 5
        until(lambda n=number, h=here: h.read_bytes() == b"newer%d" % n, 1, "the new file")


def test_a_break_does_not_hurt_readers(
    samba: PrivateSamba, folder: Path, mount: Mount, client: SecondClient
) -> None:
    """A reader has the file open while somebody writes it: no error; who opens it anew sees it."""
    mounted = mount(samba)
    here = mounted.path / folder.name / "f1"
    with here.open("rb", buffering=0) as file:
        assert file.read(10) == b"old1"
        client.write(f"{folder.name}/f1", b"NEW1", "r+b")
        file.seek(0)
        assert len(file.read(10)) == 4
        until(lambda: here.read_bytes() == b"NEW1", 1, "the new bytes")


def test_a_local_change_breaks_no_lease_and_is_seen(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """Within a second, though every open comes within ``closetimeo`` of the one before."""
    mounted = mount(samba)
    here = mounted.path / folder.name / "f1"
    assert here.read_bytes() == b"old1"
    (folder / "f1").write_bytes(b"new!")
    until(lambda: here.read_bytes() == b"new!", 1.0, "the new bytes")


def test_storm(samba: PrivateSamba, folder: Path, mount: Mount, client: SecondClient) -> None:
    """Readers and writers of the same files at once: never an error, never an older content than
    one read before, and in the end the last."""
    mounted = mount(samba)
    over = threading.Event()
    failures: list[str] = []

    def read(number: int) -> None:
        here = mounted.path / folder.name / f"f{number}"
        latest = -1
        while not over.is_set():
            fd = os.open(here, os.O_RDONLY)
            try:
                got = os.read(fd, 100)
            finally:
                os.close(fd)
            version = int(got[:8]) if got[:3] != b"old" else -1
            if version < latest:
                failures.append(f"f{number}: {version} after {latest}")
            latest = version

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in range(150):
            for number in range(4):
                client.write(f"{folder.name}/f{number}", b"%08d" % version, "r+b")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    for number in range(4):
        here = mounted.path / folder.name / f"f{number}"
        until(lambda h=here: h.read_bytes() == b"%08d" % 149, 1, "the last content")
    assert mounted.stats()["application"]["errors"] == 0


def test_no_lease_is_asked_for_with_nolease(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    mounted = mount(samba, "nolease")
    here = mounted.path / folder.name / "f1"
    here.read_bytes()
    # The second CREATE asks whether it is a link, and is refused.
    assert sent_by(mounted, here.read_bytes) == {"create": 2, "close": 1}
