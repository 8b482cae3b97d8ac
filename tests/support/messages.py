"""SMB messages on their way, and what may befall them: lost, sent twice, cut short, altered.

A :data:`Change` is given each whole message of one direction of a ``proxy`` and says what becomes
of it. It has no key: of an encrypted message it sees the length and nothing else.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

from netfsfuse.smb.wire.header import FLAG_SIGNED, MAGIC_PLAIN, Command

STATUS_PENDING = 0x103
_COMMANDS = frozenset(Command)
_NUMBER_OF_ERROR = 0xC0000185  # IO_DEVICE_ERROR


class Raw(bytes):
    """Bytes that are sent without a length before them."""


class Message(bytearray):
    """One message, without the four bytes before it. ``answer`` sends one to its sender."""

    answer: Callable[[bytes], None]

    @property
    def is_sealed(self) -> bool:
        """Whether its header cannot be read."""
        return self[:4] != MAGIC_PLAIN

    @property
    def command(self) -> Command | None:
        """None where it cannot be read, or is none: a server repeats an altered one."""
        number = self.number(12, 2)
        return Command(number) if not self.is_sealed and number in _COMMANDS else None

    @property
    def status(self) -> int:
        """The NTSTATUS of a reply."""
        return self.number(8, 4)

    @property
    def is_final(self) -> bool:
        """Whether a reply is no interim one."""
        return self.is_sealed or self.status != STATUS_PENDING

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


Change = Callable[[Message], "bytes | Sequence[bytes] | None"]
"""What a message becomes: another, several, none (empty). None: as it is, or as it was changed in
place."""


def framed(message: bytes) -> bytes:
    """With its length before it; nothing for an empty one."""
    if isinstance(message, Raw) or not message:
        return bytes(message)
    return struct.pack(">I", len(message)) + message


# -- what becomes of a message ----------------------------------------------------------------


def lost(_: Message) -> bytes:
    """It never arrives."""
    return b""


def twice(message: Message) -> list[bytes]:
    """The same once more, at once."""
    return [bytes(message), bytes(message)]


def flipped(message: Message) -> None:
    """One bit of its last byte: of the payload, in a READ's reply."""
    message[-1] ^= 1


def refused(message: Message) -> None:
    """A success becomes an error."""
    if not message.is_sealed:
        message.put(8, 4, _NUMBER_OF_ERROR)


def longer(message: Message) -> Raw:
    """It claims to be 8 bytes longer than it is: what follows is taken for its end."""
    return Raw(struct.pack(">I", len(message) + 8) + message)


def shorter(message: Message) -> bytes:
    """Half of it, with the right length before it."""
    return bytes(message[: max(4, len(message) // 2)])


def payload_length(message: Message) -> None:
    """A READ's reply states one byte more than it brings."""
    if message.command is Command.READ and len(message) >= 80:
        message.put(68, 4, message.number(68, 4) + 1)


def unsigned(message: Message) -> None:
    """No signature, and no word of one."""
    if not message.is_sealed:
        message.unsign()


# -- which message ----------------------------------------------------------------------------


def nth(number: int, change: Change, command: Command | None = None) -> Change:
    """``change`` for the ``number``-th message (from 1) of ``command``, interim ones not counted;
    without a command of all that are longer than 1 KiB. The others pass."""
    seen = 0

    def act(message: Message) -> bytes | Sequence[bytes] | None:
        nonlocal seen
        wanted = message.command is command if command is not None else len(message) > 1024
        if not wanted or not message.is_final:
            return None
        seen += 1
        return change(message) if seen == number else None

    return act


def each(number: int, change: Change, command: Command | None = None) -> Change:
    """``change`` for each ``number``-th message of ``command``, or of all."""
    seen = 0

    def act(message: Message) -> bytes | Sequence[bytes] | None:
        nonlocal seen
        if command is not None and message.command is not command:
            return None
        seen += 1
        return None if seen % number else change(message)

    return act


class Mutation:
    """One message in ``rarity`` is changed at random: bytes, numbers, lengths, repeats, losses.

    The same ``seed`` and the same messages give the same changes. ``changed`` counts them. The
    first ``spared`` messages pass: the login.
    """

    def __init__(self, seed: int, rarity: int, spared: int = 0) -> None:
        self._random = random.Random(seed)
        self._rarity = rarity
        self._spared = spared
        self._last = b""
        self.seen = 0
        self.changed = 0

    def __call__(self, message: Message) -> bytes | Sequence[bytes] | None:
        self.seen += 1
        before, self._last = self._last, bytes(message[:65536])
        if self.seen <= self._spared or self._random.randrange(self._rarity):
            return None
        self.changed += 1
        return self._random.choice(_WAYS)(self._random, message, before)


def _bytes(chance: random.Random, message: Message, _: bytes) -> None:
    for _round in range(chance.randint(1, 4)):
        message[chance.randrange(len(message))] = chance.randrange(256)


def _header(chance: random.Random, message: Message, _: bytes) -> None:
    message[chance.randrange(min(len(message), 84))] ^= 1 << chance.randrange(8)


def _number(chance: random.Random, message: Message, _: bytes) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = chance.randrange(max(1, min(len(message) - size, 160)))
    most = (1 << 8 * size) - 1
    message.put(
        at,
        size,
        chance.choice((0, 1, most, most // 2, most // 2 + 1, chance.getrandbits(8 * size))),
    )


def _cut(chance: random.Random, message: Message, _: bytes) -> bytes:
    return bytes(message[: chance.randrange(1, len(message) + 1)])


def _grown(chance: random.Random, message: Message, _: bytes) -> bytes:
    return bytes(message) + chance.randbytes(chance.randint(1, 200))


def _frame(chance: random.Random, message: Message, _: bytes) -> Raw:
    return Raw(struct.pack(">I", chance.getrandbits(chance.choice((5, 8, 20, 32)))) + message)


def _repeated(_: random.Random, message: Message, __: bytes) -> list[bytes]:
    return twice(message)


def _replayed(_: random.Random, message: Message, before: bytes) -> list[bytes]:
    return [before, bytes(message)]


def _no_signature(_: random.Random, message: Message, __: bytes) -> None:
    unsigned(message)


_WAYS: Sequence[Callable[[random.Random, Message, bytes], bytes | Sequence[bytes] | None]] = (
    _bytes,
    _bytes,
    _header,
    _header,
    _number,
    _number,
    _cut,
    _grown,
    _frame,
    _repeated,
    _replayed,
    _no_signature,
)
