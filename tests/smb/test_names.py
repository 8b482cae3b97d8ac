"""Names cross the wire and come back; reserved characters take mapposix's code points."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.errors import InvalidName
from netfsfuse.smb.share.names import (
    are_plain,
    decode_name,
    is_sound_name,
    is_surely_listed,
    is_too_long,
    name_to_local,
    name_to_server,
    path_to_server,
)

LOCAL = st.text(
    st.characters(exclude_characters="/\0").filter(lambda c: not 0xF001 <= ord(c) <= 0xF029)
    | st.characters(min_codepoint=0x10000)
    | st.sampled_from('":<>|?*\\ .\x01\x1f'),
    min_size=1,
    max_size=255,
)


@given(LOCAL)
def test_local_names_come_back(name: str) -> None:
    server = name_to_server(name)
    assert not set(server) & set('"*:<>?\\|/' + "".join(map(chr, range(0x20))))
    assert server[-1] not in " ."
    assert name_to_local(server) == name


@given(st.text(st.characters(exclude_categories=())))
def test_a_listed_name_leads_nowhere_else(name: str) -> None:
    """Whatever a server lists: no separator, no NUL, and the kernel's bytes decode to it again."""
    local = name_to_local(name)
    assert "/" not in local
    assert "\0" not in local
    assert decode_name(local.encode("utf-8", "surrogatepass")) == local


@pytest.mark.parametrize(
    ("plain", "code"),
    [
        ('"', 0xF020),
        ("*", 0xF021),
        (":", 0xF022),
        ("<", 0xF023),
        (">", 0xF024),
        ("?", 0xF025),
        ("\\", 0xF026),
        ("|", 0xF027),
        ("\x01", 0xF001),
        ("\x1f", 0xF01F),
    ],
)
def test_code_points_of_mapposix(plain: str, code: int) -> None:
    """As fs/smb/client/cifs_unicode.h has them: names written by cifs.ko or macOS come back."""
    assert name_to_server(f"a{plain}b") == f"a{chr(code)}b"
    assert name_to_local(f"a{chr(code)}b") == f"a{plain}b"


@pytest.mark.parametrize(("plain", "code"), [(" ", 0xF028), (".", 0xF029)])
def test_blank_and_dot_are_mapped_at_the_end_only(plain: str, code: int) -> None:
    assert name_to_server(f"a{plain}b{plain}{plain}") == f"a{plain}b{plain}{chr(code)}"
    assert name_to_local(f"b{chr(code)}") == f"b{plain}"
    assert name_to_local(f"a{chr(code)}b") == f"a{chr(code)}b"  # a{plain}b may be there as well
    assert name_to_server(f"a{chr(code)}b") == f"a{chr(code)}b"


@pytest.mark.parametrize(
    "name",
    ["aux.txt", "CON", "nul.tar.gz", "lpt1.doc", "prn .x", "ALONGN~1.TXT", "a:b", "dot."],
)
def test_what_may_be_there_though_it_is_not_listed(name: str) -> None:
    assert not is_surely_listed(name)


@pytest.mark.parametrize(
    "name", ["a.txt", "console", "auxiliary.c", "con-1", "grüße", ".git", "a b"]
)
def test_what_would_be_listed(name: str) -> None:
    assert is_surely_listed(name)


def test_path() -> None:
    assert path_to_server("") == ""
    assert path_to_server("/sub/dir/a:b.") == "sub\\dir\\a\uf022b\uf029"


@given(st.text("a. /\x01*:\\\n\uf029", max_size=8))
def test_a_path_is_its_names(path: str) -> None:
    """Also one that takes the short way, in which nothing is mapped."""
    names = [name_to_server(name) for name in path.split("/") if name]
    assert path_to_server(path) == "\\".join(names)


@given(st.lists(st.text("ab./\0 *\uf029é", max_size=3), min_size=1), st.booleans())
def test_plain_names_are_those_that_nothing_is_done_to(names: list[str], long: bool) -> None:
    names = [*names, "n" * 128] if long else names
    if are_plain(names):
        assert [name_to_local(name) for name in names] == names
        assert all(name and is_sound_name(name) and not is_too_long(name) for name in names)
    else:
        assert long or any(
            not name or not name.isascii() or set("/\0") & set(name) for name in names
        )


def test_name_that_is_not_utf8() -> None:
    with pytest.raises(InvalidName):
        decode_name(b"\xff")
    assert decode_name("\U0001f600".encode()) == "\U0001f600"
