"""The table in the docstring of ``trust``, walked row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netfsfuse.config import TrustConfig
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.coherency import trust
from netfsfuse.vfs.inodes.directory import CALM, WATCH_TRUST, Folder, Watched
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import dir_attr, file_attr

NOW = 1000.0
ASKED = NOW - 10.0
MODES = {
    "strict": TrustConfig(),
    "loose": TrustConfig(mode="loose"),
    "none": TrustConfig(mode="none"),
    "nolease": TrustConfig(unasked=False),
}


def watched_inode(*, begun: float = ASKED - 1) -> tuple[Inode, Watched]:
    parent = Inode(1, None, "", dir_attr(1))
    parent.watched = Watched(begun)
    attr = file_attr(11, 3)
    parent.folder = Folder({"f": attr, "other": file_attr(12, 3)}, ASKED)
    parent.watched.listed(parent.folder)
    inode = Inode(11, parent, "f", attr)
    inode.known_at = ASKED
    return inode, parent.watched


def told(name: str, when: float) -> Inode:
    inode, watched = watched_inode()
    inode.attr_until = NOW + 1.0
    assert inode.parent is not None
    watched.told([Change(name, ChangeKind.MODIFIED)], when, inode.parent.folder)
    return inode


def watch() -> Inode:
    return watched_inode()[0]


def changed(inode: Inode, **fields: object) -> Inode:
    for field, value in fields.items():
        setattr(inode, field, value)
    return inode


def unwatched(inode: Inode) -> Inode:
    assert inode.parent is not None
    inode.parent.watched = None
    return inode


SITUATIONS: dict[str, Callable[[], Inode]] = {
    "watch": watch,
    "watch, lifetime": lambda: changed(watch(), attr_until=NOW + 1.0),
    "lifetime": lambda: changed(unwatched(watch()), attr_until=NOW + 1.0),
    "neither": lambda: unwatched(watch()),
    "own change": lambda: told("f", NOW - CALM - 1),
    "strange name told": lambda: told("strange", NOW - CALM - 1),
    "other change, a moment ago": lambda: told("other", NOW - CALM / 2),
    "watch begun later": lambda: watched_inode(begun=ASKED + 1)[0],
    "watch asked long ago": lambda: changed(
        watched_inode(begun=0.0)[0], known_at=NOW - WATCH_TRUST
    ),
    "moved": lambda: changed(watch(), astray=True),
    "followed link": lambda: changed(watch(), linked=True),
    "retired": lambda: changed(unwatched(watch()), attr_until=0.0),
}


def rows() -> list[tuple[str, str, dict[str, str]]]:
    assert trust.__doc__ is not None
    lines = trust.__doc__.splitlines()
    lines = [line for line in lines if line.startswith(("attributes  ", "opens  "))]
    found = []
    for line in lines:
        situation, *cells = line[12:].rsplit(None, len(MODES))
        found.append((line[:12].strip(), situation.strip(), dict(zip(MODES, cells, strict=True))))
    return found


@pytest.mark.parametrize(("question", "situation", "cells"), rows())
def test_the_table_is_true(question: str, situation: str, cells: dict[str, str]) -> None:
    for mode, expected in cells.items():
        inode, config = SITUATIONS[situation](), MODES[mode]
        answer: float
        if question == "attributes":
            answer, reason = trust.attributes(inode, NOW, config.acregmax)
        else:
            answer, reason = trust.opens(inode, NOW, config)
        assert (mode, reason) == (mode, expected)
        assert (answer > 0) == (reason in trust.BELIEVED)


def test_every_situation_is_in_the_table() -> None:
    assert {situation for _, situation, _ in rows()} == set(SITUATIONS)
