"""A server of a few files in memory, over socket pairs: enough for sessions, files and listings.

``Server.handshaker`` stands in for the real handshake. Handles belong to a connection and die with
it; what is still in ``handles`` at the end was leaked by the client.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from netfsfuse.config import ServerConfig
from netfsfuse.errors import MountError, NetfsError
from netfsfuse.smb.connection.exchange import Request
from netfsfuse.smb.connection.handshake_result import HandshakeResult, Protection
from netfsfuse.smb.session.dialler import Dialler
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.wire.header import FLAG_RELATED, RELATED_FILE_ID, Command
from netfsfuse.stats import ServerStats
from netfsfuse.types import DIRECTORY, DirEntry, FileAttr
from tests.smb import replies
from tests.smb.peer import Asked, Peer, established

NOT_FOUND = 0xC0000034
COLLISION = 0xC0000035
PATH_NOT_FOUND = 0xC000003A
INVALID_PARAMETER = 0xC000000D
IS_DIRECTORY = 0xC00000BA
NOT_DIRECTORY = 0xC0000103
TOO_MANY_OPENED_FILES = 0xC000011F
FILE_CLOSED = 0xC0000128
END_OF_FILE = 0xC0000011
SESSION_DELETED = 0xC0000203


_LATER = 10**18
NEWBORN = FileAttr(99, _LATER, _LATER, _LATER, _LATER, 0, 0, 0)
"""Made later than any time that a server of these tests has stated."""


def attr_of(file_id: int, size: int = 0, *, stamp: int = 1000, directory: bool = False) -> FileAttr:
    """A file whose times are all ``stamp``, but for a creation time of its own."""
    flags = DIRECTORY if directory else 0
    return FileAttr(file_id, 500, stamp, stamp, stamp, size, size, flags)


@dataclass
class Node:
    """A file, or a directory if ``entries`` is set."""

    attr: FileAttr
    content: bytes = b""
    entries: list[DirEntry] | None = None
    volume: int = 9


@dataclass
class Opened:
    """A handle: its node, the connection it lives on, and how far it was listed."""

    node: Node
    connection: int
    listed: int = 0
    lease: bytes = b""
    made: bool = False


@dataclass
class Server:
    """``nodes`` by path. ``hook(asked)`` may answer a request itself: bytes are the reply,
    ``False`` drops the connection, ``None`` leaves it to the server. ``lease_state`` is what it
    grants of a lease that is asked for. ``keep``: the credits that it lets a client hold, if not
    all that it spends. ``max_handles``: opens beyond that many are refused. ``max_read``,
    ``max_transact``: as in NEGOTIATE; who asks for more is refused. ``newborn``: what is made is
    like that. ``links``: paths of which ``PATH\\.`` can be opened, else refused with
    ``path_dot_refused``; ``questions``: such asked;
    ``questioned``: how many in each message that held any, those of the root not counted.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    path_dot_refused: int = PATH_NOT_FOUND
    questions: list[str] = field(default_factory=list)
    questioned: list[int] = field(default_factory=list)
    page: int = 3
    credits: int = 64
    hook: Callable[[Asked], bytes | bool | None] = lambda asked: None
    lease_state: int = 0
    keep: int | None = None
    max_handles: int | None = None
    max_read: int = 8 << 20
    max_transact: int = 8 << 20
    newborn: FileAttr = NEWBORN
    refuse: MountError | None = None
    refusals: int = -1
    gate: trio.Event | None = None
    asked: list[Asked] = field(default_factory=list)
    handles: dict[bytes, Opened] = field(default_factory=dict)
    standing: list[tuple[int, int, bytes]] = field(default_factory=list)
    dialled: int = 0
    least: Protection | None = None
    _number: int = 0
    _peers: dict[int, Peer] = field(default_factory=dict)
    _nursery: trio.Nursery | None = None

    def handshaker(self, _config: ServerConfig, least: Protection | None) -> Handshake:
        """Pass this to Session."""
        self.least = least
        return Handshake(self)

    def accept(self, sock: socket.socket) -> None:
        """A new connection, from a handshake's thread."""
        assert self._nursery is not None
        self._number += 1
        self._peers[self._number] = Peer(sock, None, None)
        self._nursery.start_soon(self._serve, self._number)

    def commands(self) -> list[Command]:
        """What was asked so far."""
        return [Command(one.command) for one in self.asked]

    def drop(self) -> None:
        """Drop all connections, and with them their handles."""
        for number in list(self._peers):
            self._forget(number)

    def _forget(self, number: int) -> None:
        if peer := self._peers.pop(number, None):
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
            peer.close()
        for handle in [h for h, opened in self.handles.items() if opened.connection == number]:
            del self.handles[handle]

    async def _serve(self, number: int) -> None:
        peer = self._peers[number]
        held = self.credits
        try:
            while True:
                requests = [await peer.request()]
                while peer._ahead:
                    requests.append(peer._ahead.pop(0))
                answers: list[bytes] = []
                handle = b""
                before = len(self.questions)
                for asked in requests:
                    if (told := self._tell_link(number, asked)) is not None:
                        answers.append(told)
                        continue
                    self.asked.append(asked)
                    done = self.hook(asked)
                    if done is False:
                        return
                    if isinstance(done, bytes):
                        answers.append(done)
                        continue
                    if asked.command == Command.CHANGE_NOTIFY:
                        handle = self._stand(number, asked, handle)
                        answers.append(replies.interim(asked.command, asked.message_id))
                        continue
                    handle, answer = self._answer(number, asked, handle, answers)
                    answers.append(answer)
                if named := [path for path in self.questions[before:] if path != "."]:
                    self.questioned.append(len(named))
                held -= sum(asked.charge for asked in requests)
                answers, held = self._grant(answers, held)
                await peer.answer(*answers)
        except (EOFError, OSError, trio.ClosedResourceError):
            return
        finally:
            self._forget(number)

    def _grant(self, answers: list[bytes], held: int) -> tuple[list[bytes], int]:
        """The answers with their credits, and what the client holds then."""
        granted = []
        for answer in answers:
            credits = struct.unpack_from("<H", answer, 14)[0]
            if self.keep is not None:
                credits = min(credits, max(0, self.keep - held))
            held += credits
            granted.append(answer[:14] + struct.pack("<H", credits) + answer[16:])
        return granted, held

    def _answer(
        self, number: int, asked: Asked, before: bytes, answers: list[bytes]
    ) -> tuple[bytes, bytes]:
        """The handle that a related request means, and the reply."""

        def failed(status: int) -> tuple[bytes, bytes]:
            body = replies.error_body()
            return b"", replies.reply(asked.command, asked.message_id, body, status=status)

        def done(handle: bytes, body: bytes) -> tuple[bytes, bytes]:
            return handle, replies.reply(
                asked.command, asked.message_id, body, credits=asked.charge
            )

        if asked.command == Command.CREATE:
            status, handle = self._create(number, asked)
            if status:
                return failed(status)
            node = self.handles[handle].node
            key = self.handles[handle].lease
            lease = (key, self.lease_state) if key else None
            made = self.handles[handle].made
            body = replies.create_body(
                node.attr, handle, volume=node.volume, lease=lease, made=made
            )
            return done(handle, body)
        if asked.command == Command.OPLOCK_BREAK:
            return done(b"", bytes(36))
        if asked.command in (Command.ECHO, Command.LOGOFF, Command.TREE_DISCONNECT):
            return done(b"", b"\x04\0\0\0")
        at = {8: 16, 6: 8, 14: 8, 16: 24}[asked.command]
        handle = asked.body[at : at + 16]
        if handle == RELATED_FILE_ID:
            assert asked.flags & FLAG_RELATED
            if not before:
                return failed(struct.unpack_from("<I", answers[-1], 8)[0])
            handle = before
        opened = self.handles.get(handle)
        if opened is None or opened.connection != number:
            return failed(FILE_CLOSED)
        if asked.command == Command.CLOSE:
            del self.handles[handle]
            return done(handle, bytes(60))
        if asked.command == Command.QUERY_INFO:
            return done(handle, replies.output_body(replies.all_information(opened.node.attr)))
        if asked.command == Command.READ:
            length, start = struct.unpack_from("<IQ", asked.body, 4)
            if length > self.max_read:
                return failed(INVALID_PARAMETER)
            content = opened.node.content[start : start + length]
            return done(handle, replies.read_body(content)) if content else failed(END_OF_FILE)
        return self._list(asked, handle, opened, done, failed)

    def _tell_link(self, number: int, asked: Asked) -> bytes | None:
        """The answer to what tells links from files (``followed.py``), which is noted apart."""
        path = _path_of(asked) if asked.command == Command.CREATE else ""
        if path != "." and not path.endswith("\\."):
            return None
        self.questions.append(path)
        status, body = self.path_dot_refused, replies.error_body()
        path = path if path == "." else path[:-2]
        if path in self.links:
            status, handle = 0, struct.pack("<QQ", 0xDEF, asked.message_id + 1000 * number)
            node = self.nodes[path]
            self.handles[handle] = Opened(node, number)
            body = replies.create_body(node.attr, handle, volume=node.volume)
        return replies.reply(asked.command, asked.message_id, body, status=status)

    def _stand(self, number: int, asked: Asked, before: bytes) -> bytes:
        handle = asked.body[8:24]
        handle = before if handle == RELATED_FILE_ID else handle
        assert struct.unpack_from("<I", asked.body, 4)[0] <= self.max_transact
        self.standing.append((number, asked.message_id, handle))
        return handle

    async def notify(self, *changes: tuple[int, str], status: int = 0) -> None:
        """Answer the CHANGE_NOTIFY that stands longest: FILE_ACTIONs and names."""
        number, message_id, _ = self.standing.pop(0)
        body = replies.notify_body(changes)
        reply = replies.reply(Command.CHANGE_NOTIFY, message_id, body, status=status, credits=0)
        await self._peers[number].answer(reply)

    def _create(self, number: int, asked: Asked) -> tuple[int, bytes]:
        """Status and new handle."""
        disposition, options = struct.unpack_from("<II", asked.body, 36)
        node = self.nodes.get(_path_of(asked))
        if self.max_handles is not None and len(self.handles) >= self.max_handles:
            return TOO_MANY_OPENED_FILES, b""
        made = node is None and disposition != 1
        if made:
            node = self.nodes[_path_of(asked)] = Node(self.newborn)
        elif disposition == 2:
            return COLLISION, b""
        if node is None:
            return NOT_FOUND, b""
        if options & 0x40 and node.entries is not None:
            return IS_DIRECTORY, b""
        if options & 0x01 and node.entries is None:
            return NOT_DIRECTORY, b""
        handle = struct.pack("<QQ", 0xABC, asked.message_id + 1000 * number)
        self.handles[handle] = Opened(node, number, made=made)
        if (at := asked.raw.find(b"RqLs")) > 0:
            self.handles[handle].lease = asked.raw[at + 8 : at + 24]
        return 0, handle

    async def break_lease(self, key: bytes, state: int, *, acknowledge: bool = True) -> None:
        """Tell all connections."""
        for peer in self._peers.values():
            await peer.send(replies.lease_break(key, state, acknowledge=acknowledge))

    def _list(
        self,
        asked: Asked,
        handle: bytes,
        opened: Opened,
        done: Callable[[bytes, bytes], tuple[bytes, bytes]],
        failed: Callable[[int], tuple[bytes, bytes]],
    ) -> tuple[bytes, bytes]:
        if struct.unpack_from("<I", asked.body, 28)[0] > self.max_transact:
            return failed(INVALID_PARAMETER)
        if asked.body[3] & 1:
            opened.listed = 0
        dots = [DirEntry(name, opened.node.attr) for name in (".", "..")]
        page = (dots + (opened.node.entries or []))[opened.listed :][: self.page]
        if not page:
            return failed(replies.NO_MORE_FILES)
        opened.listed += len(page)
        return done(handle, replies.output_body(replies.directory_output(page)))


