"""What programs do to mapped files."""

from __future__ import annotations

from tests.support.exercise import Operation
from tests.support.exercise_model import check_bytes
from tests.support.exercise_scene import Scene
from tests.support.mapping import Mapping


class MappingActs(Scene):
    """One method for each kind of operation."""

    def _map(self, operation: Operation) -> None:
        """Keep a mapping in the slot; it lives on when the handle is closed."""
        opened = self._find(operation, lambda each: each.reads)
        if opened is None or not self._files[opened.name].content:
            return
        self._unmap(operation)
        size = len(self._files[opened.name].content)
        writable = opened.writes
        self._maps[operation.slot] = Mapping(opened.fd, size, writable=writable), opened.name

    def _load(self, operation: Operation) -> None:
        if found := self._mapped(operation, writable=False):
            mapping, name, start, length = found
            content = self._files[name].content
            check_bytes(name, start, mapping.load(start, length), content[start : start + length])

    def _store(self, operation: Operation) -> None:
        if found := self._mapped(operation, writable=True):
            mapping, name, start, length = found
            piece = bytes(self._payload.of(operation.stamp, length))
            mapping.store(start, piece)
            self._files[name].write(start, piece)

    def _mapped(
        self, operation: Operation, *, writable: bool
    ) -> tuple[Mapping, str, int, int] | None:
        """A mapping, and what of it the file still has of the range; None where that is nothing."""
        suited = [each for each in self._maps.items() if each[1][0].writable >= writable]
        if not suited:
            return None
        _, (mapping, name) = min(suited, key=lambda each: each[0] != operation.slot)
        end = min(mapping.length, len(self._files[name].content))
        start = min(operation.position(end), end)
        length = min(operation.length, end - start)
        return (mapping, name, start, length) if length > 0 else None

    def _msync(self, operation: Operation) -> None:
        if found := self._maps.get(operation.slot):
            mapping, name = found
            mapping.sync()
            if mapping.writable:  # of what longer mappings hold no more is written
                self._check_there(name, mapping.length)

    def _unmap(self, operation: Operation) -> None:
        if found := self._maps.pop(operation.slot, None):
            found[0].unmap()
