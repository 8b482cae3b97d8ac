"""Files that were opened are remembered, the last ones, by their content."""

from __future__ import annotations

from netfsfuse.types import FileAttr
from netfsfuse.vfs.coherency.opened import OpenedFiles
from tests.vfs.fakes import file_attr

HERE = (1, "f")


def knows(opened: OpenedFiles, number: int, attr: FileAttr, place: tuple[int, str]) -> bool:
    return opened.judge(number, attr, place)[0]


def test_known_by_the_name_it_was_opened_by() -> None:
    """Of what is done by another name another watch is told."""
    opened = OpenedFiles()
    opened.note(7, file_attr(7, 5), HERE)
    assert not knows(opened, 7, file_attr(7, 5), (1, "g"))
    assert not knows(opened, 7, file_attr(7, 5), (2, "f"))
    opened.note(7, file_attr(7, 5), (1, "g"))
    assert not knows(opened, 7, file_attr(7, 5), HERE)


def test_known_as_what_it_was() -> None:
    opened = OpenedFiles()
    opened.note(7, file_attr(7, 5), HERE)
    assert knows(opened, 7, file_attr(7, 5), HERE)
    assert knows(opened, 7, file_attr(7, 5)._replace(access=1), HERE)
    assert not knows(opened, 7, file_attr(7, 6), HERE)
    assert not knows(opened, 8, file_attr(8, 5), HERE)
    opened.forget(7)
    assert not knows(opened, 7, file_attr(7, 5), HERE)


def test_a_number_made_of_a_path_is_nobodys() -> None:
    """Two paths may share it."""
    opened = OpenedFiles()
    opened.note(1 << 63, file_attr(0, 5), HERE)
    assert not knows(opened, 1 << 63, file_attr(0, 5), HERE)


def test_bounded() -> None:
    opened = OpenedFiles(most=3)
    for number in (1, 2, 3, 1, 4):
        opened.note(number, file_attr(number, 5), HERE)
    assert [knows(opened, n, file_attr(n, 5), HERE) for n in (1, 2, 3, 4)] == [
        True,
        False,
        True,
        True,
    ]
