"""The leases of a session: what the server has promised not to let others do unannounced.

A read lease says that no other SMB client changes the file; a handle lease that none deletes or
renames it or needs our handle gone, so that a handle may be kept when no open file uses it. The
server breaks a lease by a message of its own. It may come before we have seen the answer to the
CREATE: a lease is therefore registered before that is sent, and a break of what is not granted yet
counts.

Each handle has a lease of its own, under a key used once: a server refuses a key that it knows for
another file, and names change their files. The server's own users break no lease.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable

from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.lease import (
    READ,
    READ_HANDLE,
    pack_acknowledgement,
    pack_lease_context,
    parse_break,
)

log = logging.getLogger(__name__)

Send = Callable[[Request], None]
"""Sends a request whose answer no caller waits for."""


class Lease:
    """One lease. ``state`` is what is left of it; ``on_break`` hears when some of it is taken, and
    returns when it has let go of what depends on that, before the server is answered."""

    __slots__ = ("_leases", "_left", "key", "on_break", "state")

    def __init__(self, leases: Leases, key: bytes) -> None:
        self.key = key
        self.state = 0
        self.on_break: Callable[[], None] = lambda: None
        self._leases = leases
        self._left = READ_HANDLE

    @property
    def context(self) -> bytes:
        """The create context that asks for it."""
        return pack_lease_context(self.key, READ_HANDLE, version=self._leases.version)

    @property
    def reads(self) -> bool:
        """Whether the file is as it was, as far as other SMB clients go."""
        return bool(self.state & READ)

    @property
    def keeps_handle(self) -> bool:
        """Whether the handle may stay open with no file using it."""
        return self.state & READ_HANDLE == READ_HANDLE

    def grant(self, state: int) -> None:
        """The CREATE was answered."""
        self.state = state & self._left

    def broken(self, state: int) -> None:
        """The server leaves us ``state``."""
        self._left &= state
        self.state &= state
        self.on_break()

    def end(self) -> None:
        """The handle is closed, or was never opened. Idempotent."""
        self.state = self._left = 0
        self._leases.forget(self)


class Leases:
    """Those of one session. ``version`` of the context, 0 where the server has no leases."""

    def __init__(self) -> None:
        self.version = 0
        self.broken = 0
        self._nonce = os.urandom(8)
        self._numbers = itertools.count()
        self._by_key: dict[bytes, Lease] = {}
        self._said: set[str] = set()

    def _drop(self, kind: str) -> None:
        """Once a kind in the log: a server may break a thousand a second."""
        level = logging.DEBUG if kind in self._said else logging.INFO
        self._said.add(kind)
        log.log(level, "a break of %s that we have not: dropped", kind)

    def __len__(self) -> int:
        return len(self._by_key)

    def begin(self) -> Lease | None:
        """One to ask for with a CREATE; None where there is none to be had."""
        if not self.version:
            return None
        lease = Lease(self, self._nonce + next(self._numbers).to_bytes(8, "little"))
        self._by_key[lease.key] = lease
        return lease

    def end_all(self) -> None:
        """The connection is gone, and what was promised on it."""
        self.version = 0
        for lease in list(self._by_key.values()):
            lease.end()

    def forget(self, lease: Lease) -> None:
        """It has ended."""
        self._by_key.pop(lease.key, None)

    def take_break(self, message: memoryview, send: Send) -> None:
        """An unsolicited message came. Answers at once what must be answered, in the order in which
        the dependents of the lease let go."""
        told = parse_break(message)
        if told is None:
            self._drop("an oplock")
            return
        self.broken += 1
        lease = self._by_key.get(told.key)
        if lease is None:  # ended by us meanwhile, which the server will see
            self._drop("a lease")
            return
        lease.broken(told.state)
        if told.must_acknowledge and lease.key in self._by_key:
            body = pack_acknowledgement(told.key, told.state)
            send(Request(Command.OPLOCK_BREAK, body))