def _path_of(asked: Asked) -> str:
    name_at, length = struct.unpack_from("<HH", asked.body, 44)
    return asked.raw[name_at : name_at + length].decode("utf-16-le")


class Handshake:
    """What ``bridge.Handshake`` is to a session. Waits for the server's gate."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._unwanted = False
        self._made: socket.socket | None = None

    def go_on(self) -> None:
        """It does not wait for that."""

    def run(self, reached: Callable[[], None]) -> HandshakeResult:
        server = self._server
        server.dialled += 1
        reached()
        if server.gate is not None:
            trio.from_thread.run(server.gate.wait)
        if server.refuse is not None and server.refusals:
            server.refusals -= 1
            raise server.refuse
        if self._unwanted:
            raise MountError("nobody wants it any more")
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._made = ours
        if self._unwanted:
            ours.close()
            theirs.close()
            raise MountError("nobody wants it any more")
        trio.from_thread.run_sync(server.accept, theirs)
        return established(
            ours,
            credits=server.credits,
            leasing=bool(server.lease_state),
            max_read=server.max_read,
            max_transact=server.max_transact,
        )

    def abandon(self) -> None:
        """Whoever asked has gone."""
        self._unwanted = True
        if self._made is not None:
            self._made.close()


async def settled(session: Session) -> None:
    """What was sent without a wait is answered: one more question is."""
    assert session.live is not None
    await session.live.exchange([Request(Command.ECHO, b"\x04\0\0\0")])


@asynccontextmanager
async def serving(
    server: Server, *, max_channels: int = 1, closetimeo: float = 0.0, within: float = 10.0
) -> AsyncIterator[Session]:
    """A connected session. At the end it logs off; then no handle may be left."""
    config = ServerConfig(
        host="host",
        share="share",
        idle_deadline=5.0,
        max_channels=max_channels,
        closetimeo=closetimeo,
    )
    async with trio.open_nursery() as nursery:
        server._nursery = nursery
        dialler = Dialler(config, stats=ServerStats(), handshaker=server.handshaker)  # type: ignore[arg-type]
        session = Session(dialler, nursery=nursery)  # type: ignore[arg-type]
        with trio.fail_after(within):
            await session.connect()
            yield session
            if session.live is not None:  # what was closed without a wait has been closed then
                server.hook = lambda asked: None
                with contextlib.suppress(NetfsError):
                    await session.live.exchange([Request(Command.ECHO, b"\x04\0\0\0")])
        left = dict(server.handles)
        await session.aclose()
        server.drop()
    assert left == {}, "handles left open on the server"
