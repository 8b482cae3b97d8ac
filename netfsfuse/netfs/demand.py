"""How much a server read is wanted, told to its server file, and changed while it queues there.

A reader that joins a readahead which still waits for credits must not wait behind other readahead;
a reader that has gone elsewhere must not have it sent at all. Both need to know whether it has been
sent, and to reach it where it waits.
"""

from __future__ import annotations

from collections.abc import Callable


class Demand:
    """One per subrequest. ``urgent``: a reader waits for it. ``sent``: it is on the wire.

    The server file that queues it sets ``on_raise`` while it queues, and ``sent`` once it is out
    (it stays set when the request is sent a second time). All on the trio loop.
    """

    __slots__ = ("on_raise", "sent", "urgent")

    def __init__(self, *, urgent: bool) -> None:
        self.urgent = urgent
        self.sent = False
        self.on_raise: Callable[[], None] | None = None

    def raise_(self) -> None:
        """A reader waits for it from now on. Idempotent; no checkpoint."""
        if not self.urgent:
            self.urgent = True
            if self.on_raise is not None:
                self.on_raise()
