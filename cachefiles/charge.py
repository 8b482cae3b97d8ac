"""What a new object is charged, taken before it is known whether one is made."""

from __future__ import annotations

from cachefiles.folder import Doomed
from cachefiles.space import OBJECT_BYTES, Space


class Charge:
    """The bytes of an object's two files, taken of the cache's space before any lock is held;
    ``spent`` once the files are there."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self.taken = self.spent = False

    def take(self) -> bool:
        """Whether there is room. Raises ``OSError``."""
        self.taken = self._space.take(OBJECT_BYTES)
        return self.taken

    def settle(self, doomed: Doomed) -> None:
        """Give it back, unless files were made, or half made and buried, which gives it back."""
        if not self.taken:
            return
        if self.spent or doomed.half_made:
            self._space.settle(OBJECT_BYTES)
        else:
            self._space.give_back(OBJECT_BYTES)
