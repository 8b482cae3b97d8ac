"""Sources: every spelling, and refusals that repeat no login."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.cli.source import Source, parse_source
from netfsfuse.errors import UsageError


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("//nas/films", Source("nas", "films")),
        ("//nas/films/", Source("nas", "films")),
        ("//nas:4450/films", Source("nas", "films", port=4450)),
        ("//nas/films/old/b w", Source("nas", "films", "old/b w")),
        ("//nas//films//old/./x/", Source("nas", "films", "old/x")),
        ("\\\\nas\\films\\old", Source("nas", "films", "old")),
        ("//[2001:db8::1]/films", Source("2001:db8::1", "films")),
        ("//[2001:db8::1]:445/films", Source("2001:db8::1", "films", port=445)),
        ("//fe80::1%eth0/films", Source("fe80::1%eth0", "films")),
        ("//10.0.0.1/C$", Source("10.0.0.1", "C$")),
        ("//nas/a@b", Source("nas", "a@b")),
        ("//näs/фильмы", Source("näs", "фильмы")),
        ("//nas/a%20b", Source("nas", "a%20b")),
        ("smb://nas/films", Source("nas", "films")),
        ("SMB://nas/films/", Source("nas", "films")),
        ("cifs://nas:4450/films/old", Source("nas", "films", "old", 4450)),
        ("smb://nas/my%20films/b%20w/100%25", Source("nas", "my films", "b w/100%")),
        ("smb://nas/%D1%84/100%", Source("nas", "ф", "100%")),
        ("smb://nas/a%40b", Source("nas", "a@b")),
        ("smb://[2001:db8::1]:445/films", Source("2001:db8::1", "films", port=445)),
        ("smb://[fe80::1%25eth0]/films", Source("fe80::1%eth0", "films")),
    ],
)
def test_accepted(text: str, source: Source):
    assert parse_source(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nas/films",
        "/nas/films",
        "///films",
        "//",
        "//nas",
        "//nas/",
        "///",
        "smb:nas/films",
        "smb:/nas/films",
        "smb:///films",
        "smb://",
        "smb://nas",
        "smb://nas/",
        "smb://nas/..",
        "smb://nas/films/%2e%2e/other",
        "smb://nas/fi%0Alms",
        "smb://nas/fi%2Flms",
        "smb://nas/fi%5Clms",
        "smb://nas/%ff",
        "smb://bob%40nas/films",
        "smb:\\\\nas\\films",
        "nfs://nas/films",
        "//:445/films",
        "//nas:/films",
        "//nas:0/films",
        "//nas:65536/films",
        "//nas:smb/films",
        "//nas:4 45/films",
        "//n as/films",
        "//[::1/films",
        "//[nas]/films",
        "//[::1]445/films",
        "//a:b:c/films",
        "//nas/..",
        "//nas/films/../other",
        "//nas/fi\nlms",
        "//nas/" + "x" * 81,
    ],
)
def test_refused(text: str):
    with pytest.raises(UsageError) as caught:
        parse_source(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "//bob:geheim@nas/films",
        "smb://bob:geheim@nas/films",
        "smb://HOME;bob:geheim@nas/films",
        "cifs://bob:geh%65im@nas",
        "smb://bob:geheim\n%ff@nas/films",
    ],
)
def test_a_login_is_not_repeated(text: str):
    with pytest.raises(UsageError, match=r"holds a login; give it with -o user=NAME") as caught:
        parse_source(text)
    assert "geh" not in str(caught.value)


def test_a_url_of_a_server_alone_names_no_share():
    with pytest.raises(UsageError, match=r"'smb://nas' names no share; .*//HOST"):
        parse_source("smb://nas")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("//nas:4450/films", "//nas/films"),
        ("\\\\nas\\films\\a", "//nas/films/a"),
        ("//[::1]:9/s", "//[::1]/s"),
        ("smb://nas:4450/my%20films/a", "//nas/my films/a"),
    ],
)
def test_shown(text: str, shown: str):
    assert parse_source(text).shown == shown


_NAME = st.text(
    st.characters(min_codepoint=33, exclude_characters="/\\:[]@", exclude_categories=["Cs", "Z"]),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", ".."))


@settings(deadline=None, max_examples=200)
@given(_NAME, st.none() | st.integers(1, 65535), _NAME, st.lists(_NAME, max_size=3))
def test_written_and_read_again(host: str, port: int | None, share: str, below: list[str]):
    if any(character.isspace() or ord(character) < 32 for character in host + share):
        return
    authority = host if port is None else f"{host}:{port}"
    text = "/".join([f"//{authority}", share, *below])
    assert parse_source(text) == Source(host, share, "/".join(below), port)
    assert parse_source(text.replace("/", "\\")) == parse_source(text)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["//", "smb://"]), st.text(max_size=40))
def test_any_text_gives_a_source_or_a_usage_error(start: str, text: str):
    try:
        source = parse_source(start + text)
    except UsageError:
        return
    assert source.host
    assert source.share
    assert ".." not in source.subdir.split("/")
