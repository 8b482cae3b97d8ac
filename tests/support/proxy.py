"""A TCP proxy on loopback that counts, delays, stalls and cuts.

Runs a trio loop in a thread of its own; every method may be called from any thread, a trio task
included, and takes effect before it returns. A delay holds each piece for half of the round trip in
each direction and keeps the order, so it adds latency and no bandwidth limit. It ends TCP on both
sides, and therefore hides what a long link does to TCP windows.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import trio

_PIECE = 256 * 1024
_HELD_PIECES = 512  # at most 128 MiB on its way in each direction: 1.2 GB/s at 100 ms


class PrivateProxy:
    """Forwards ``127.0.0.1:port`` to ``127.0.0.1:target_port``. ``delay`` is a round trip in s.

    ``bytes_to_client`` and ``bytes_to_server`` count what was forwarded, ``connections`` the ones
    accepted so far. :meth:`stop` ends it; as a context manager it stops itself.
    """

    def __init__(self, target_port: int, delay: float = 0.0) -> None:
        self.target_port = target_port
        self.delay = delay
        self.bytes_to_client = 0
        self.bytes_to_server = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[trio.socket.SocketType] = set()
        self._flowing = trio.Event()
        self._flowing.set()
        self._scope = trio.CancelScope()
        self._started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), name="proxy")
        self._thread.start()
        self._started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def open_connections(self) -> int:
        """How many client connections are open now."""
        return len(self._open) // 2

    def cut(self, *, reset: bool = False) -> None:
        """Drop all connections, with FIN or (``reset``) RST; new ones are accepted."""
        self._on_loop(lambda: self._cut(reset))

    def pause(self) -> None:
        """Become a black hole: connections stay, new ones are accepted, nothing passes."""

        def stall() -> None:
            if self._flowing.is_set():
                self._flowing = trio.Event()

        self._on_loop(stall)

    def resume(self) -> None:
        """Let everything flow again, what was held back included."""
        self._on_loop(lambda: self._flowing.set())

    def stop(self) -> None:
        """Drop all connections and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._on_loop(self._scope.cancel)
            self._thread.join()

    def _on_loop(self, act: Callable[[], object]) -> None:
        """Run ``act`` on the loop and wait for it.

        Not ``trio.from_thread``: that refuses a caller which is itself in a trio task.
        """
        done = threading.Event()

        def run() -> None:
            try:
                act()
            finally:
                done.set()

        try:
            self._token.run_sync_soon(run)
        except trio.RunFinishedError:
            return
        while not done.wait(0.1) and self._thread.is_alive():
            pass

    def _cut(self, reset: bool) -> None:
        for sock in self._open:
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open.clear()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._started.set()
        listener = trio.socket.from_stdlib_socket(self._listener)
        with listener, self._scope:
            async with trio.open_nursery() as nursery:
                while True:
                    client, _ = await listener.accept()
                    self.connections += 1
                    nursery.start_soon(self._connection, client)

    async def _connection(self, client: trio.socket.SocketType) -> None:
        server = trio.socket.socket()
        pair = {client, server}
        self._open |= pair
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, trio.ClosedResourceError):
                await self._flowing.wait()
                await server.connect(("127.0.0.1", self.target_port))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, client, server, "bytes_to_server")
                    nursery.start_soon(self._pump, server, client, "bytes_to_client")
        finally:
            self._open -= pair
            client.close()
            server.close()

    async def _pump(
        self, source: trio.socket.SocketType, sink: trio.socket.SocketType, counter: str
    ) -> None:
        """One direction of one connection, until its source ends; errors end it as well."""
        put, get = trio.open_memory_channel[tuple[float, bytes]](_HELD_PIECES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, get, sink, counter)
            async with put:
                with contextlib.suppress(
                    OSError, trio.ClosedResourceError, trio.BrokenResourceError
                ):
                    while piece := await source.recv(_PIECE):
                        await put.send((trio.current_time() + self.delay / 2, piece))

    async def _deliver(
        self,
        pieces: trio.MemoryReceiveChannel[tuple[float, bytes]],
        sink: trio.socket.SocketType,
        counter: str,
    ) -> None:
        async with pieces:
            with contextlib.suppress(OSError, trio.ClosedResourceError):
                async for due, piece in pieces:
                    await trio.sleep_until(due)
                    await self._flowing.wait()
                    # Counted before it is sent: once the other side has a byte, it is counted.
                    setattr(self, counter, getattr(self, counter) + len(piece))
                    await _send_all(sink, piece)
                sink.shutdown(socket.SHUT_WR)


async def _send_all(sink: trio.socket.SocketType, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[await sink.send(view) :]
