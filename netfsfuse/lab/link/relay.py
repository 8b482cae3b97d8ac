"""The process of a delaying proxy: ``python -m netfsfuse.lab.link.relay --help``.

It reads eagerly, so that TCP on either side never sees the delay, holds each piece for as long as
``wire`` says, and passes it on. One process, one epoll. It prints its port when it listens, and
ends with its standard input, which ``process`` holds open.

A connect costs no round trip: the kernel accepts before we know of it.
"""

from __future__ import annotations

import argparse
import resource
import select
import socket
import sys
import time
from collections.abc import Callable

from netfsfuse.lab.link.connection import Connection, Target
from netfsfuse.lab.link.flow import Flow, Reset
from netfsfuse.lab.link.line import MemoryStore, PipeStore, Store
from netfsfuse.lab.link.wire import Wire


class Relay:
    """Accepts from ``listener`` and relays to ``target``. Owns its connections only."""

    def __init__(
        self,
        listener: socket.socket,
        target: Target,
        wires: tuple[Wire, Wire],
        make_store: Callable[[], Store],
    ) -> None:
        self._listener = listener
        self._target = target
        self._wires = wires
        self._make_store = make_store
        self._epoll = select.epoll()
        self._registered: dict[int, int] = {}  # file descriptor: events
        self._sockets: dict[int, tuple[Connection, socket.socket]] = {}
        self._connections: set[Connection] = set()

    def run(self, parent: int) -> None:
        """Relay until the file descriptor ``parent`` ends; then everything is dropped."""
        self._listener.setblocking(False)
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(parent, select.EPOLLIN)
        try:
            while True:
                events = dict(self._wait())
                if parent in events:
                    return
                if events.pop(self._listener.fileno(), 0):
                    self._accept()
                self._take(events)
                self._give()
                for connection in self._connections:
                    self._show_interest(connection)
        finally:
            for connection in list(self._connections):
                self._drop(connection, reset=True)
            self._epoll.close()

    def _wait(self) -> list[tuple[int, int]]:
        """What epoll reports, by the next departure at the latest."""
        times = [
            departure
            for connection in self._connections
            for flow in connection.flows
            if (departure := flow.next_departure) is not None
        ]
        if not times:
            return self._epoll.poll()
        patience = min(times) - time.monotonic()
        if patience > 0:
            # epoll counts in milliseconds: measured, it ends 0.6 to 1.1 ms late where select, with
            # the epoll as what it waits for, ends 0.14 ms late.
            select.select([self._epoll], [], [], patience)
        return self._epoll.poll(0)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # gone again
            return
        try:
            connection = Connection(client, self._target, self._wires, self._make_store)
        except OSError:
            client.close()
            return
        self._connections.add(connection)
        for sock in (connection.client, connection.server):
            self._sockets[sock.fileno()] = connection, sock
        self._show_interest(connection)

    def _take(self, events: dict[int, int]) -> None:
        """Let in what the sockets with ``events`` have, one piece each, in fair order."""
        ready: list[Flow] = []
        for fd in events:
            if fd not in self._sockets:  # dropped for what its other socket said just now
                continue
            connection, sock = self._sockets[fd]
            try:
                connection.finish_connecting()
            except OSError:
                self._drop(connection, reset=True)
                continue
            connection.giver(sock).blocked = False
            ready.append(connection.taker(sock))
        now = time.monotonic()
        for flow in sorted(ready, key=lambda flow: flow.last_taken):
            if flow.wants:
                flow.take(now)

    def _give(self) -> None:
        """Pass on whatever is due."""
        now = time.monotonic()
        for connection in list(self._connections):
            try:
                for flow in connection.flows:
                    departure = flow.next_departure
                    if departure is not None and departure <= now:
                        flow.give(now)
            except Reset:
                self._drop(connection, reset=True)
            else:
                if connection.done:
                    self._drop(connection, reset=False)

    def _show_interest(self, connection: Connection) -> None:
        """Tell epoll what has changed. A socket that nothing is wanted of is not in it at all:
        its errors would be reported without end.
        """
        for sock in (connection.client, connection.server):
            fd = sock.fileno()
            wanted, registered = connection.interest(sock), self._registered.get(fd, 0)
            if wanted == registered:
                continue
            if not wanted:
                self._epoll.unregister(fd)
            elif registered:
                self._epoll.modify(fd, wanted)
            else:
                self._epoll.register(fd, wanted)
            self._registered[fd] = wanted

    def _drop(self, connection: Connection, *, reset: bool) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        for sock in (connection.client, connection.server):
            self._registered.pop(sock.fileno(), None)
            self._sockets.pop(sock.fileno(), None)
        connection.close(reset=reset)  # epoll forgets a closed socket by itself


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Relay TCP connections over a long link.")
    parser.add_argument("target_host")
    parser.add_argument("target_port", type=int)
    parser.add_argument("--listen-host", default="127.0.0.1")
    parser.add_argument("--round-trip", type=float, default=0.0, help="seconds")
    parser.add_argument("--rate", type=float, help="bytes/s in each direction")
    parser.add_argument("--copy", action="store_true", help="copy through memory, without splice")
    return parser.parse_args()


def main() -> None:
    """Listen, print the port, relay until standard input ends."""
    arguments = _arguments()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two for each pipe of a delay line
    listener = socket.create_server(
        (arguments.listen_host, 0),
        family=socket.AF_INET6 if ":" in arguments.listen_host else socket.AF_INET,
    )
    link = arguments.round_trip, arguments.rate
    relay = Relay(
        listener,
        Target.resolve(arguments.target_host, arguments.target_port),
        (Wire(*link), Wire(*link)),
        MemoryStore if arguments.copy else PipeStore,
    )
    print(listener.getsockname()[1], flush=True)
    relay.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
