"""A man in the middle: relays SMB messages between a client and a real server, and changes some.

He has no key. Threads; ends with its ``with`` block.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

from netfsfuse.smb.wire.header import MAGIC_PLAIN, Command

FLAG_SIGNED = 8

Change = Callable[["Message"], bytes | None]
"""What a message becomes; None: as it is."""


class Message(bytearray):
    """One message, without the four bytes before it. ``client``: the client's socket."""

    client: socket.socket

    @property
    def is_sealed(self) -> bool:
        """Whether its header cannot be read."""
        return self[:4] != MAGIC_PLAIN

    @property
    def command(self) -> Command | None:
        """None where it cannot be read."""
        return None if self.is_sealed else Command(self.number(12, 2))

    @property
    def status(self) -> int:
        """The NTSTATUS of a reply."""
        return self.number(8, 4)

    def number(self, at: int, size: int) -> int:
        """The number of ``size`` bytes at ``at``."""
        return int.from_bytes(self[at : at + size], "little")

    def put(self, at: int, size: int, value: int) -> None:
        """Overwrite a number."""
        self[at : at + size] = value.to_bytes(size, "little")

    def unsign(self) -> None:
        """Take the signature away, and the word that there is one."""
        self.put(16, 4, self.number(16, 4) & ~FLAG_SIGNED)
        self[48:64] = bytes(16)


class Middle:
    """Relays to ``target``. ``on_request`` and ``on_reply`` see each message; see ``Change``."""

    def __init__(
        self,
        target: int,
        on_request: Change = lambda _: None,
        on_reply: Change = lambda _: None,
    ) -> None:
        self._target = target
        self._changes = (on_request, on_reply)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._open += [client, server]
            for source, sink, change in (
                (client, server, self._changes[0]),
                (server, client, self._changes[1]),
            ):
                thread = threading.Thread(target=_pump, args=(source, sink, change, client))
                self._threads.append(thread)
                thread.start()


def _pump(
    source: socket.socket, sink: socket.socket, change: Change, client: socket.socket
) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            message = Message(_exactly(source, int.from_bytes(_exactly(source, 4), "big")))
            message.client = client
            changed = change(message)
            send(sink, message if changed is None else changed)
    for sock in (source, sink):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def send(sink: socket.socket, message: bytes) -> None:
    """One message, framed; an empty one is not sent."""
    if message:
        sink.sendall(struct.pack(">I", len(message)) + message)


def _exactly(source: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = source.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
