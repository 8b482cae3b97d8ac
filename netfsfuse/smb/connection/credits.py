"""PURE: the credit window and MessageIds of one connection ([MS-SMB2] 3.2.4.1.2, 3.2.4.1.5).

A request that moves up to 64 KiB costs one credit and one MessageId; a larger one its CreditCharge
of both. The server gives credits back with each reply, as many as it likes. We ask for what we
spend plus the way to our ceiling, so that a generous server's window is ours after a few replies.
Waiting for credits is the transport's business; here is only the arithmetic.
"""

from __future__ import annotations

CREDIT_BYTES = 64 * 1024
_GROWTH = 256
"""Credits asked for beyond the charge, per request at most: the field is 16 bits wide, and Samba
grants a fraction of a large request at a time anyway."""


def charge_for(payload: int) -> int:
    """CreditCharge of a request whose larger side carries ``payload`` bytes."""
    return max(1, -(-payload // CREDIT_BYTES))


class CreditWindow:
    """``available`` credits on hand, ``spent`` with requests on their way; ``standing`` of those
    with requests that may never be answered, and that no caller must wait for."""

    __slots__ = ("available", "ceiling", "next_message_id", "spent", "standing")

    def __init__(self, *, available: int, next_message_id: int, ceiling: int) -> None:
        self.available = available
        self.spent = 0
        self.standing = 0
        self.next_message_id = next_message_id
        self.ceiling = ceiling

    @property
    def held(self) -> int:
        """All credits of ours, on hand or under way."""
        return self.available + self.spent

    @property
    def usable(self) -> int:
        """What may be under way at once."""
        return min(self.held, self.ceiling) - self.standing

    @property
    def idle(self) -> bool:
        """Whether nothing is under way whose answer would bring credits."""
        return self.spent == self.standing

    def affords(self, charge: int, reserve: int = 0) -> bool:
        """Whether ``charge`` can be spent now, leaving ``reserve`` for more important requests.

        With nothing under way the reserve is given up: no other request would return credits. Never
        more than the ceiling is under way, for Samba grants in the handshake, and gives back with
        each reply, more than it was asked for.
        """
        if self.idle:
            return self.available >= charge
        return min(self.available, self.ceiling - self.spent) >= charge + reserve

    def take(self, charge: int) -> int:
        """Spend; returns the first of the ``charge`` consecutive MessageIds."""
        if self.available < charge:
            raise ValueError("credits on hand do not cover the charge")
        self.available -= charge
        self.spent += charge
        message_id = self.next_message_id
        self.next_message_id += charge
        return message_id

    def ask(self, charge: int) -> int:
        """CreditRequest for a request that costs ``charge`` (already taken)."""
        return charge + max(0, min(self.ceiling - self.held, _GROWTH))

    def grant(self, credits: int) -> None:
        """Credits that came with a reply, interim ones included."""
        self.available += credits

    def settle(self, charge: int) -> None:
        """The final reply to a request of ``charge`` is here."""
        self.spent -= charge
