"""Imports point down only, and never in a circle.

Every import counts: inside functions, under ``TYPE_CHECKING``, and those whose name is a string
(``import_module("netfsfuse.mount")``).

Three tables are the drawing of the house. ``HOUSES`` says which packages a package may import,
``FLOORS`` the order of the rooms inside a package, ``ONLY_IN`` which rooms alone may import a
library. What the drawing does not allow yet stands in ``EXCEPTIONS`` with its reason, and an
exception that is no longer needed fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LEAVES = {
    "errors",
    "types",
    "config",
    "stats",
    "mountinfo",
    "printable",
    "tasks",
    "signals",
    "descriptors",
    "ending",
    "surroundings",
    "priority_gate",
    "idle",
}
"""Every package may import a leaf; a leaf imports nothing of ours."""

HOUSES: dict[str, set[str]] = {
    "netfs": set(),
    "smb": {"netfs"},
    "vfs": {"netfs"},
    "fscache": {"netfs"},
    "fuse": {"vfs"},
    "servers": {"smb"},
    "mount": {"servers", "fuse", "vfs", "netfs", "fscache"},
    "warm": {"fscache"},
    "lab": set(),
    "cli": {"mount", "warm", "fscache", "lab"},  # `netfsfuse demo` and `bench` are two commands
    "__main__": {"cli"},
}
"""Which packages, leaves aside, a package may import besides itself."""

FLOORS: dict[str, list[set[str]]] = {
    "netfsfuse/netfs": [
        {"demand"},
        {"memory", "readahead"},
        {"ops"},
        {"io"},
        {"read", "write"},
        {"inode"},
        {"service"},
        {"__init__"},
    ],
    "netfsfuse/smb": [
        {"status"},
        {"wire"},
        {"connection"},
        {"session"},
        {"share"},
        {"connect"},
        {"__init__"},
    ],
    "netfsfuse/vfs": [
        {"ops"},
        {"contents"},
        {"inodes"},
        {"coherency", "feed"},
        {"tree", "xattrs"},
        {"prefetch"},
        {"files"},
        {"filesystem"},
        {"__init__"},
    ],
    "netfsfuse/lab": [
        {"signals", "mounts"},
        {"server", "link"},
        {"bench", "demo"},
        {"__init__"},
    ],
}
"""The rooms of a package from the ground up: a room imports those of lower floors, and itself."""

ONLY_IN = {
    "pyfuse3": "netfsfuse/fuse/",
    "smbprotocol": "netfsfuse/smb/",
    "spnego": "netfsfuse/smb/",
    "threading": "netfsfuse/smb/session/bridge.py",
    "_thread": "netfsfuse/smb/session/bridge.py",
    "cachefiles": "netfsfuse/fscache/",
}
"""Who alone in netfsfuse may import a module."""

ONLY_IN_ADMIN = {"click", "rich"}
"""What in cachefiles only ``cachefiles/admin/`` may import."""

NOT_IN_CACHEFILES = {"netfsfuse", "trio", "pyfuse3", "smbprotocol", "spnego"}

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""(importing file, imported file) -> why the drawing does not hold there yet."""

Sources = Mapping[str, str]
"""Source text by path, relative to the root."""


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, dotted name in parts) of everything imported in ``tree``, a module of ``package``.

    A name that is computed is given as ``["?"]``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node.lineno, [*base, alias.name]
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "__import__"}:
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                plain = name.value.lstrip(".")
                level = len(name.value) - len(plain)
                base = package[: len(package) - level + 1] if level else []
                yield node.lineno, [*base, *plain.split(".")]
            else:
                yield node.lineno, ["?"]


