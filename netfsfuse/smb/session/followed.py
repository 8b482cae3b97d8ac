"""Which names are links that the server follows by itself.

Samba shows a symlink on its disk as what it leads to: attributes, FileId, name, all of it. A change
there is told under the real name, in the directory that holds it. But ``NAME\\.``, which Samba
refuses for a file or directory of its own, it opens if NAME is a link or lies behind one (measured
on 4.17). So it is asked in the same round trip: right behind the compound that opens or lists the
file, or in a message with the questions of the other files that are fetched at that moment. A
handle that comes of it is closed at once. Which of the two is answered first does not matter: if a
file is made a link in between, the watch tells of it.

A server that takes ``NAME\\.`` for NAME opens the share's root by ``.`` as well, which Samba
refuses. One that refuses the name as such cannot tell. Either is asked no more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from netfsfuse.errors import NetfsError
from netfsfuse.smb.connection.apart import undo_create
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.status import OBJECT_NAME_INVALID
from netfsfuse.smb.wire.create import FILE_READ_ATTRIBUTES, pack_create, parse_create
from netfsfuse.smb.wire.header import Command

log = logging.getLogger(__name__)

_NAME_MAX = 16_000  # characters of a path that is asked about: a CREATE holds little more
_SELF = "\\."
_TOGETHER = 16
"""Questions in one message."""


@dataclass(slots=True)
class Question:
    """Whether the server's path ``name`` leads through a link. ``status``: the NTSTATUS it was
    answered with, None if the answer never came. Kept by :class:`Gathered`."""

    name: str
    answered: trio.Event
    status: int | None = None


@dataclass(slots=True)
class Gathered:
    """The questions of one message. ``answered`` is set when nothing more will come."""

    questions: list[Question] = field(default_factory=list)
    answered: trio.Event = field(default_factory=trio.Event)


class Asking(Protocol):
    """The session on which it is asked."""

    @property
    def number(self) -> int:
        """Of its connection."""
        ...

    async def exchange(self, requests: Callable[[Transport], Sequence[Request]]) -> list[Reply]:
        """The replies to ``requests``, on a new connection if the live one dies. Raises
        NetfsError."""
        ...

    def close_later(self, handle: bytes, number: int) -> None:
        """CLOSE ``handle`` of connection ``number``, and wait for nothing."""
        ...

    def spawn(self, task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run ``task`` beside the caller, as long as the mount at most."""
        ...


class Followed:
    """Whether names lead through links, asked on one ``session``. ``asks``: whether the server's
    answers mean anything, as far as is known."""

    def __init__(self, session: Asking) -> None:
        self._session = session
        self._proving = False
        self._gathered: Gathered | None = None  # in this step of the loop
        self.asks = True

    def question(self, name: str) -> list[Request]:
        """What to send along with the compound that opens the server's path ``name``: nothing or
        one."""
        return [_open(name + _SELF)] if self._is_askable(name) else []

    def answer(self, replies: Sequence[Reply], number: int, *, is_file: bool) -> bool:
        """Whether the path leads through a link, by the ``replies`` to the question, on connection
        ``number``. ``is_file``: that is what was opened."""
        if not replies:
            return False
        (reply,) = replies
        self._let_go(reply, number)
        return self._judge(reply.status, is_file=is_file)

    def ask(self, name: str) -> Question | None:
        """Have it asked of the server's path ``name``, in one message with those that are asked in
        the same step of the loop: a walk's files are fetched many at a time, and a message costs
        more than a question. None where nothing is to be had by it."""
        if not self._is_askable(name):
            return None
        gathered = self._gathered
        if gathered is None or len(gathered.questions) == _TOGETHER:
            gathered = self._gathered = Gathered()
            self._session.spawn(self._send, gathered)
        question = Question(name, gathered.answered)
        gathered.questions.append(question)
        return question

    async def learn(self, question: Question | None, *, is_file: bool) -> bool:
        """The answer, once it is there; True also where it never will be."""
        if question is None:
            return False
        await question.answered.wait()
        return question.status is None or self._judge(question.status, is_file=is_file)

    async def _send(self, gathered: Gathered) -> None:
        if self._gathered is gathered:
            self._gathered = None
        number = -1

        def build(_: Transport) -> list[Request]:
            nonlocal number
            number = self._session.number
            return [_open(question.name + _SELF) for question in gathered.questions]

        try:
            replies = await self._session.exchange(build)
            for question, reply in zip(gathered.questions, replies, strict=True):
                question.status = reply.status
                self._let_go(reply, number)
        except NetfsError as failed:
            log.debug("asking for links: %s", failed)
        finally:
            gathered.answered.set()

    def _is_askable(self, name: str) -> bool:
        return self.asks and 0 < len(name) <= _NAME_MAX

    def _let_go(self, reply: Reply, number: int) -> None:
        """Close the handle that an answer has brought, if it has."""
        if not reply.status:
            self._session.close_later(parse_create(reply.message).handle, number)

    def _judge(self, status: int, *, is_file: bool) -> bool:
        if status:
            if is_file and status == OBJECT_NAME_INVALID:
                self.asks = False
            return False
        if not self._proving:
            self._proving = True
            self._session.spawn(self._prove)
        return self.asks

    async def _prove(self) -> None:
        """No link leads to the root: a server that opens it by this name opens anything so."""
        try:
            (reply,) = await self._session.exchange(lambda _: [_open(_SELF[1:])])
        except NetfsError as failed:
            log.debug("asking for the root: %s", failed)
            self._proving = False
            return
        self._let_go(reply, self._session.number)
        if not reply.status:
            self.asks = False
            log.info("the server does not tell which links it follows")


def _open(name: str) -> Request:
    body = pack_create(name, access=FILE_READ_ATTRIBUTES, options=0)
    return Request(Command.CREATE, body, undo=undo_create, unrelated=True)
