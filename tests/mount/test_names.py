"""Every name that the server's disk, SMB and Linux can all hold is listed, found and read.

Files are made on the server's disk under the names that SMB clients of the ``mapposix`` kind write,
and read under the names that local programs use. Symlinks as Minshall+French files.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.vfs.inodes.directory import CALM
from tests.mount.reading import WAYS, compare, compare_trees, content
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

PRIVATE = dict(zip('"*:<>?\\|', "\uf020\uf021\uf022\uf023\uf024\uf025\uf026\uf027", strict=True))
"""What stands on the server's disk for a character that SMB reserves."""
DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9])( *\..*)?", re.IGNORECASE)
"""DOS's devices: Samba mangles these names, too."""
AT_END = {" ": "\uf028", ".": "\uf029"}

PLAIN = [
    "with spaces  in it",
    " leading blank",
    "grüße",
    "gru\u0308ße",  # decomposed: another name than the one above
    "日本語の名前",
    "𝔉𝔯𝔞𝔨𝔱𝔲𝔯 🐧 \U0010fffd",  # beyond the BMP: surrogate pairs on the wire
    "🦊" * 63,  # 252 bytes of UTF-8, 126 units of UTF-16
    "x" * 255,
    "é" * 127 + "x",  # 255 bytes
    ".hidden",
    "-rf",
    "a'b`c$d#e%f&g(h)i;j!k~l^m=n+o,p@q[r]s{t}",
    "percent%41",
]
MAPPED = [
    *(f"a{reserved}b" for reserved in PRIVATE),
    '\\:*?"<>|',
    "dot at the end.",
    "blank at the end ",
    "...",
    "?",
    "tab\tand\nnewline\x01",
]


def on_disk(name: str) -> str:
    """The server's name for a local one, written down independently of the product."""
    mapped = "".join(
        PRIVATE.get(letter) or (chr(0xF000 + ord(letter)) if letter < " " else letter)
        for letter in name
    )
    return mapped[:-1] + AT_END.get(mapped[-1], mapped[-1])


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    path = samba.path / "names"
    path.mkdir(exist_ok=True)
    return path


