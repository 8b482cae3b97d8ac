"""What was read once is not fetched again: by the next mount, by a second reader, by readahead.

``server.bytes`` is the judge, and a proxy between us and the server counts what truly passed.
"""

from __future__ import annotations

from collections.abc import Callable

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import BIG, MIB, big_file, compare, dd, digest, sha256
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy

Mount = Callable[..., Mounted]


def test_second_mount_and_two_readers_fetch_a_file_once(samba: PrivateSamba, mount: Mount) -> None:
    """Two readers of one cold file, one past the kernel's pages, fetch it once between them; the
    next mount fetches less than 1 % of it, buffered, and nothing new past the kernel's pages.
    """
    there = big_file(samba)
    mounted = mount(samba)
    here = mounted.path / there.name
    readers = [dd(here), dd(here, direct=True)]
    expected = sha256(there)
    assert [digest(reader) for reader in readers] == [expected, expected]
    fetched = mounted.stats()["server"]["bytes"]
    assert BIG <= fetched <= 1.05 * BIG

    mounted.remount()
    compare(here, there)
    assert digest(dd(here, direct=True)) == expected
    stats = mounted.stats()
    assert stats["server"]["bytes"] < BIG // 100
    assert stats["cache"]["bytes_read"] >= BIG
    assert stats["cache"]["misses"] == 0


def test_cold_sequential_read_through_a_counting_proxy(
    samba: PrivateSamba, mount: Mount, proxy: Callable[..., PrivateProxy]
) -> None:
    """One ``dd bs=1M`` keeps at least 4 reads in flight, and the counters tell the truth."""
    there = samba.path / "counted"
    size = 64 * MIB + 4097
    data.write_file(there, size, seed="counted")
    relay = proxy(samba.port)
    mounted = mount(samba, source=f"//{samba.host}:{relay.port}/{samba.share}")
    here = mounted.path / there.name
    before, passed = mounted.stats()["server"], relay.bytes_to_client
    assert digest(dd(here)) == sha256(there)
    after, passed = mounted.stats()["server"], relay.bytes_to_client - passed
    assert after["in_flight_peak"] >= 4
    fetched = after["bytes"] - before["bytes"]
    assert size <= fetched <= 1.05 * size
    replies = sum(after["messages"].values()) - sum(before["messages"].values())
    assert fetched <= passed <= fetched + 400 * replies
    assert abs(after["wire_received"] - before["wire_received"] - passed) <= 4096


def test_part_of_a_file_is_kept_as_well(samba: PrivateSamba, mount: Mount) -> None:
    """A reader that stops early costs about what it read, and that much is there next time."""
    there = samba.path / "partly"
    data.write_file(there, 48 * MIB, seed="partly")
    mounted = mount(samba)
    here = mounted.path / there.name
    with here.open("rb", buffering=0) as file:
        first = file.read(6 * MIB)
    mounted.remount()
    with here.open("rb", buffering=0) as file:
        assert file.read(6 * MIB) == first == there.read_bytes()[: 6 * MIB]
    stats = mounted.stats()
    assert stats["cache"]["bytes_read"] >= 6 * MIB
    compare(here, there)
