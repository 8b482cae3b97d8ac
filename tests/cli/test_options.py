"""The ``-o`` table: what each option does, what is refused, and that no secret comes out."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.cli import foreign
from netfsfuse.cli.choices import Choices, Invoker, build_config
from netfsfuse.cli.options import parse_options
from netfsfuse.cli.source import Source
from netfsfuse.cli.table import GROUPS, OPTIONS
from netfsfuse.config import Credentials, MountConfig
from netfsfuse.errors import UsageError

USER = Invoker(1000, 1001, Path("/home/bob"))
ROOT = Invoker(0, 0, Path("/root"))
NAS = Source("nas", "films", "old", 4450)


def config_of(*texts: str, invoker: Invoker = USER, source: Source = NAS) -> MountConfig:
    return build_config(
        parse_options(texts), source, Path("/mnt"), Credentials("bob"), invoker, foreground=False
    )


def test_defaults():
    config = config_of()
    assert config.source == "//nas/films/old"
    assert config.server.port == 4450
    assert config.server.subdir == "old"
    assert config.server.dialect is None
    assert config.cache.enabled
    assert config.cache.directory is None
    assert (config.shown.uid, config.shown.gid) == (1000, 1001)
    assert not config.allow_other
    assert not config.default_permissions
    assert config.mount_flags == ()
    assert config.log is None
    assert parse_options([]).notices == []


def test_root_lets_others_in_and_checks_modes():
    config = config_of(invoker=ROOT)
    assert config.allow_other
    assert config.default_permissions
    assert not config_of("noperm", invoker=ROOT).default_permissions


def test_an_ordinary_user_who_lets_others_in_checks_modes():
    config = config_of("allow_other")
    assert (config.allow_other, config.default_permissions) == (True, True)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("port=1445", "server.port", 1445),
        ("ip=10.0.0.1", "server.address", "10.0.0.1"),
        ("addr=10.0.0.1", "server.address", "10.0.0.1"),
        ("vers=2.1", "server.dialect", "2.1"),
        ("vers=3.0", "server.dialect", "3.0"),
        ("vers=3.02", "server.dialect", "3.0.2"),
        ("vers=3.0.2", "server.dialect", "3.0.2"),
        ("vers=3.11", "server.dialect", "3.1.1"),
        ("vers=3.1.1", "server.dialect", "3.1.1"),
        ("vers=3.1.1,vers=3", "server.dialect", None),
        ("vers=3.1.1,vers=default", "server.dialect", None),
        ("sign", "server.sign", True),
        ("sec=ntlmsspi", "server.sign", True),
        ("sec=krb5i", "server.sign", True),
        ("sign,sec=ntlmssp", "server.sign", True),
        ("sec=krb5i,sec=krb5", "server.sign", False),
        ("", "server.wants_signing", True),
        ("nosign", "server.wants_signing", False),
        ("nosign,sign", "server.wants_signing", True),
        ("nosign,sign", "server.sign_unasked", True),
        ("sign,nosign", "server.wants_signing", False),
        ("nosign,sec=krb5i", "server.wants_signing", True),
        ("guest,sign", "server.wants_signing", True),
        ("seal", "server.seal", True),
        ("max_credits=20", "server.max_credits", 20),
        ("max_credits=60000", "server.max_credits", 60000),
        ("rsize=64K", "read.rsize", 65536),
        ("rsize=8M", "read.rsize", 8 << 20),
        ("rsize=100000", "read.rsize", 65536),
        ("rasize=4M", "read.rasize", 4 << 20),
        ("nofsc", "cache.enabled", False),
        ("nofsc,fsc", "cache.enabled", True),
        ("fsc,cache=none", "cache.enabled", False),
        ("cache=strict", "cache.enabled", True),
        ("nofsc,cache=strict", "cache.enabled", False),
        ("cachedir=/var/c", "cache.directory", Path("/var/c")),
        ("cachedir=c/d", "cache.directory", Path("/home/bob/c/d")),
        ("log=my.log", "log", Path("/home/bob/my.log")),
        ("debug", "debug", True),
        ("uid=7", "shown.uid", 7),
        ("uid=root", "shown.uid", 0),
        ("gid=root", "shown.gid", 0),
        ("file_mode=0640", "shown.file_mode", 0o640),
        ("file_mode=640", "shown.file_mode", 0o640),
        ("dir_mode=0o750", "shown.dir_mode", 0o750),
        ("dirmode=2775", "shown.dir_mode", 0o2775),
        ("actimeo=0.5", "trust.acregmax", 0.5),
        ("actimeo=60", "trust.acdirmax", 60.0),
        ("noac", "trust.acregmax", 0.0),
        ("noac,actimeo=3", "trust.acdirmax", 3.0),
        ("acregmax=5,acdirmax=3", "trust.acregmax", 5.0),
        ("acregmax=5,acdirmax=3", "trust.acdirmax", 3.0),
        ("acregmax=60", "trust.acdirmax", 1.0),
        ("wsize=64K", "write.wsize", 65536),
        ("wsize=8M", "write.wsize", 8 << 20),
        ("ro", "write.wsize", None),
        ("sync", "write.sync", True),
        ("rw", "write.sync", False),
        ("async,sync", "write.close_waits", True),
        ("async", "write.close_waits", False),
        ("asyncclose", "write.close_waits", False),
        ("sync,async", "write.sync", False),
        ("defaults", "write.close_waits", True),
        ("nostrictsync", "write.strict_sync", False),
        ("nostrictsync,strictsync", "write.strict_sync", True),
        ("ro", "read_only", True),
        ("ro,rw", "read_only", False),
        ("cache=loose", "trust.mode", "loose"),
        ("cache=ro", "trust.mode", "loose"),
        ("cache=none", "trust.mode", "none"),
        ("cache=none,cache=strict", "cache.enabled", True),
        ("nomfsymlinks", "shown.mfsymlinks", False),
        ("nomfsymlinks,mfsymlinks", "shown.mfsymlinks", True),
        ("default_permissions", "default_permissions", True),
        ("nosuid,nodev,noexec", "mount_flags", ("nosuid", "nodev", "noexec")),
        ("noatime,nodiratime", "mount_flags", ("noatime", "nodiratime")),
        ("dev,suid,exec,relatime", "mount_flags", ()),
        ("nosuid,suid", "mount_flags", ()),
    ],
)
def test_lands_in_the_config(text: str, path: str, value: Any):
    found: Any = config_of(text)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    again: Any = config_of(*text.split(","))
    for name in path.split("."):
        again = getattr(again, name)
    assert again == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user=bob", {"username": "bob"}),
        ("username=bob", {"username": "bob"}),
        ("user=DOM/bob", {"username": "bob", "domain": "DOM"}),
        ("user=DOM\\bob", {"username": "bob", "domain": "DOM"}),
        ("user=bob@REALM", {"username": "bob@REALM", "domain": None}),
        ("user=DOM/bob%a%b", {"username": "bob", "domain": "DOM", "password": "a%b"}),
        ("user=bob%", {"username": "bob", "password": ""}),
        ("pass=a=b", {"password": "a=b"}),
        ("password= x ", {"password": " x "}),
        ("pass=", {"password": ""}),
        ("dom=D", {"domain": "D"}),
        ("workgroup=D", {"domain": "D"}),
        ("cred=f", {"credentials_file": "f"}),
        ("credentials=f", {"credentials_file": "f"}),
        ("guest", {"guest": True}),
        ("sec=none", {"anonymous": True}),
        ("sec=ntlmv2i", {"mechanism": "ntlm", "sec_sign": True}),
        ("sec=krb5", {"mechanism": "kerberos"}),
        ("user", {"username": None}),
        ("user=a,user=b", {"username": "b"}),
    ],
)
def test_login(text: str, expected: dict[str, Any]):
    choices = parse_options([text])
    assert {name: getattr(choices, name) for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "port=0",
        "port=65536",
        "port=abc",
        "port=-1",
        "port=",
        "port",
        "max_credits=19",
        "max_credits=60001",
        "rsize=63K",
        "rsize=9M",
        "wsize=63K",
        "wsize=9M",
        "sync=1",
        "rsize=4Q",
        "rasize=1G",
        "actimeo=-1",
        "actimeo=nan",
        "actimeo=inf",
        "actimeo=x",
        "file_mode=0888",
        "file_mode=77777",
        "dir_mode=rwx",
        "uid=4294967295",
        "uid=nobody-by-this-name",
        "gid=nobody-by-this-name",
        "vers=1.0",
        "vers=2.0",
        "vers=4",
        "sec=ntlm",
        "sec=lanman",
        "sec=krb5p",
        "sec=foo",
        "cache=maybe",
        "iocharset=latin1",
        "user=",
        "user=%x",
        "sign=1",
        "nofail=1",
        "credentials=",
    ],
)
def test_refused_naming_the_option(text: str):
    with pytest.raises(UsageError) as caught:
        parse_options([text])
    assert text.partition("=")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("uesr=x", "user"),
        ("actimo=1", "actimeo"),
        ("rszie=1M", "rsize"),
        ("max_credit=64", "max_credits"),
        ("credential=f", "credentials"),
        ("no_atime", "noatime"),
    ],
)
def test_unknown_option_is_named_with_the_nearest(typed: str, nearest: str):
    with pytest.raises(UsageError) as caught:
        parse_options(["ro", typed])
    assert typed.partition("=")[0] in str(caught.value)
    assert nearest in str(caught.value)


def test_fstab_words_are_accepted_without_a_word():
    words = "rw,dev,suid,exec,auto,nofail,_netdev,user,x-systemd.automount,comment=x,defaults"
    choices = parse_options([words])
    assert choices.notices == []
    assert choices.username is None
    for word in foreign.FSTAB | foreign.ALREADY_SO:
        assert parse_options([word]).notices == []


@pytest.mark.parametrize(
    ("text", "read_only"), [("nofsc", False), ("ro", True), ("rw,ro", True), ("ro,rw,rw", False)]
)
def test_writable_unless_ro_is_the_last_word(text: str, read_only: bool):
    choices = parse_options([text])
    assert choices.read_only is read_only
    assert choices.notices == []


@pytest.mark.parametrize("name", sorted(foreign.NOT_YET))
def test_not_yet(name: str):
    with pytest.raises(UsageError, match=f"option {name} is not supported yet"):
        parse_options([f"{name}=x"])


def test_not_tuned_yet_says_so():
    assert parse_options(["bsize=65536"]).notices == ["option bsize has no effect yet"]


def test_sloppy_ignores_with_a_notice_wherever_it_stands():
    choices = parse_options(["uesr=x", "sloppy"])
    assert any("uesr" in line and "ignored" in line for line in choices.notices)
    assert choices.public == ["sloppy"]


def test_names_belong_to_one_table():
    names = [option_name for option_name in OPTIONS if option_name != "user"]
    everywhere = [foreign.FSTAB, foreign.ALREADY_SO, foreign.NOT_TUNED_YET, foreign.NOT_YET]
    for index, words in enumerate(everywhere):
        assert not words & set(names)
        for others in everywhere[index + 1 :]:
            assert not words & others


def test_every_shown_option_has_help():
    assert all(option.help for group in GROUPS.values() for option in group)


def test_public_options_give_the_same_choices_but_the_password():
    text = "user=D/bob%geheim,pass=other,rsize=64K,ro,noac,x-foo,fsc,cachedir=c"
    choices = parse_options([text])
    again = parse_options([",".join(choices.public)])
    assert choices.exposed
    assert not again.exposed
    assert "geheim" not in repr(choices)
    assert replace(
        again, password="other", public=[], notices=[], exposed=True, withheld=True
    ) == replace(choices, public=[], notices=[])


SECRET = "Xq7-geheim"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.sampled_from(
            [
                f"pass={SECRET}",
                f"password={SECRET}",
                f"user=bob%{SECRET}",
                f"user=bob%{SECRET},{SECRET}",
                f"pass=x,{SECRET}",
                f"pass2={SECRET}",
                f"passwd={SECRET}",
                "port=x",
                "ro",
                "sloppy",
                "rw",
                "",
                "uesr=1",
            ]
        ),
        max_size=5,
    )
)
def test_no_secret_comes_out(items: list[str]):
    try:
        choices = parse_options([",".join(items)])
    except UsageError as error:
        line = str(error)
        choices = Choices()
    else:
        line = ""
        if any(SECRET in item for item in items):
            assert choices.withheld
    assert SECRET not in line
    assert SECRET not in ",".join(choices.public)
    assert SECRET not in "\n".join(choices.notices)
    assert SECRET not in repr(choices)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=20), max_size=3))
def test_any_text_gives_choices_or_a_usage_error(texts: list[str]):
    with contextlib.suppress(UsageError):
        assert isinstance(parse_options(texts), Choices)


@pytest.mark.parametrize("number", ["0", "17", "99", "-1", "two"])
def test_a_number_of_channels_that_cannot_be_names_the_range(number):
    with pytest.raises(UsageError, match="must be a number from 1 to 16"):
        parse_options([f"max_channels={number}"])


@pytest.mark.parametrize("size", ["0", "3G"])
def test_a_request_size_that_cannot_be_names_the_range(size):
    with pytest.raises(UsageError, match=f"rsize={size}: must be from 64.0 KiB to 8.0 MiB"):
        parse_options([f"rsize={size}"])
