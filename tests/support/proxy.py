"""A TCP proxy on loopback that does to connections what networks and enemies do.

It counts, delays, jitters, throttles, drips, stalls, cuts, half-closes, refuses, ignores, falls
silent in one direction or for what is connected already, and loses, repeats and changes single SMB
messages (``messages``). ``to_server`` and ``to_client`` are its two directions.

Runs a trio loop in a thread of its own; every method may be called from any thread, a trio task
included, and takes effect before it returns. A delay holds each piece for half of the round trip in
each direction and keeps the order, so it adds latency and no bandwidth limit. It ends TCP on both
sides, and therefore hides what a long link does to TCP windows: the kernel acknowledges whatever is
sent into a line that has fallen silent.
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

from tests.support.flow import Flow, Way
from tests.support.messages import Change, framed

_BACKLOG = 128


class _Connection:
    """One client, the server, and a flow each way."""

    def __init__(
        self, client: trio.socket.SocketType, server: trio.socket.SocketType, ways: tuple[Way, Way]
    ) -> None:
        self.sockets = client, server
        self.there = Flow(client, server, ways[0])
        self.back = Flow(server, client, ways[1])
        self.scope = trio.CancelScope()
        self.there.answer = lambda message: self.back.send(framed(message))
        self.back.answer = lambda message: self.there.send(framed(message))

    def fall_silent(self) -> None:
        self.there.silent.set()
        self.back.silent.set()

    def drop(self, reset: bool) -> None:
        self.scope.cancel()
        for sock in self.sockets:
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            sock.close()


class PrivateProxy:
    """Forwards ``127.0.0.1:port`` to ``127.0.0.1:target_port``. ``delay`` is a round trip in s;
    ``on_request`` and ``on_reply`` see each message (``messages.Change``) from the first.

    ``bytes_to_client`` and ``bytes_to_server`` count what was forwarded, ``connections`` the ones
    accepted so far. :meth:`stop` ends it; as a context manager it stops itself.
    """

    def __init__(
        self,
        target_port: int,
        delay: float = 0.0,
        *,
        on_request: Change | None = None,
        on_reply: Change | None = None,
    ) -> None:
        self.target_port = target_port
        self.to_server = Way(delay / 2)
        self.to_client = Way(delay / 2)
        self.to_server.change = on_request
        self.to_client.change = on_reply
        self.connections = 0
        # Keeps the port while nothing listens: a connect is refused then.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._listening: trio.socket.SocketType | None = _listener(self.port)
        self._filling: list[socket.socket] = []
        self._open: dict[_Connection, None] = {}
        self._accepting = trio.Event()
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
    def bytes_to_client(self) -> int:
        return self.to_client.count

    @property
    def bytes_to_server(self) -> int:
        return self.to_server.count

    @property
    def delay(self) -> float:
        """The round trip, in s; may be set."""
        return self.to_server.delay + self.to_client.delay

    @delay.setter
    def delay(self, seconds: float) -> None:
        self.to_server.delay = self.to_client.delay = seconds / 2

    @property
    def open_connections(self) -> int:
        """How many client connections are open now."""
        return len(self._open)

    def cut(self, *, reset: bool = False) -> None:
        """Drop all connections, with FIN or (``reset``) RST; new ones are accepted."""

        def act() -> None:
            for connection in list(self._open):
                connection.drop(reset)
            self._open.clear()

        self._on_loop(act)

    def half_close(self) -> None:
        """The client is told that no more comes; what it sends still arrives."""
        self._on_loop(lambda: [connection.back.shut() for connection in self._open])

    def pause(self, *ways: Way) -> None:
        """Become a black hole, in both directions unless one is named: connections stay, new ones
        are accepted, nothing passes."""
        self._on_loop(lambda: [way.stop() for way in ways or (self.to_server, self.to_client)])

    def resume(self) -> None:
        """Let everything flow again, what was held back included."""
        self._on_loop(lambda: [way.go() for way in (self.to_server, self.to_client)])

    def silence(self) -> None:
        """What is connected now stays connected, and nothing of it passes any more, nor its end:
        as when an address has moved. New connections are as before."""
        self._on_loop(lambda: [connection.fall_silent() for connection in self._open])

    def refuse(self) -> None:
        """Refuse new connections until :meth:`accept`. Those that are open stay."""
        self._on_loop(self._stop_listening)

    def ignore(self) -> None:
        """Let new connections time out (their SYNs are dropped) until :meth:`accept`."""

        def act() -> None:
            self._stop_listening()
            self._listening = _listener(self.port, 0)
            for _ in range(4):  # the queue of a listener that never accepts is full after two
                filling = socket.socket()
                filling.setblocking(False)
                filling.connect_ex(("127.0.0.1", self.port))
                self._filling.append(filling)

        self._on_loop(act)

    def accept(self) -> None:
        """Take connections again."""

        def act() -> None:
            self._stop_listening()
            self._listening = _listener(self.port)
            self._accepting.set()

        self._on_loop(act)

    def inject(self, message: bytes) -> None:
        """Send one message to each client as if the server had. Inject while the connection is
        idle, or it lands within another message."""
        self._on_loop(lambda: [one.back.send(framed(message)) for one in self._open])

    def stop(self) -> None:
        """Drop all connections and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._on_loop(self._scope.cancel)
            self._thread.join()
        self._reserved.close()

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

    def _stop_listening(self) -> None:
        for filling in self._filling:
            filling.close()
        self._filling.clear()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        if self._accepting.is_set():
            self._accepting = trio.Event()

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._accepting.set()
        self._started.set()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    while True:
                        await self._accepting.wait()
                        listening = self._listening
                        if listening is not None and self._accepting.is_set():
                            await self._accept_all(listening, nursery)
        finally:
            self._stop_listening()

    async def _accept_all(self, listening: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                client, _ = await listening.accept()
            except (trio.ClosedResourceError, OSError):  # EBADF: closed between wake-up and accept
                if listening is self._listening:
                    raise
                return
            self.connections += 1
            nursery.start_soon(self._connection, client)

    async def _connection(self, client: trio.socket.SocketType) -> None:
        server = trio.socket.socket()
        connection = _Connection(client, server, (self.to_server, self.to_client))
        self._open[connection] = None
        try:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, trio.ClosedResourceError):
                await self.to_server.wait_flowing()
                await self.to_client.wait_flowing()
                await server.connect(("127.0.0.1", self.target_port))
                with connection.scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(connection.there.run)
                        nursery.start_soon(connection.back.run)
        finally:
            self._open.pop(connection, None)
            client.close()
            server.close()


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _listener(port: int, backlog: int = _BACKLOG) -> trio.socket.SocketType:
    sock = _bound(port)
    sock.listen(backlog)
    return trio.socket.from_stdlib_socket(sock)