def test_all_names_are_listed_found_and_read(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """Files, and folders of such names with a file of the same name inside."""
    files, folders = folder / "files", folder / "folders"
    files.mkdir()
    for name in PLAIN + MAPPED:
        (files / on_disk(name)).write_text(name)
        (folders / on_disk(name)).mkdir(parents=True)
        (folders / on_disk(name) / on_disk(name)).write_text(name * 2)
    mounted = mount(samba)
    here = mounted.path / folder.name
    assert sorted(os.listdir(here / "files")) == sorted(PLAIN + MAPPED)
    assert sorted(os.listdir(here / "folders")) == sorted(PLAIN + MAPPED)
    for name in PLAIN + MAPPED:
        for direct in WAYS:
            assert content(here / "files" / name, direct=direct) == name.encode()
        assert os.listdir(here / "folders" / name) == [name]
        assert content(here / "folders" / name / name) == (name * 2).encode()
    for name in PLAIN:
        compare(here / "files" / name, files / name)
    mounted.remount()
    for name in PLAIN + MAPPED:  # looked up before anything was listed
        assert content(here / "files" / name) == name.encode()


def test_names_that_are_not_there(folder: Path, samba: PrivateSamba, mount: Mount) -> None:
    """Absent and impossible names are an errno of the right kind, and no state stays behind."""
    (folder / "present").write_text("x")
    here = mount(samba).path / folder.name
    for name in ("absent", "a:b", "trailing.", "🐧", "present/below"):
        with pytest.raises((FileNotFoundError, NotADirectoryError)):
            (here / name).stat()
    with pytest.raises(OSError, match=r"File name too long|No such file"):
        os.stat(here / ("y" * 256))
    with pytest.raises(OSError, match=r"No such file|Invalid"):
        os.stat(os.fsencode(here) + b"/not-utf8-\xff")
    assert (here / "present").read_text() == "x"


def test_mangled_names_appear_mangled_and_can_be_read(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """``a:b`` itself on the server's disk: Samba makes up a short name, and that one works."""
    odd = folder / "odd"
    odd.mkdir()
    (odd / "a:b").write_text("colon")
    here = mount(samba).path / folder.name / "odd"
    (name,) = os.listdir(here)
    assert "~" in name
    assert (here / name).read_text() == "colon"


def test_what_is_listed_is_found_by_that_name(
    samba_factory: Callable[..., PrivateSamba], mount: Mount
) -> None:
    """Also where a server lists what no name should be, and what is in it."""
    server = samba_factory({"mangled names": "no"})
    for name in ("R.E.M.", "blank ", "plain"):
        (server.path / name).mkdir()
        (server.path / name / "song").write_text(name)
    (server.path / "a\uf029b").write_text("private")
    (server.path / "a.b").write_text("dot")
    here = mount(server).path
    listed = {"R.E.M.", "blank ", "plain"}
    assert listed | {"a.b", "a\uf029b"} <= set(os.listdir(here))
    assert {(here / name / "song").read_text() for name in listed} == listed
    assert ((here / "a.b").read_text(), (here / "a\uf029b").read_text()) == ("dot", "private")


def test_what_is_listed_by_another_name_is_still_there(
    folder: Path, samba: PrivateSamba, mount: Mount
) -> None:
    """DOS's devices: Samba lists a short name and finds both, whatever was listed."""
    (folder / "aux.txt").write_text("aux")
    here = mount(samba, "actimeo=0.1").path / folder.name
    assert "aux.txt" not in os.listdir(here)
    time.sleep(CALM + 0.1)  # from then on what is not listed is not there
    assert (here / "aux.txt").read_text() == "aux"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(names=st.data())
def test_drawn_names(named: tuple[Path, Path], names: st.DataObject) -> None:
    """Any text without "/" and NUL that fits into the server's file system."""
    letters = st.characters(exclude_characters="/\0~", exclude_categories=["Cs", "Co", "Cn"])
    name = names.draw(
        st.text(letters, min_size=1, max_size=80)
        .filter(lambda text: text not in (".", "..") and not DEVICE.fullmatch(text))
        .filter(lambda text: len(os.fsencode(on_disk(text))) <= 255)
    )
    there, here = named
    path = there / on_disk(name)
    path.write_bytes(name.encode())
    try:
        assert content(here / name) == name.encode()
        assert name in os.listdir(here)
    finally:
        path.unlink()


@pytest.fixture
def named(folder: Path, samba: PrivateSamba, mount: Mount) -> tuple[Path, Path]:
    """A folder on the server's disk, and the same on a mount that trusts names for no time: Samba
    knows no case, so a drawn name may be there and gone in another spelling.
    """
    there = folder / "drawn"
    there.mkdir()
    return there, mount(samba, "actimeo=0").path / folder.name / "drawn"


def mfsymlink(target: str) -> bytes:
    """A Minshall+French symlink file: 1067 bytes."""
    raw = target.encode()
    head = b"XSym\n%04u\n%s\n" % (len(raw), hashlib.md5(raw).hexdigest().encode())
    padded = (head + raw + b"\n").ljust(1067, b" ")
    return padded[:1067]


def test_mfsymlinks_are_symlinks(folder: Path, samba: PrivateSamba, mount: Mount) -> None:
    """readlink, following, listing types; and what only looks like one is a file."""
    links = folder / "links"
    (links / "below").mkdir(parents=True)
    (links / "target").write_text("the target")
    (links / "below" / "inner").write_text("inner")
    targets = {
        "to-file": "target",
        "to-folder": "below",
        "up-and-down": "below/../target",
        "dangling": "nowhere/🐧 ünïcode",
        "absolute": "/etc/hostname",
        "long": "x" * 1023,
        "loop": "loop",
    }
    for name, target in targets.items():
        (links / name).write_bytes(mfsymlink(target))
    wrong = mfsymlink("target").replace(b"XSym\n0006", b"XSym\n0007")
    (links / "wrong").write_bytes(wrong)
    (links / "only-the-size").write_bytes(b"z" * 1067)

    mounted = mount(samba)
    here = mounted.path / folder.name / "links"
    kinds = {entry.name: entry.is_symlink() for entry in os.scandir(here)}
    assert {name for name, link in kinds.items() if link} == set(targets)
    for name, target in targets.items():
        assert os.readlink(here / name) == target
        assert (here / name).lstat().st_size == len(target.encode())
    assert content(here / "to-file") == content(here / "up-and-down") == b"the target"
    assert os.listdir(here / "to-folder") == ["inner"]
    assert (here / "to-folder" / "inner").read_text() == "inner"
    for name in ("dangling", "loop"):
        with pytest.raises(OSError, match=r"No such file|Too many levels"):
            content(here / name)
    assert content(here / "wrong") == wrong
    assert content(here / "only-the-size") == b"z" * 1067
    compare_trees(here / "to-folder", links / "below")