def called(call: ast.Call) -> str:
    """The last part of the name of what is called; empty for anything that is not a name."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def names_in(path: str, source: str) -> Iterator[tuple[int, list[str]]]:
    return imported(ast.parse(source), path.removesuffix(".py").split("/")[:-1])


def floor(package: str, parts: list[str]) -> tuple[str, int] | None:
    """The room in ``package`` that ``parts`` (a path or dotted name) is of, and its floor.

    None for what is not of that package. A name that is no room is of the ``__init__``.
    """
    base = package.split("/")
    if parts[: len(base)] != base:
        return None
    room = parts[len(base)] if len(parts) > len(base) else "__init__"
    for number, rooms in enumerate(FLOORS[package]):
        if room in rooms:
            return room, number
    return "__init__", len(FLOORS[package]) - 1


def between_rooms(parts: list[str], name: list[str]) -> str | None:
    """What is wrong when ``parts`` (of a path) imports ``name``, a room of the same package."""
    for package in FLOORS:
        here, there = floor(package, parts), floor(package, name)
        if here and there and here[0] != there[0] and there[1] >= here[1]:
            return f"{here[0]!r} must not import {there[0]!r}"
    return None


def between_houses(part: str, name: str) -> str | None:
    """What is wrong when the package ``part`` of netfsfuse imports the package ``name``."""
    if part == "__init__":
        return "the package itself imports nothing"
    if name not in LEAVES and name not in HOUSES:
        return f"{name!r} has no place in the house"
    if part in LEAVES:
        return f"{part!r} is a leaf and imports nothing of ours"
    if name != part and name not in LEAVES | HOUSES[part]:
        return f"{part!r} must not import {name!r}"
    return None


def in_cachefiles(path: str, name: list[str]) -> str | None:
    """What is wrong when the file ``path`` of cachefiles imports ``name``."""
    admin = path.startswith("cachefiles/admin/")
    if name[0] in NOT_IN_CACHEFILES:
        return "cachefiles is a library of its own"
    if name[0] in ONLY_IN_ADMIN and not admin:
        return "only in cachefiles/admin/"
    if name[:2] == ["cachefiles", "admin"] and not admin and path != "cachefiles/__main__.py":
        return "the library must not import its own command"
    return None


def fault(path: str, name: list[str]) -> str | None:
    """What is wrong when the file ``path`` (relative to the root) imports ``name``."""
    parts = path.removesuffix(".py").split("/")
    if name == ["?"]:
        return "import by a computed name: floors cannot be told"
    if parts[0] == "cachefiles":
        return in_cachefiles(path, name)
    if name[0] in ONLY_IN and not path.startswith(ONLY_IN[name[0]]):
        return f"only in {ONLY_IN[name[0]]}"
    if name[0] != "netfsfuse" or len(name) < 2 or name[1] == "__version__":
        return None
    return between_houses(parts[1], name[1]) or between_rooms(parts, name)


def file_of(name: list[str], files: Sources) -> str | None:
    """The file that the dotted ``name`` is, or is defined in; None for what is not ours."""
    for parts in (name, name[:-1]):
        for path in ("/".join(parts) + ".py", "/".join([*parts, "__init__.py"])):
            if path in files:
                return path
    return None


def faults(path: str, source: str, files: Sources | None = None) -> list[str]:
    """What is wrong with the imports of the file ``path``, without those in ``EXCEPTIONS``."""
    found = []
    for line, name in names_in(path, source):
        wrong = fault(path, name)
        if wrong and (path, file_of(name, files or {})) not in EXCEPTIONS:
            found.append(f"{path}:{line}: {'.'.join(name)}: {wrong}")
    return found


def edges(files: Sources) -> dict[str, set[str]]:
    """Which of our files each of our files imports.

    That importing ``a.b`` runs ``a/__init__.py`` does not count: every package that hands out names
    of its own rooms would be a circle.
    """
    graph: dict[str, set[str]] = {path: set() for path in files}
    for path, source in files.items():
        for _, name in names_in(path, source):
            target = file_of(name, files)
            if target and target != path:
                graph[path].add(target)
    return graph


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """What can be come to from ``start`` by one import or more."""
    found: set[str] = set()
    to_do = list(graph[start])
    while to_do:
        path = to_do.pop()
        if path not in found:
            found.add(path)
            to_do.extend(graph[path])
    return found


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of files that import one another, each sorted."""
    far = {path: reached(graph, path) for path in graph}
    found = {
        tuple(sorted(other for other in far[path] if path in far[other]))
        for path in graph
        if path in far[path]
    }
    return sorted(list(circle) for circle in found)


def our_files() -> dict[str, str]:
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for package in ("netfsfuse", "cachefiles")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


FILES = our_files()


@pytest.mark.parametrize("path", FILES)
def test_imports_point_down(path):
    assert faults(path, FILES[path], FILES) == []


@pytest.mark.parametrize("path", FILES)
def test_every_file_has_a_place_in_the_house(path):
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "netfsfuse":
        assert parts[1] in {*LEAVES, *HOUSES, "__init__"}
    for package, floors in FLOORS.items():
        if path.startswith(package + "/"):
            assert any(parts[2] in rooms for rooms in floors), "a new room needs a floor"


def test_no_circle_of_files():
    graph = {
        path: {target for target in targets if (path, target) not in EXCEPTIONS}
        for path, targets in edges(FILES).items()
    }
    assert circles(graph) == []


