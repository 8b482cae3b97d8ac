from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.fscache.cookie import coherency_bytes, coherency_from, object_key, volume_key
from netfsfuse.types import NO_TIME, FileAttr, coherency_of

TIMES = st.just(NO_TIME) | st.integers(-(10**21), 10**21)
ATTR = FileAttr(
    file_id=0x1234, creation=5, access=9, write=7, change=8, size=100, allocation=4096, flags=0
)


def test_hosts_and_shares_know_no_case_but_ports_and_names_matter():
    key = volume_key("Server", 445, "Share")
    assert key == volume_key("sERVER", 445, "sHARE") == b"//server:445/share"
    others = {volume_key("server", 446, "share"), volume_key("s", 445, "share")}
    assert key not in others | {volume_key("server", 445, "shar")}


def test_a_file_is_its_id_wherever_it_is():
    assert object_key(ATTR, "a/b") == object_key(ATTR, "c") == b"id:0000000000001234"
    assert object_key(ATTR._replace(file_id=2**64 - 1), "a") == b"id:ffffffffffffffff"


def test_with_a_made_up_creation_time_the_path_counts_too():
    """A tree unpacked anew deals its FileIds out among other names, with equal sizes and times."""
    derived = ATTR._replace(creation=7)
    assert object_key(derived, "a") == b"id:0000000000001234:a"
    assert object_key(derived, "a") != object_key(derived, "b")


def test_without_an_id_it_is_its_path():
    nameless = ATTR._replace(file_id=0)
    assert object_key(nameless, "dir/\u00e9") == b"path:dir/\xc3\xa9"
    assert object_key(nameless, "lone\ud800") == b"path:lone\xed\xa0\x80"
    assert object_key(nameless, "id:0000000000001234") != object_key(ATTR, "")


def test_coherency_round_trip():
    assert coherency_from(coherency_bytes(ATTR)) == coherency_of(ATTR)
    assert len(coherency_bytes(ATTR)) == 52


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), TIMES, TIMES, TIMES)
def test_any_time_is_in_the_record(file_id, size, creation, change, write):
    attr = FileAttr(file_id, creation, 0, write, change, size, 0, 0)
    assert coherency_from(coherency_bytes(attr)) == coherency_of(attr)


@pytest.mark.parametrize("raw", [b"", bytes(40), bytes(51), bytes(53)])
def test_other_bytes_are_no_record(raw):
    assert coherency_from(raw) is None


@pytest.mark.parametrize("member", ["file_id", "creation", "change", "write", "size"])
def test_every_member_is_in_the_record(member):
    changed = ATTR._replace(**{member: getattr(ATTR, member) + 1})
    assert coherency_bytes(changed) != coherency_bytes(ATTR)
    assert coherency_bytes(ATTR._replace(access=1, allocation=1, flags=1)) == coherency_bytes(ATTR)
