"""Whatever bytes a peer sends, a parser answers with a value or with ProtocolError, and ends.

Random bytes, and valid replies that were cut, bent or garbled: these get past the first checks.
"""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.share.reparse import parse_mfsymlink, parse_reparse
from netfsfuse.smb.wire.create import parse_close, parse_create
from netfsfuse.smb.wire.header import parse_frame, parse_header, split_compound
from netfsfuse.smb.wire.lease import parse_break, parse_lease_context
from netfsfuse.smb.wire.notify import parse_change_notify
from netfsfuse.smb.wire.query import (
    parse_all,
    parse_full_size,
    parse_ioctl,
    parse_query_directory,
)
from netfsfuse.smb.wire.read import parse_read
from netfsfuse.smb.wire.tree import parse_tree_connect, parse_validate_negotiate
from netfsfuse.smb.wire.write import parse_write
from netfsfuse.types import FileAttr
from tests.smb import replies

Parser = Callable[[memoryview], object]

PARSERS: dict[str, Parser] = {
    "frame": lambda message: parse_frame(bytes(message[:4]).ljust(4, b"\1")),
    "header": parse_header,
    "close": lambda message: parse_close(message, 5),
    "write": parse_write,
    "break": parse_break,
    "lease_context": parse_lease_context,
    "compound": split_compound,
    "create": parse_create,
    "read": parse_read,
    "directory": parse_query_directory,
    "full_size": parse_full_size,
    "all": parse_all,
    "ioctl": parse_ioctl,
    "notify": parse_change_notify,
    "tree_connect": parse_tree_connect,
    "validate_negotiate": parse_validate_negotiate,
    "reparse": lambda message: parse_reparse(bytes(message)),
    "mfsymlink": lambda message: parse_mfsymlink(bytes(message)),
}
ATTR = FileAttr(11, 1200, 1300, 1400, 1500, 16, 4096, 0)
VALID = {**replies.examples(ATTR), "break": replies.lease_break(b"k" * 16, 3)}
EDGES = st.sampled_from([0, 1, 2, 7, 8, 63, 64, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid reply with some of its bytes or length fields changed, and perhaps its end cut."""
    message = bytearray(draw(st.sampled_from(sorted(VALID.values()))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(message) - 1))
        width = draw(st.sampled_from([1, 2, 4]))
        new = draw(EDGES | st.integers(0, 2**32 - 1)) % (1 << 8 * width)
        message[at : at + width] = new.to_bytes(width, "little")
    return bytes(message[: draw(st.integers(0, len(message)))])


def survives(parse: Parser, raw: bytes) -> None:
    try:
        parse(memoryview(raw))
    except ProtocolError:
        return


@pytest.mark.parametrize("name", PARSERS)
@given(raw=st.binary(max_size=400))
def test_random_bytes(name: str, raw: bytes) -> None:
    survives(PARSERS[name], raw)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200)
@given(raw=mutated())
def test_mutated_replies(name: str, raw: bytes) -> None:
    survives(PARSERS[name], raw)


@pytest.mark.parametrize("name", sorted(VALID))
def test_every_truncation(name: str) -> None:
    for end in range(len(VALID[name])):
        for parse in PARSERS.values():
            survives(parse, VALID[name][:end])


@given(st.sampled_from([0xA000000C, 0xA0000003, 0xA000001D, 0x80000014]), st.binary(max_size=80))
def test_reparse_data_of_a_known_tag(tag: int, body: bytes) -> None:
    """Odd lengths and lone halves of surrogates come from the server's disk, unchecked."""
    raw = tag.to_bytes(4, "little") + len(body).to_bytes(2, "little") + bytes(2) + body
    survives(PARSERS["reparse"], raw)


def test_payload_outside_the_reply() -> None:
    """A length that reaches past the end, or an offset into the header, is refused by itself."""
    raw = bytearray(VALID["read"])
    raw[68:72] = (8).to_bytes(4, "little")  # one byte more than there is
    with pytest.raises(ProtocolError):
        parse_read(memoryview(raw))
    raw = bytearray(VALID["read"])
    raw[66] = 40
    with pytest.raises(ProtocolError):
        parse_read(memoryview(raw))


def test_name_of_half_a_character() -> None:
    """A length in bytes may be odd; it is no reason for a UnicodeDecodeError."""
    raw = bytearray(VALID["directory"])
    raw[72 + 60 : 72 + 64] = (5).to_bytes(4, "little")
    with pytest.raises(ProtocolError):
        parse_query_directory(memoryview(raw))


def test_listing_that_walks_on_the_spot_ends() -> None:
    raw = bytearray(VALID["directory"])
    raw[72:76] = (1).to_bytes(4, "little")
    survives(parse_query_directory, bytes(raw))


@pytest.mark.parametrize("name", PARSERS)
@given(seed=st.integers(0, 1000), valid=st.sampled_from(sorted(VALID)))
@settings(max_examples=8, deadline=None)
def test_what_a_parser_keeps_is_bounded_by_the_message(name: str, seed: int, valid: str) -> None:
    """64 KiB of a valid beginning and lengths that lie: no more memory than a listing that is true
    would cost, which is 30 times its bytes (names, attributes and times as Python has them)."""
    raw = VALID[valid] + random.Random(seed).randbytes(1 << 16)
    tracemalloc.start()
    try:
        survives(PARSERS[name], raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * len(raw)


def overlapping(valid: str, at: int, step: int) -> memoryview:
    """A valid reply whose first entry at ``at`` says that the next begins after ``step`` bytes."""
    raw = bytearray(VALID[valid])
    raw[at : at + 4] = step.to_bytes(4, "little")
    return memoryview(raw)


@pytest.mark.parametrize("step", [1, 8, 80, 85])
def test_directory_entries_that_overlap(step: int) -> None:
    """64 KiB of entries 8 bytes apart, each with the rest for its name, would be gigabytes."""
    with pytest.raises(ProtocolError, match="overlap"):
        parse_query_directory(overlapping("directory", 72, step))


@pytest.mark.parametrize("step", [1, 12, 15])
def test_notifications_that_overlap(step: int) -> None:
    with pytest.raises(ProtocolError, match="overlap"):
        parse_change_notify(overlapping("notify", 72, step))


@pytest.mark.parametrize("step", [1, 16, 55])
def test_create_contexts_that_overlap(step: int) -> None:
    with pytest.raises(ProtocolError, match="overlap"):
        parse_create(overlapping("create", 64 + 88, step))