def is_needed(path: str, target: str) -> bool:
    """Whether ``path`` imports ``target`` against the drawing, or in a circle."""
    graph = edges(FILES)
    wrong = [name for _, name in names_in(path, FILES.get(path, "")) if fault(path, name)]
    against = any(file_of(name, FILES) == target for name in wrong)
    return against or (target in graph.get(path, ()) and path in reached(graph, target))


def test_every_exception_is_still_needed():
    assert [each for each in EXCEPTIONS if not is_needed(*each)] == [], "delete these exceptions"


def test_the_drawing_itself_has_no_circle():
    assert circles(HOUSES) == []


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
        ("netfsfuse/vfs/inodes/inodes.py", "from netfsfuse.smb.share import file"),
        ("netfsfuse/fuse/session.py", "from netfsfuse.netfs.memory.buffer import Buffer"),
        ("netfsfuse/mount.py", "from netfsfuse.smb.session.session import Session"),
        ("netfsfuse/mount.py", "from netfsfuse.lab import signals"),
        ("netfsfuse/lab/bench/run.py", "from netfsfuse.mount import run"),
        ("netfsfuse/lab/server/smbd.py", "from netfsfuse.lab.bench.run import run_bench"),
        ("netfsfuse/smb/wire/header.py", "from netfsfuse.smb.connection import crypto"),
        ("netfsfuse/smb/session/session.py", "from ..share.handle import ServerHandle"),
        ("netfsfuse/vfs/tree/names.py", "from netfsfuse.vfs.prefetch import order"),
        ("netfsfuse/vfs/coherency/trust.py", "from netfsfuse.vfs.feed import feeds"),
        ("netfsfuse/netfs/readahead/link.py", "from netfsfuse.netfs.memory import pool"),
        ("netfsfuse/netfs/read/read.py", "from netfsfuse.netfs.write.dirty import Dirty"),
        ("netfsfuse/netfs/io/issue.py", "from netfsfuse.netfs import Netfs"),
        ("netfsfuse/vfs/ops.py", 'import_module("netfsfuse.fuse.session")'),
        ("netfsfuse/vfs/ops.py", 'importlib.import_module("netfsfuse.smb.status")'),
        ("netfsfuse/vfs/ops.py", '__import__("pyfuse3")'),
        ("netfsfuse/vfs/ops.py", 'import_module("..fuse.session", __package__)'),
        ("netfsfuse/vfs/ops.py", "import_module(name)"),
        ("cachefiles/object.py", "import click"),
        ("cachefiles/object.py", "from cachefiles.admin import survey"),
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
        ("netfsfuse/servers.py", "from netfsfuse.smb.session.session import Session"),
        ("netfsfuse/smb/share/file.py", "from ..wire.read import READ"),
        ("netfsfuse/vfs/files/files.py", "from netfsfuse.vfs.prefetch import order"),
        ("netfsfuse/netfs/inode.py", "from netfsfuse.netfs.read.read import NetfsFile"),
        ("netfsfuse/cli/mount.py", 'import_module("netfsfuse.mount")'),
        ("netfsfuse/vfs/ops.py", 'monkeypatch.setattr("netfsfuse.smb.status.known", {})'),
        ("netfsfuse/fscache/command.py", "from cachefiles.admin.command import cache"),
        ("cachefiles/admin/command.py", "import click\nfrom cachefiles import object"),
        ("cachefiles/__main__.py", "from cachefiles.admin.command import cache"),
    ],
)
def test_what_is_allowed_is_not_a_fault(path, source):
    assert faults(path, source) == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.py": "import b", "b.py": "import c", "c.py": ""}, []),
        ({"a.py": "import b", "b.py": "def f():\n    import a"}, ["a b"]),
        ({"a.py": "import b", "b.py": "import c", "c.py": "from a import x, y"}, ["a b c"]),
        ({"a.py": "import b", "b.py": 'import_module("a")'}, ["a b"]),
        ({"p/__init__.py": "from p.a import x", "p/a.py": "from p import x"}, ["p/__init__ p/a"]),
        ({"p/__init__.py": "from p.a import x", "p/a.py": "import p.b", "p/b.py": ""}, []),
        ({"a.py": "import b, d", "b.py": "import a", "c.py": "import a", "d.py": ""}, ["a b"]),
    ],
)
def test_a_circle_is_found(files, found):
    expected = [[f"{name}.py" for name in circle.split()] for circle in found]
    assert circles(edges(files)) == expected
