"""Where an exerciser works: its folder as a mount and as the server's disk have it, what is open,
and the model of what must be there."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

from tests.support.exercise import LARGEST_FILE, PAGE, Operation, Payload
from tests.support.exercise_model import ModelFile, Open, check_bytes
from tests.support.mapping import Mapping


class Scene:
    """``peer``: the folder on another mount. ``cachedir``: of this one, whose objects are dropped
    at times. ``drops_pages``: of the whole machine, at times. :meth:`close` gives handles back."""

    def __init__(
        self,
        here: Path,
        there: Path,
        *,
        peer: Path | None = None,
        cachedir: Path | None = None,
        drops_pages: bool = False,
    ) -> None:
        self._here = here
        self._there = there
        self._peer_folder = peer
        self._cachedir = cachedir
        self._drops_pages = drops_pages
        self._files: dict[str, ModelFile] = {}
        self._opens: dict[int, Open] = {}
        self._maps: dict[int, tuple[Mapping, str]] = {}
        self._payload = Payload()
        self._buffer = mmap.mmap(-1, LARGEST_FILE + PAGE)  # aligned, as O_DIRECT wants it

    def close(self) -> None:
        """Give back all handles and mappings."""
        for slot in list(self._maps):
            self._maps.pop(slot)[0].unmap()
        for slot in list(self._opens):
            os.close(self._opens.pop(slot).fd)

    def _find(self, operation: Operation, suits: Callable[[Open], bool]) -> Open | None:
        """The slot's handle, or another one that suits."""
        first = self._opens.get(operation.slot)
        if first is not None and suits(first):
            return first
        return next((opened for opened in self._opens.values() if suits(opened)), None)

    def _free(self, name: str) -> None:
        """Close whatever holds the file: names move under closed files only."""
        for slot, (mapping, mapped) in list(self._maps.items()):
            if mapped == name:
                del self._maps[slot]
                mapping.unmap()
        for slot, opened in list(self._opens.items()):
            if opened.name == name:
                del self._opens[slot]
                os.close(opened.fd)

    def _check_there(self, name: str, length: int | None = None) -> None:
        """All of it, or the first ``length`` bytes."""
        seen, content = (self._there / name).read_bytes(), self._files[name].content
        check_bytes(f"{name} there", 0, seen[:length], content[:length])

    def _is_there(self, name: str) -> bool:
        return (self._there / name).read_bytes() == self._files[name].content

    def _check_whole(self, path: Path, name: str, flags: int = 0) -> None:
        content = self._files[name].content
        fd = os.open(path, os.O_RDONLY | flags)
        try:
            with memoryview(self._buffer) as view:
                count = os.preadv(fd, [view], 0)
                check_bytes(f"{path}", 0, view[:count], content)
        finally:
            os.close(fd)

    def _times(self, name: str) -> tuple[int, int]:
        """When it was modified, here and there, in the server's unit of 100 ns."""
        seen = ((folder / name).stat().st_mtime_ns // 100 for folder in (self._here, self._there))
        here, there = seen
        return here, there
