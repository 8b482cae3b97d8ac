"""One connection through a relay: a client, the server it wants, and the flows between them."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from netfsfuse.lab.link.flow import Flow
from netfsfuse.lab.link.line import Store
from netfsfuse.lab.link.wire import Wire

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Target:
    """Where a relay connects to."""

    family: socket.AddressFamily
    address: tuple[str, int]

    @classmethod
    def resolve(cls, host: str, port: int) -> Target:
        """Look the host up, once. Raises OSError where it has no address."""
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return cls(family, (str(address[0]), port))


class Connection:
    """Owns ``client`` and the socket to ``target``, which it begins to connect.

    ``wires`` lead to the server and back. Raises OSError where the target cannot be reached; the
    caller closes ``client`` then.
    """

    def __init__(
        self,
        client: socket.socket,
        target: Target,
        wires: tuple[Wire, Wire],
        make_store: Callable[[], Store],
    ) -> None:
        server = socket.socket(target.family)
        try:
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(BlockingIOError):
                server.connect(target.address)
        except BaseException:
            server.close()
            raise
        self.client = client
        self.server = server
        self._connecting = True
        self.there = Flow(client, server, wires[0], make_store())
        self.back = Flow(server, client, wires[1], make_store())

    @property
    def flows(self) -> tuple[Flow, Flow]:
        """To the server, and back."""
        return self.there, self.back

    @property
    def done(self) -> bool:
        """Whether both ends were passed on."""
        return self.there.done and self.back.done

    def taker(self, sock: socket.socket) -> Flow:
        """The flow that takes from this socket."""
        return self.there if sock is self.client else self.back

    def giver(self, sock: socket.socket) -> Flow:
        """The flow that gives to this socket."""
        return self.back if sock is self.client else self.there

    def interest(self, sock: socket.socket) -> int:
        """The epoll events to wait for on one of the sockets; 0 for none, errors included."""
        if self._connecting:
            return select.EPOLLOUT if sock is self.server else 0
        wanted = select.EPOLLIN if self.taker(sock).wants else 0
        return wanted | (select.EPOLLOUT if self.giver(sock).blocked else 0)

    def finish_connecting(self) -> None:
        """The socket to the server became writable. Raises OSError where it was refused."""
        if self._connecting:
            error = self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            self._connecting = False

    def close(self, *, reset: bool) -> None:
        """Close both sockets: with a reset, or as the ends that were passed on left them."""
        for flow in self.flows:
            flow.close()
        for sock in (self.client, self.server):
            if reset:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()
