"""Servers that are not what a client hopes for.

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
