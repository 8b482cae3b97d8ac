"""The leases of a session: what the server has promised not to let others do unannounced.

A read lease says that no other SMB client changes the file; a write lease that none reads it
either, so that what is written may wait here; a handle lease that none deletes or renames it or
needs our handle gone, so that a handle may be kept when no open file uses it. The server breaks a
lease by a message of its own. It may come before we have seen the answer to the CREATE: a lease is
therefore registered before that is sent, and a break of what is not granted yet counts.

There is one key a file, and all handles of the file are opened under it, each with a *hold* of the
lease: a handle opened without it, or by another key, would have the server break our own write
lease. Which file a name leads to is often known before, and learned from the answer at the latest;
a server refuses a key that it knows for another file, and then the open is repeated under a fresh
one. A lease ends with its last hold, and its key is not used again. The server's own users break no
lease.

A break is told to all that depend on the lease. What only reads lets go at once, and the server is
answered. Where the file is written the server waits until what was written here is there, for
``GIVE_BACK`` seconds at most: then it goes on by itself, and what is written later may meet what
another client has written meanwhile.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.lease import (
    READ,
    READ_HANDLE,
    READ_WRITE_HANDLE,
    WRITE,
    pack_acknowledgement,
    pack_lease_context,
    parse_break,
)

log = logging.getLogger(__name__)

GIVE_BACK = 30.0
"""Seconds: a server waits some 35 for the answer to a break."""

Send = Callable[[Request], None]
"""Sends a request whose answer no caller waits for."""


class Holder(Protocol):
    """What has written to a file under its lease."""

    async def give_back(self, *, keeps_reads: bool) -> None:
        """Return when what was written is on the server, or has failed; without ``keeps_reads``
        forget what was read."""
        ...


class Lease:
    """That of one file. ``state`` is what is left of it. ``answering``: the server waits for the
    answer to a break."""

    __slots__ = ("answering", "file_id", "holds", "key", "owes", "state")

    def __init__(self, key: bytes, file_id: int) -> None:
        self.key = key
        self.file_id = file_id
        self.state = 0
        self.holds: list[LeaseHold] = []
        self.answering = False
        self.owes = False

    @property
    def holders(self) -> list[Holder]:
        """Those that have written."""
        return [hold.holder for hold in self.holds if hold.holder is not None]


class LeaseHold:
    """One handle's part in the ``lease`` of its file. ``on_break`` hears when some of the lease is
    taken, and returns when it has let go of what depends on that; ``holder`` is asked to give back
    what was written, before the server is answered."""

    __slots__ = ("_leases", "_left", "_wanted", "holder", "lease", "on_break")

    def __init__(self, leases: Leases, lease: Lease, wanted: int) -> None:
        self.lease = lease
        self.on_break: Callable[[], None] = lambda: None
        self.holder: Holder | None = None
        self._leases = leases
        self._wanted = wanted
        self._left = lease.state if lease.answering else READ_WRITE_HANDLE
        lease.holds.append(self)

    @property
    def context(self) -> bytes:
        """The create context that asks for it. What the file's other handles have is asked for
        again: a lease is not lowered by that, but the answer says what is held."""
        wanted = self._wanted | self.lease.state
        return pack_lease_context(self.lease.key, wanted, version=self._leases.version)

    @property
    def _state(self) -> int:
        """What is left. What was broken since the handle was opened stays so for this handle,
        though a later one may have been granted it anew."""
        return self.lease.state & self._left

    @property
    def reads(self) -> bool:
        """Whether the file is as it was, as far as other SMB clients go."""
        return bool(self._state & READ)

    @property
    def writes(self) -> bool:
        """Whether no other SMB client reads or writes the file unannounced."""
        return self._state & (READ | WRITE) == READ | WRITE

    @property
    def keeps_handle(self) -> bool:
        """Whether the handle may stay open with no file using it."""
        return self._state & READ_HANDLE == READ_HANDLE

    def grant(self, state: int, file_id: int) -> None:
        """The CREATE was answered: ``state`` is granted, of the file ``file_id``, 0 if that is not
        to be had. What was broken meanwhile is not."""
        if state and self in self.lease.holds:
            self.lease.state = state & self._left
            self._leases.learn(self.lease, file_id)

    def taken(self, state: int) -> None:
        """The server leaves ``state`` of what it may be about to grant."""
        self._left &= state

    def end(self) -> None:
        """The handle is closed, or was never opened. Idempotent."""
        self.holder = None
        self._left = 0
        if self in self.lease.holds:
            self.lease.holds.remove(self)
            self._leases.let_go(self.lease)


class Leases:
    """Those of one session. ``version`` of the context, 0 where the server has no leases. ``spawn``
    runs a task in the nursery that owns the session's."""

    def __init__(self, spawn: Callable[..., None]) -> None:
        self.version = 0
        self.broken = 0
        self._spawn = spawn
        self._nonce = os.urandom(8)
        self._numbers = itertools.count()
        self._by_key: dict[bytes, Lease] = {}
        self._by_file: dict[int, Lease] = {}
        self._said: set[str] = set()

    def _drop(self, kind: str) -> None:
        """Once a kind in the log: a server may break a thousand a second."""
        level = logging.DEBUG if kind in self._said else logging.INFO
        self._said.add(kind)
        log.log(level, "a break of %s that we have not: dropped", kind)

    def __len__(self) -> int:
        return len(self._by_key)

    def begin(self, file_id: int = 0, wanted: int = READ_HANDLE) -> LeaseHold | None:
        """One to ask for with a CREATE of what is believed to be the file ``file_id``, 0 where that
        is not known; None where there is none to be had."""
        if not self.version:
            return None
        lease = self._by_file.get(file_id) if file_id else None
        if lease is None:
            lease = Lease(self._nonce + next(self._numbers).to_bytes(8, "little"), 0)
            self._by_key[lease.key] = lease
        return LeaseHold(self, lease, wanted)

    def learn(self, lease: Lease, file_id: int) -> None:
        """``lease`` is that of the file ``file_id``. Where it has another one already, its handles
        were opened without knowing that: that one stays the file's."""
        if lease.key in self._by_key and file_id and not lease.file_id:
            lease.file_id = file_id
            self._by_file.setdefault(file_id, lease)

    def let_go(self, lease: Lease) -> None:
        """A hold of ``lease`` has ended."""
        if lease.holds:
            return
        self._by_key.pop(lease.key, None)
        if self._by_file.get(lease.file_id) is lease:
            del self._by_file[lease.file_id]

    def end_all(self) -> None:
        """The connection is gone, and what was promised on it: those that have written are asked to
        give back all, for another client may have changed the file meanwhile."""
        self.version = 0
        for lease in list(self._by_key.values()):
            if lease.state & WRITE:
                for holder in lease.holders:
                    self._spawn(_ask, holder.give_back, False)
            for hold in list(lease.holds):
                hold.end()

    def take_break(self, message: memoryview, send: Send) -> None:
        """An unsolicited message came. Where nothing was written, answers at once what must be
        answered, in the order in which the dependents of the lease let go."""
        told = parse_break(message)
        if told is None:
            self._drop("an oplock")
            return
        self.broken += 1
        lease = self._by_key.get(told.key)
        if lease is None:
            self._drop("a lease")
            # Ended by us meanwhile, which the server will see; or it was that of a connection which
            # was lost, and which the server takes for a live one: one that it knows to be ours.
            if told.must_acknowledge and told.key.startswith(self._nonce):
                send(Request(Command.OPLOCK_BREAK, pack_acknowledgement(told.key, told.state)))
            return
        lease.state &= told.state
        for hold in list(lease.holds):
            hold.taken(told.state)
        for hold in list(lease.holds):
            hold.on_break()
        lease.owes |= told.must_acknowledge
        if lease.answering:
            return
        if lease.holders:
            lease.answering = True
            self._spawn(self._give_back, lease, send)
        else:
            self._answer(lease, told.state, send)

    def _answer(self, lease: Lease, state: int, send: Send) -> None:
        owes, lease.owes = lease.owes, False
        if owes and self._by_key.get(lease.key) is lease:
            send(Request(Command.OPLOCK_BREAK, pack_acknowledgement(lease.key, state)))

    async def _give_back(self, lease: Lease, send: Send) -> None:
        """The task that answers a break of a file that was written: once more where the server
        takes more meanwhile."""
        told = -1
        try:
            with trio.move_on_after(GIVE_BACK) as limit:
                while told != lease.state:
                    told = lease.state
                    async with trio.open_nursery() as nursery:
                        for holder in lease.holders:
                            nursery.start_soon(_ask, holder.give_back, bool(told & READ))
            if limit.cancelled_caught:
                log.warning(
                    "another client wants a file, and what was written to it here is not all on "
                    "the server after %g s: it is told to go on",
                    GIVE_BACK,
                )
        finally:
            lease.answering = False
            self._answer(lease, lease.state, send)


async def _ask(give_back: Callable[..., Awaitable[None]], keeps_reads: bool) -> None:
    try:
        await give_back(keeps_reads=keeps_reads)
    except Exception:
        log.exception("giving back a lease")
