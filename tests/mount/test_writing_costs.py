"""What writing through a mount costs beside the bytes: memory, and the kernel's questions."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.kernel_calls import KernelCalls
from tests.support.mounted import Mounted

MIB = 1 << 20
WRITERS = 200
EACH = 8

Mount = Callable[..., Mounted]


def peak(mounted: Mounted) -> int:
    """The most memory that the daemon has had, bytes."""
    lines = Path(f"/proc/{mounted.pid}/status").read_text().splitlines()
    (kib,) = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return kib * 1024


@pytest.mark.alone
def test_two_hundred_writers_have_bounded_memory(samba: PrivateSamba, mount: Mount) -> None:
    """1 MiB a time each. Without a bound on those that wait they hold twice as much themselves."""
    mounted = mount(samba, "nofsc")
    folder = mounted.path / "many"
    folder.mkdir()
    block = os.urandom(MIB)

    def write(number: int) -> None:
        with (folder / str(number)).open("wb", buffering=0) as file:
            for _ in range(EACH):
                assert file.write(block) == MIB

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    assert peak(mounted) < 250 * MIB
    for number in range(WRITERS):
        written = samba.path / "many" / str(number)
        assert written.read_bytes() == block * EACH
        written.unlink()


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR], ids=["O_WRONLY", "O_RDWR"])
def test_the_kernel_asks_for_capabilities_twice_a_file_at_most(
    samba: PrivateSamba, mount: Mount, flags: int
) -> None:
    mounted = mount(samba)
    with KernelCalls(mounted.pid) as calls:
        fd = os.open(mounted.path / f"asked-{flags}", flags | os.O_CREAT)
        for _ in range(300):
            os.write(fd, bytes(4096))
        os.close(fd)
    assert calls.asked["write"] >= 300
    assert calls.asked["getxattr"] <= 2
