from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles.coherency import SIZE_MAX, Record, decode, encode
from tests.cachefiles.conftest import damaged

records = st.builds(
    Record,
    identity=st.binary(min_size=16, max_size=16),
    size=st.integers(0, SIZE_MAX),
    coherency=st.binary(max_size=256),
    readable=st.binary(max_size=512),
)


@given(records)
@settings(deadline=None, max_examples=100)
def test_round_trip_below_one_kib(record):
    raw = encode(record)
    assert len(raw) <= 812
    assert decode(raw) == record


@given(records, st.data())
@settings(deadline=None, max_examples=100)
def test_any_flipped_bit_or_cut_is_noticed(record, data):
    assert decode(damaged(encode(record), data)) is None


def test_a_long_key_is_cut():
    record = decode(encode(Record(bytes(16), 1, b"c", b"k" * 5000)))
    assert record is not None
    assert record.readable == b"k" * 512


@pytest.mark.parametrize(
    "record",
    [
        Record(bytes(16), -1, b"", b""),
        Record(bytes(16), SIZE_MAX + 1, b"", b""),
        Record(bytes(16), 0, bytes(257), b""),
    ],
)
def test_what_cannot_be_kept_is_refused(record):
    with pytest.raises(ValueError, match=r"size|bytes"):
        encode(record)
