"""Imports point down only. Every import counts: inside functions and under TYPE_CHECKING too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

RANKS = {
    "errors": 0,
    "types": 0,
    "config": 0,
    "stats": 0,
    "mountinfo": 0,
    "printable": 0,
    "tasks": 0,
    "signals": 0,
    "descriptors": 0,
    "ending": 0,
    "netfs": 1,
    "smb": 2,
    "fscache": 2,
    "vfs": 2,
    "fuse": 3,
    "mount": 4,
    "warm": 4,
    "lab": 5,
    "cli": 6,  # `netfsfuse demo` and `bench` are two of its commands
    "__main__": 7,
}
"""A part of netfsfuse may import parts of a lower rank, and itself."""

ONLY_IN = {
    "pyfuse3": "netfsfuse/fuse/",
    "smbprotocol": "netfsfuse/smb/",
    "spnego": "netfsfuse/smb/",
    "threading": "netfsfuse/smb/session/bridge.py",
    "_thread": "netfsfuse/smb/session/bridge.py",
    "cachefiles": "netfsfuse/fscache/",
}
"""Who alone in netfsfuse may import a module."""

NOT_IN_CACHEFILES = {"netfsfuse", "trio", "pyfuse3", "smbprotocol", "spnego"}


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, dotted name in parts) of everything imported in ``tree``, a module of ``package``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node.lineno, [*base, alias.name]


def faults(path: str, source: str) -> list[str]:
    """What is wrong with the imports of the file ``path`` (relative to the root)."""
    parts = path.removesuffix(".py").split("/")
    package, part = parts[:-1], parts[1]
    found = []
    for line, name in imported(ast.parse(source), package):
        top = name[0]
        where = f"{path}:{line}: {'.'.join(name)}"
        if parts[0] == "cachefiles":
            if top in NOT_IN_CACHEFILES:
                found.append(f"{where}: cachefiles is a library of its own")
            continue
        if top in ONLY_IN and not path.startswith(ONLY_IN[top]):
            found.append(f"{where}: only in {ONLY_IN[top]}")
        if top != "netfsfuse" or len(name) < 2 or name[1] == "__version__":
            continue
        if part == "__init__":
            found.append(f"{where}: the package itself imports nothing")
        elif name[1] not in RANKS:
            found.append(f"{where}: {name[1]!r} has no rank")
        elif name[1] != part and RANKS[name[1]] >= RANKS[part]:
            found.append(f"{where}: {part!r} must not import {name[1]!r}")
    return found


def sources() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for package in ("netfsfuse", "cachefiles")
        for path in (ROOT / package).rglob("*.py")
    )


@pytest.mark.parametrize("path", sources())
def test_imports_point_down(path):
    assert faults(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", sources())
def test_every_part_has_a_rank(path):
    part = path.removesuffix(".py").split("/")[1]
    assert path.startswith("cachefiles/") or part in {*RANKS, "__init__"}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("netfsfuse/netfs/read/read.py", "from netfsfuse.smb.share.file import SmbFile"),
        ("netfsfuse/netfs/read/read.py", "from ...smb.file import SmbFile"),
        ("netfsfuse/netfs/read/read.py", "from netfsfuse import vfs"),
        ("netfsfuse/smb/share/file.py", "import netfsfuse.fscache.io"),
        ("netfsfuse/smb/share/file.py", "from ...vfs import inodes"),
        ("netfsfuse/fscache/io.py", "def f():\n    from netfsfuse.smb import file"),
        (
            "netfsfuse/vfs/inodes/inodes.py",
            "if TYPE_CHECKING:\n    from netfsfuse.fuse import session",
        ),
        ("netfsfuse/vfs/inodes/inodes.py", "import pyfuse3"),
        ("netfsfuse/mount.py", "from pyfuse3 import FUSEError"),
        ("netfsfuse/mount.py", "from netfsfuse.cli import main"),
        ("netfsfuse/fuse/session.py", "import smbprotocol.connection"),
        ("netfsfuse/smb/session/session.py", "import threading"),
        ("netfsfuse/types.py", "from netfsfuse import errors"),
        ("netfsfuse/__init__.py", "from netfsfuse import mount"),
        ("netfsfuse/vfs/inodes/inodes.py", "import cachefiles"),
        ("netfsfuse/vfs/inodes/inodes.py", "from netfsfuse.novel import thing"),
        ("cachefiles/object.py", "import trio"),
        ("cachefiles/object.py", "from netfsfuse.types import ByteRange"),
    ],
)
def test_a_fault_is_found(path, source):
    assert len(faults(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("netfsfuse/netfs/read/read.py", "from netfsfuse.netfs.io.issue import Issuer"),
        ("netfsfuse/netfs/read/read.py", "from .issue import Issuer"),
        ("netfsfuse/smb/session/bridge.py", "import threading"),
        ("netfsfuse/smb/share/file.py", "from netfsfuse.netfs.memory.buffer import Buffer"),
        ("netfsfuse/fscache/io.py", "import cachefiles"),
        ("netfsfuse/mount.py", "from netfsfuse import __version__, vfs"),
        ("netfsfuse/cli/demo.py", "from netfsfuse.lab.demo.run import run_demo"),
        ("netfsfuse/__main__.py", "from netfsfuse.cli.main import main"),
        ("cachefiles/object.py", "import threading\nfrom cachefiles.key import name"),
    ],
)
def test_what_is_allowed_is_not_a_fault(path, source):
    assert faults(path, source) == []
