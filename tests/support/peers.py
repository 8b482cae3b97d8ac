"""Servers that are not what a client hopes for, and a relay that puts words in a server's mouth.

All listen on a free loopback port and end with their ``with`` block; all are threads.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


def _serve(listener: socket.socket, greeting: bytes | None) -> None:
    held = []
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            break
        held.append(client)
        with contextlib.suppress(OSError):
            if greeting is not None:
                client.sendall(greeting)
    for client in held:
        client.close()


@contextlib.contextmanager
def peer(greeting: bytes | None) -> Iterator[int]:
    """The port of a server that says ``greeting`` to everybody, and then nothing any more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, greeting))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def closed_port() -> int:
    """A port that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Relay:
    """Forwards one connection at a time to ``target``; :meth:`inject` adds to what the client
    hears. Inject while the connection is idle, or it lands within another message.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.connections = 0

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def inject(self, message: bytes) -> None:
        """Send the client one frame as if the server had."""
        assert self._client is not None
        self._client.sendall(len(message).to_bytes(4, "big") + message)

    def _run(self) -> None:
        while True:
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._client, socket.create_connection(("127.0.0.1", self._target)) as server:
                up = threading.Thread(target=_pump, args=(self._client, server))
                up.start()
                _pump(server, self._client)
                up.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
