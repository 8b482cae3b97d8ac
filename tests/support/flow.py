"""One direction of a ``proxy``: when the bytes that came in go out, and as what.

``Way`` is how all connections fare in that direction; ``Flow`` carries one connection's bytes.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable

import trio

from tests.support.messages import Change, Message, framed

_PIECE = 256 * 1024
_MOST_HELD = 128 << 20  # bytes on their way: 1.2 GB/s at 100 ms
_MOST_HELD_SLOW = 32 * 1024  # where there is a rate: a queue as a router has it, not a store
_LARGEST_MESSAGE = 16 << 20
_TICKS = 50  # pieces a second, where there is a rate

_GONE = (OSError, trio.ClosedResourceError, trio.BrokenResourceError)


class Way:
    """All may be set at any time, from any thread; what is on its way already is not changed.

    ``delay``: seconds that each piece is held. ``jitter``: up to so many seconds more, in order all
    the same. ``rate``: bytes/s of a connection, None for no limit. ``piece``: bytes at once at
    most. ``change``: sees each message that begins from now on. ``count``: bytes passed on.
    """

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.jitter = 0.0
        self.rate: float | None = None
        self.piece = _PIECE
        self.change: Change | None = None
        self.count = 0
        self._flowing = trio.Event()
        self._flowing.set()

    @property
    def most_held(self) -> int:
        """Bytes of one connection that may be on their way."""
        return _MOST_HELD if self.rate is None else _MOST_HELD_SLOW

    def drip(self, piece: int, rate: float) -> None:
        """``piece`` bytes at once, ``rate`` in a second."""
        self.piece, self.rate = piece, rate

    def stop(self) -> None:
        """Nothing passes until :meth:`go`. On the loop."""
        if self._flowing.is_set():
            self._flowing = trio.Event()

    def go(self) -> None:
        """What was held back passes. On the loop."""
        self._flowing.set()

    async def wait_flowing(self) -> None:
        """Return once bytes may pass."""
        await self._flowing.wait()


class Flow:
    """Carries bytes from ``source`` to ``sink``, both owned by the caller, as ``way`` says.

    ``silent``: nothing passes any more, and no end. ``shut`` ends the direction towards the sink.
    """

    def __init__(
        self, source: trio.socket.SocketType, sink: trio.socket.SocketType, way: Way
    ) -> None:
        self.silent = trio.Event()
        self.answer: Callable[[bytes], None] = lambda _: None
        self._source = source
        self._sink = sink
        self._way = way
        self._held = 0
        self._room = trio.Event()
        self._due = 0.0
        self._put, self._get = trio.open_memory_channel[tuple[float, bytes]](1 << 20)
        self._begun = bytearray()  # of a message that is not here yet
        self._missing = 0  # bytes of a message that passes as it comes
        self._head = b""  # the part of its length that has passed
        self._over = False

    async def run(self) -> None:
        """Until the source ends, or either is gone; then the end is passed on."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            async with self._put:
                with contextlib.suppress(*_GONE):
                    while piece := await self._source.recv(_PIECE):
                        for part in self._changed(piece):
                            self.send(part)
                        while self._held > self._way.most_held and not self._over:
                            self._room = trio.Event()
                            await self._room.wait()
                        if self._over:
                            break

    def send(self, piece: bytes) -> None:
        """Put ``piece`` on its way, behind what is there already. On the loop."""
        if not piece:
            return
        way = self._way
        due = trio.current_time() + way.delay + way.jitter * random.random()
        self._due = max(self._due, due)
        self._held += len(piece)
        with contextlib.suppress(*_GONE):
            self._put.send_nowait((self._due, piece))

    def shut(self) -> None:
        """Tell the sink that no more comes. On the loop."""
        with contextlib.suppress(OSError):
            self._sink.shutdown(socket.SHUT_WR)

    def _changed(self, piece: bytes) -> list[bytes]:
        """What goes out for what came in: a message that is to be changed is gathered first; one
        that has begun to pass goes on passing."""
        if self._way.change is None and not self._begun:
            self._follow(piece)
            return [piece]
        out: list[bytes] = []
        if self._missing or self._head:
            end = self._follow(piece, once=True)
            out.append(piece[:end])
            piece = piece[end:]
        self._begun += piece
        while self._begun:
            change = self._way.change
            length = int.from_bytes(self._begun[:4], "big")
            if change is None or length > _LARGEST_MESSAGE:
                rest = bytes(self._begun)
                self._begun.clear()
                self._follow(rest)
                out.append(rest)
            elif len(self._begun) < 4 + length or len(self._begun) < 4:
                break
            else:
                message = Message(self._begun[4 : 4 + length])
                message.answer = self.answer
                del self._begun[: 4 + length]
                out += _after(change, message)
        return out

    def _follow(self, piece: bytes, *, once: bool = False) -> int:
        """Find where messages end in what passes as it is; ``once`` stops at the first end. Returns
        how far it came."""
        at = 0
        while at < len(piece):
            if self._missing:
                step = min(self._missing, len(piece) - at)
                self._missing -= step
            else:
                step = min(4 - len(self._head), len(piece) - at)
                self._head += piece[at : at + step]
                if len(self._head) == 4:
                    self._missing = int.from_bytes(self._head, "big")
                    self._head = b""
            at += step
            if once and not self._missing and not self._head:
                break
        return at

    async def _deliver(self) -> None:
        try:
            async with self._get:
                async for due, piece in self._get:
                    await trio.sleep_until(due)
                    await self._pass(piece)
                if self.silent.is_set():
                    await trio.sleep_forever()
                self._sink.shutdown(socket.SHUT_WR)
        except _GONE:
            pass
        finally:
            self._over = True
            self._room.set()

    async def _pass(self, piece: bytes) -> None:
        way = self._way
        view = memoryview(piece)
        while view:
            await way.wait_flowing()
            if self.silent.is_set():
                await trio.sleep_forever()
            rate, size = way.rate, way.piece
            if rate is not None:
                size = min(size, max(1, int(rate / _TICKS)))
            part = view[:size]
            took = len(part)
            # Counted before it is sent: once the other side has a byte, it is counted.
            way.count += took
            view = view[took:]
            while part:
                part = part[await self._sink.send(part) :]
            if rate is not None:
                await trio.sleep(took / rate)
        self._held -= len(piece)
        self._room.set()


def _after(change: Change, message: Message) -> list[bytes]:
    """What is sent in place of ``message``, framed."""
    changed = change(message)
    if changed is None:
        return [framed(bytes(message))]
    if isinstance(changed, (bytes, bytearray)):
        return [framed(changed)]
    return [framed(one) for one in changed]
