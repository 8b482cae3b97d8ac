"""Requests to messages to the socket: headers, related compounds, signatures.

A caller's requests go out with one system call. Related and unrelated ones must not be mixed in one
message ([MS-SMB2] 3.3.5.2.7): where one kind follows the other a new message begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.connection.outbox import Message, Outbox
from netfsfuse.smb.wire.header import (
    FLAG_RELATED,
    FLAG_SIGNED,
    HEADER_SIZE,
    pack_cancel,
    pack_header,
)


class Sender:
    """Sends on one connection, by ``outbox``. ``ask(charge)`` is the CreditRequest of a request
    that costs ``charge``; ``broken`` hears that the socket takes nothing any more. Never waits,
    raises nothing, and keeps nothing of what was sent."""

    def __init__(
        self,
        established: HandshakeResult,
        outbox: Outbox,
        ask: Callable[[int], int],
        broken: Callable[[OSError], None],
    ) -> None:
        self._established = established
        self._signer = established.signer if established.sign_requests else None
        self._outbox = outbox
        self._ask = ask
        self._broken = broken

    def send(self, requests: Sequence[Request], ids: Sequence[int]) -> None:
        """Send ``requests`` under the MessageIds ``ids``, one each."""
        begin, messages = 0, []
        for end in range(1, len(requests) + 1):
            if end == len(requests) or requests[end].unrelated != requests[begin].unrelated:
                count = end - begin
                parts = (
                    self._pack(requests[begin + i], ids[begin + i], i, count) for i in range(count)
                )
                messages.append((b"".join(parts), requests[end - 1].source))
                begin = end
        self._hand_over(messages)

    def cancel(self, message_id: int, async_id: int) -> None:
        """Ask the server to end at once what it has answered STATUS_PENDING. It costs no credit and
        is not answered itself."""
        established = self._established
        packed = pack_cancel(
            message_id, async_id, established.session_id, signed=established.sign_requests
        )
        if self._signer is not None:
            self._signer.sign(packed)
        self._hand_over([(packed, None)])

    def _hand_over(self, messages: Sequence[Message]) -> None:
        try:
            self._outbox.send(messages)
        except OSError as failed:
            self._broken(failed)

    def _pack(self, request: Request, message_id: int, index: int, count: int) -> bytes | bytearray:
        """The request as number ``index`` of the ``count`` in its message. The payload of the last
        one is signed, and left to be sent from where it lies."""
        established = self._established
        last = index == count - 1
        body, payload = request.body, None
        if request.source is not None and last:
            payload = request.source.view
        elif request.source is not None:
            body = b"".join((body, request.source.view))
        padding = 0 if last else -len(body) % 8
        flags = FLAG_SIGNED if established.sign_requests else 0
        if index and not request.unrelated:
            flags |= FLAG_RELATED
        header = pack_header(
            command=request.command,
            charge=request.charge if established.multi_credit else 0,
            credit_request=self._ask(request.charge),
            flags=flags,
            next_command=0 if last else HEADER_SIZE + len(body) + padding,
            message_id=message_id,
            tree_id=established.tree_id,
            session_id=established.session_id,
        )
        packed = bytearray(header + body + bytes(padding))
        if self._signer is not None:
            self._signer.sign(packed, payload)
        return packed
