"""The disk whose power can be cut forgets what was not synced, and nothing else."""

from __future__ import annotations

import os

import pytest

from tests.support.power import power_disk

MIB = 1024 * 1024


@pytest.mark.mount
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_what_was_synced_is_there(kind):
    with power_disk(kind, 320 * MIB) as disk:
        for number in range(3):
            synced, lost = disk.mountpoint / f"synced{number}", disk.mountpoint / f"lost{number}"
            content = os.urandom(3 * MIB + 5)
            fd = os.open(synced, os.O_RDWR | os.O_CREAT)
            os.write(fd, content)
            os.fsync(fd)
            os.close(fd)
            lost.write_bytes(content)
            disk.lose_power()
            disk.start()
            assert synced.read_bytes() == content
            assert not lost.exists() or lost.read_bytes() != content
