"""Many programs open one file just after it changed, as make -j does with a header."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import wait_settled
from tests.support.mounted import Mounted

READERS = 16
SIZE = 300_000


def read_twice(path: Path, start: threading.Barrier) -> set[bytes]:
    """What two reads of the whole file by one handle give, opened when all are ready."""
    start.wait()
    fd = os.open(path, os.O_RDONLY)
    try:
        return {os.pread(fd, SIZE, 0), os.pread(fd, SIZE, 0)}
    finally:
        os.close(fd)


@pytest.mark.parametrize("rounds", [15, pytest.param(300, marks=pytest.mark.soak)])
def test_all_who_open_a_file_just_changed_read_the_new_bytes(
    samba: PrivateSamba, mount: Callable[..., Mounted], rounds: int
) -> None:
    """No error and no old byte for anybody, whatever the server's creation time does."""
    there = samba.path / "storm"
    mounted = mount(samba)
    there.write_bytes(b"0" * SIZE)
    with ThreadPoolExecutor(READERS) as pool:
        for number in range(rounds):
            content = bytes([65 + number % 26]) * SIZE
            with there.open("r+b") as file:
                file.write(content)
            wait_settled(there)
            start = threading.Barrier(READERS)
            seen = pool.map(
                lambda _, b=start: read_twice(mounted.path / "storm", b), range(READERS)
            )
            assert set().union(*seen) == {content}
    there.unlink()
