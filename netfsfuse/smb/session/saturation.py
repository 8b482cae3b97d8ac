"""PURE: when is another connection worth opening?

When, for a while, reads were waiting on those that we have without a pause: then either the
server's credits or TCP or one processor of the server is the limit, and each connection has its
own. A reader that is the bottleneck itself empties the line now and then.
"""

from __future__ import annotations

BUSY = 4 << 20
"""Bytes asked for and not here, per connection, that make it busy: 80 MB/s at 50 ms."""

SECONDS = 0.25
"""How long without a pause: several round trips of a long link, and longer than a file of a few MB
takes. Opening a connection costs five round trips and, on the server, a process."""


class Saturation:
    """Over all reads of a share. ``now`` is any monotonic clock in seconds.

    ``threshold`` is :func:`busy_from` at that moment.
    """

    __slots__ = ("_delivered", "_since", "outstanding")

    def __init__(self) -> None:
        self.outstanding = 0
        self._since: float | None = None
        self._delivered = 0

    def began(self, length: int, now: float, threshold: int) -> None:
        """A read of ``length`` bytes is asked for."""
        self.outstanding += length
        if self._since is None and self.outstanding >= threshold:
            self.restart(now)

    def ended(self, length: int, threshold: int) -> None:
        """It was answered, or failed, or was cancelled."""
        self.outstanding -= length
        self._delivered += length
        if self.outstanding < threshold:
            self._since = None

    def restart(self, now: float) -> None:
        """Something was done about it: look from now on."""
        self._since = now
        self._delivered = 0

    def is_reached(self, now: float) -> bool:
        """Whether what we have has been busy for long enough, and was not merely stuck."""
        return self._since is not None and now - self._since >= SECONDS and self._delivered >= BUSY


def busy_from(connections: int, capacity: int) -> int:
    """Outstanding bytes from which ``connections``, with credits for reads of ``capacity`` bytes in
    all, are busy: with few credits there is never much under way.
    """
    return min(BUSY * connections, capacity // 2)
