from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles.key import file_name, identity, object_path


@given(st.binary(max_size=5000))
@settings(deadline=None, max_examples=50)
def test_a_name_is_32_hex_digits_whatever_the_key(key):
    name = file_name(key)
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")
    assert object_path(key) == f"{name[:2]}/{name}"


def test_names_are_stable_since_they_are_on_disk():
    assert file_name(b"id:0000000000000011") == "1fe9cb783ad5b78780501df2042a1822"


def test_identity_tells_where_the_volume_key_ends():
    assert identity(b"ab", b"c") != identity(b"a", b"bc")
    assert identity(b"a", b"b") != identity(b"b", b"a")
    assert len(identity(b"", b"")) == 16
