"""The table in the docstring of ``trust``, walked row by row."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from netfsfuse.config import TrustConfig
from netfsfuse.types import Change, ChangeKind, FileAttr, ServerTime
from netfsfuse.vfs.coherency import listed_names, trust
from netfsfuse.vfs.coherency.listed_names import Known
from netfsfuse.vfs.coherency.opened import OpenedFiles
from netfsfuse.vfs.coherency.reason import BELIEVED, Reason
from netfsfuse.vfs.inodes.directory import CALM, WATCH_TRUST, Folder, Watched
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import NOW as SERVER_NOW
from tests.vfs.fakes import dir_attr, file_attr

NOW = 1000.0
ASKED = NOW - 10.0
MODES = {
    "strict": TrustConfig(),
    "loose": TrustConfig(mode="loose"),
    "none": TrustConfig(mode="none"),
    "nolease": TrustConfig(open_without_server=False),
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


def told_of_name(name: str) -> Inode:
    inode, watched = watched_inode()
    assert inode.parent is not None
    watched.told([Change(name, ChangeKind.CREATED)], NOW - CALM - 1, inode.parent.folder)
    return inode


def new_and_changed() -> Inode:
    inode, watched = watched_inode()
    assert inode.parent is not None
    for kind in (ChangeKind.CREATED, ChangeKind.MODIFIED):
        watched.told([Change("new", kind)], NOW - CALM - 1, inode.parent.folder)
    return inode


def doubted() -> Inode:
    inode = watch()
    assert inode.parent is not None
    assert inode.parent.folder is not None
    inode.parent.folder.doubt("f")
    return inode


def listed(inode: Inode, attrs: dict[str, FileAttr] | None, asked: float = ASKED) -> Inode:
    assert inode.parent is not None
    inode.parent.folder = None if attrs is None else Folder(attrs, asked)
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
    "watch asked long ago": lambda: listed(
        changed(watched_inode(begun=0.0)[0], known_at=NOW - WATCH_TRUST),
        {"f": file_attr(11, 3)},
        NOW - WATCH_TRUST,
    ),
    "moved": lambda: changed(watch(), astray=True),
    "followed link": lambda: changed(watch(), linked=True),
    "retired": lambda: changed(unwatched(watch()), attr_until=0.0),
    "new name made and changed": new_and_changed,
    "doubted": doubted,
    "name told": lambda: told_of_name("new"),
    "in another case": watch,
    "none kept": lambda: listed(watch(), None),
    "gone from the listing": lambda: listed(watch(), {}),
    "listed since": lambda: changed(watch(), known_at=ASKED - 1),
    "listed since, then gone": lambda: listed(changed(watch(), known_at=ASKED - 1), {}),
    "directory, lifetime": lambda: changed(watch(), attr=dir_attr(11)),
    "directory, neither": lambda: changed(watch(), attr=dir_attr(11)),
    "opened as it is": watch,
    "never opened": watch,
    "opened by another name": watch,
    "seen for long": lambda: changed(watch(), same_since=NOW - 100.0),
    "old by the server's clock": watch,
    "written this moment": lambda: changed(watch(), attr=file_attr(11, 3, age=0.0)),
}


def of_name(name: str) -> Callable[[Inode, str, TrustConfig], tuple[object, Reason]]:
    def ask(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
        assert inode.parent is not None
        assert inode.parent.folder is not None
        asked_for = "F" if situation == "in another case" else name
        lifetime = lifetime_in(situation)
        return listed_names.name(
            inode.parent.folder, inode.parent.watched, asked_for, NOW, lifetime
        )

    return ask


def lifetime_in(situation: str) -> float:
    """Of names that were listed at ``ASKED``."""
    return NOW - ASKED + 1.0 if "lifetime" in situation else 1.0


def of_listing(*, rewound: bool) -> Callable[[Inode, str, TrustConfig], tuple[object, Reason]]:
    def ask(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
        assert inode.parent is not None
        lifetime = lifetime_in(situation)
        directory = inode.parent
        return listed_names.listing(
            directory.folder, directory.watched, NOW, lifetime, rewound=rewound
        )

    return ask


def of_described(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    return listed_names.described(Known(inode.attr, ASKED), inode, NOW, lifetime_in(situation))


def of_fetched(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    assert inode.parent is not None
    return trust.fetched(inode.parent.watched, "f", ASKED, NOW)


def of_former_name(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    assert inode.parent is not None
    return listed_names.former_name(inode.parent, "f", NOW, config)


def of_opened(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    opened = OpenedFiles()
    if situation != "never opened":
        opened.note(11, inode.attr, (1, "f"))
    now = file_attr(11, 5, age=60) if situation == "own change" else inode.attr
    return opened.judge(11, now, (1, "g" if situation == "opened by another name" else "f"))


def of_settled(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    clock = ServerTime(SERVER_NOW, SERVER_NOW, measured=0.0)
    attr = file_attr(11, 3, age=0.0) if situation != "old by the server's clock" else inode.attr
    if situation == "seen for long":
        inode.attr = attr
    return trust.settled(inode, attr, NOW, NOW, lambda: clock)


def of_current(inode: Inode, situation: str, config: TrustConfig) -> tuple[object, Reason]:
    opened_as = file_attr(11, 5, age=60) if situation == "own change" else inode.attr
    return trust.current(inode, opened_as)


QUESTIONS: dict[str, Callable[[Inode, str, TrustConfig], tuple[object, Reason]]] = {
    "attributes": lambda inode, _, config: trust.attributes(inode, NOW, config.acregmax),
    "opens": lambda inode, _, config: trust.opens(inode, NOW, config),
    "names": of_name("f"),
    "absence": of_name("absent"),
    "listings": of_listing(rewound=False),
    "rewinds": of_listing(rewound=True),
    "described": of_described,
    "fetched": of_fetched,
    "former": of_former_name,
    "relisted": lambda inode, _, config: listed_names.relisted(inode, NOW, 1.0),
    "lease": lambda inode, _, config: trust.lease(inode, leasing=config.open_without_server),
    "opened": of_opened,
    "settled": of_settled,
    "current": of_current,
}


def rows() -> list[tuple[str, str, dict[str, str]]]:
    assert trust.__doc__ is not None
    lines = trust.__doc__.splitlines()
    first, head, last = (i for i, line in enumerate(lines) if line.startswith("====="))
    assert head == first + 2
    columns = [(m.start(), m.end()) for m in re.finditer("=+", lines[first])]
    found = []
    for line in lines[head + 1 : last]:
        question, situation, *cells = (line[a:b].strip() for a, b in columns)
        found.append((question, situation, dict(zip(MODES, cells, strict=True))))
    return found


@pytest.mark.parametrize(("question", "situation", "cells"), rows())
def test_the_table_is_true(question: str, situation: str, cells: dict[str, str]) -> None:
    for mode, expected in cells.items():
        answer, reason = QUESTIONS[question](SITUATIONS[situation](), situation, MODES[mode])
        assert (mode, reason) == (mode, expected)
        believed = answer > 0 if isinstance(answer, float) else bool(answer)
        assert believed == (reason in BELIEVED)


def test_every_situation_and_question_is_in_the_table() -> None:
    assert {situation for _, situation, _ in rows()} == set(SITUATIONS)
    assert {question for question, _, _ in rows()} == set(QUESTIONS)


def test_every_reason_is_in_the_table_but_a_lifetime_of_0() -> None:
    given = {cell for _, _, cells in rows() for cell in cells.values()}
    assert set(Reason) - given == {Reason.DISBELIEVED}
