"""The names below the mounted folder of a share: vfs's Namespace over SMB3."""

from __future__ import annotations

from collections.abc import Callable

from netfsfuse.errors import InvalidArgument, InvalidName, NotSupported
from netfsfuse.smb import status
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.session.lease import Holder
from netfsfuse.smb.session.reachability import ServerReach
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share import compound
from netfsfuse.smb.share.creation import create
from netfsfuse.smb.share.deferred import DeferredFile
from netfsfuse.smb.share.directory import SmbListing
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.handle import READ_ACCESS
from netfsfuse.smb.share.mutations import SmbMutations
from netfsfuse.smb.share.names import decode_name, is_surely_listed, path_to_server
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.share.reparse import MFSYMLINK_SIZE, parse_mfsymlink, parse_reparse
from netfsfuse.smb.share.watch import SmbWatch
from netfsfuse.smb.share.writable import WritableSmbFile
from netfsfuse.smb.wire.create import (
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN_REPARSE_POINT,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    pack_create,
    parse_create,
)
from netfsfuse.smb.wire.header import RELATED_FILE_ID, Command
from netfsfuse.smb.wire.query import (
    FSCTL_GET_REPARSE_POINT,
    pack_ioctl,
    pack_query_full_size,
    parse_full_size,
    parse_ioctl,
)
from netfsfuse.smb.wire.read import pack_read, parse_read
from netfsfuse.types import FileAttr, ServerTime, VolumeStat

_REPARSE_ROOM = 16 * 1024  # [MS-FSCC] 2.1.2: MAXIMUM_REPARSE_DATA_BUFFER_SIZE


class SmbNamespace:
    """Implements ``vfs.ops.Namespace``. ``mfsymlinks``: take Minshall+French files for links.
    ``lease_trust``: seconds for which a lease stands for a file, 0 for no leases."""

    def __init__(
        self,
        session: Session,
        *,
        subdir: str = "",
        mfsymlinks: bool = True,
        lease_trust: float = 0.0,
    ) -> None:
        self._session = session
        self._subdir = subdir
        self._mfsymlinks = mfsymlinks
        self._files = OpenFiles(session, trust=lease_trust if session.config.leases else 0.0)
        self._mutations = SmbMutations(session, self._files)

    def _server_path(self, path: str) -> str:
        return path_to_server(f"{self._subdir}/{path}", self._session.odd_names)

    @property
    def reachability(self) -> ServerReach:
        """Fits ``vfs.ops.Reachability``."""
        return self._session.reachability

    def decode_name(self, raw: bytes) -> str:
        """A name from the kernel as a path component. Raises InvalidName."""
        return decode_name(raw)

    def is_surely_listed(self, name: str) -> bool:
        """Whether a file that is found by ``name`` is listed, and told of, by that name, but for
        case."""
        return is_surely_listed(name)

    async def _ask(
        self,
        path: str,
        *middle: Request,
        access: int = FILE_READ_ATTRIBUTES,
        options: int = FILE_OPEN_REPARSE_POINT,
    ) -> list[Reply]:
        name = self._server_path(path)
        self._files.give_way(name)
        return await compound.ask(self._session, name, *middle, access=access, options=options)

    def server_time(self) -> ServerTime:
        """The server's clock, now, as far as it has told it."""
        return self._session.clock.now()

    async def stat(self, path: str) -> FileAttr:
        """Attributes of what is at ``path`` itself, a link not followed. Raises the refusal."""
        name = self._server_path(path)
        self._files.give_way(name)
        return await compound.stat(self._session, name)

    def may_be_link(self, attr: FileAttr) -> bool:
        """Keeps the contract of ``Namespace.may_be_link``."""
        return attr.may_be_link or (
            self._mfsymlinks and attr.size == MFSYMLINK_SIZE and not attr.is_directory
        )

    async def read_link(self, path: str, attr: FileAttr) -> str | None:
        """Keeps the contract of ``Namespace.read_link``."""
        if attr.may_be_link:
            room = min(_REPARSE_ROOM, self._session.max_transact)
            ioctl = pack_ioctl(RELATED_FILE_ID, FSCTL_GET_REPARSE_POINT, room)
            try:
                replies = await self._ask(path, Request(Command.IOCTL, ioctl, room=room))
            except (InvalidArgument, NotSupported):
                return None
            return parse_reparse(parse_ioctl(replies[1].message))
        if self._files.is_written(self._server_path(path)):
            return None  # and a handle without its lease would break that
        room = MFSYMLINK_SIZE + 1
        read = Request(Command.READ, pack_read(RELATED_FILE_ID, 0, room), room=room)
        replies = await self._ask(path, read, access=FILE_READ_DATA)
        if replies[1].status == status.END_OF_FILE:  # cut short since its size was known
            return None
        offset, length = parse_read(replies[1].message)
        return parse_mfsymlink(bytes(replies[1].message[offset : offset + length]))

    @property
    def leasing(self) -> bool:
        """Whether files are opened under leases."""
        return self._files.leasing and bool(self._session.leases.version)

    async def open(
        self,
        path: str,
        *,
        prefill: int = 0,
        known: FileAttr | None = None,
        on_break: Callable[[], None] | None = None,
    ) -> tuple[SmbFile, memoryview | None]:
        """Keeps the contract of ``Namespace.open``."""
        name = self._server_path(path)
        file = await self._files.open(name, head=prefill, known=known, on_break=on_break)
        return file, file.whole

    async def open_writing(
        self, path: str, *, known: FileAttr | None = None, holder: Holder
    ) -> WritableSmbFile:
        """Keeps the contract of ``WritableNamespace.open_writing``."""
        name = self._server_path(path)
        return await self._files.open_writing(name, known=known, holder=holder)

    async def create(
        self, path: str, *, exclusive: bool, holder: Holder
    ) -> tuple[WritableSmbFile, bool]:
        """Keeps the contract of ``WritableNamespace.create``. Raises InvalidArgument for a name
        that the server cannot hold."""
        name = self._server_path(path)
        try:
            return await create(
                self._session, self._files, name, exclusive=exclusive, holder=holder
            )
        except InvalidName as refused:
            raise InvalidArgument(str(refused)) from refused

    def open_deferred(
        self, path: str, attr: FileAttr, opened: Callable[[FileAttr], None]
    ) -> DeferredFile:
        """Keeps the contract of ``Namespace.open_deferred``."""
        return DeferredFile(self._files, self._server_path(path), attr, opened)

    async def fetch(self, path: str, size: int) -> tuple[FileAttr, memoryview] | None:
        """Keeps the contract of ``Namespace.fetch``."""
        name = self._server_path(path)
        self._files.give_way(name)
        if self._files.writer(name) is not None:
            return None
        body = pack_create(name, access=READ_ACCESS, options=FILE_NON_DIRECTORY_FILE)
        session = self._session
        question = session.followed.ask(name)

        def build(transport: Transport) -> list[Request]:
            requests = [Request(Command.CREATE, body), compound.CLOSE]
            if room := min(size, transport.established.max_read):
                read = Request(Command.READ, pack_read(RELATED_FILE_ID, 0, room), room=room)
                requests.insert(1, read)
            return requests

        replies = await session.exchange(build)
        followed = await session.followed.learn(question, is_file=not replies[0].status)
        if replies[0].status:
            raise status.error_of(replies[0].status, f"CREATE {name!r}", name)
        created = parse_create(replies[0].message)
        attr = session.file_ids.seen(created.attr)
        if followed:
            return None
        if self._files.holds((attr.file_id, created.volume_id)):
            return None
        if not size or replies[1].status:  # at its end, or refused: its reader is told
            return attr, memoryview(b"")
        offset, length = parse_read(replies[1].message)
        return attr, replies[1].message[offset : offset + length]

    def watch(self, path: str, *, tree: bool = False) -> SmbWatch | None:
        """Ask to be told of changes in a directory, with ``tree`` of all below. None where that is
        not to be had now. Never waits."""
        return SmbWatch.begin(self._session, self._server_path(path), tree=tree)

    async def list(self, path: str) -> SmbListing:
        """Open a directory, its first pages with it. Raises the refusal."""
        name = self._server_path(path)
        self._files.give_way_below(name)
        return await SmbListing.open(self._session, name)

    async def stat_volume(self) -> VolumeStat:
        """Space on the server's volume. Raises the refusal."""
        query = Request(Command.QUERY_INFO, pack_query_full_size(RELATED_FILE_ID))
        replies = await self._ask("", query, options=0)
        return parse_full_size(replies[1].message)

    # -- changes ------------------------------------------------------------------------------

    async def make_directory(self, path: str) -> FileAttr:
        """Keeps the contract of ``WritableNamespace.make_directory``."""
        return await self._mutations.make_directory(self._server_path(path))

    async def remove(self, path: str, *, directory: bool, known: FileAttr | None = None) -> None:
        """Keeps the contract of ``MutableNamespace.remove``."""
        name = self._server_path(path)
        await self._mutations.remove(name, directory=directory, known=known)

    async def rename(
        self, path: str, to: str, *, replace: bool, known: FileAttr | None = None
    ) -> FileAttr:
        """Keeps the contract of ``WritableNamespace.rename``."""
        name, new_name = self._server_path(path), self._server_path(to)
        return await self._mutations.rename(name, new_name, replace=replace, known=known)

    async def set_attributes(
        self,
        path: str,
        *,
        size: int | None = None,
        access: int | None = None,
        write: int | None = None,
        read_only: bool | None = None,
    ) -> FileAttr:
        """Keeps the contract of ``WritableNamespace.set_attributes``."""
        return await self._mutations.set_attributes(
            self._server_path(path), size=size, access=access, write=write, read_only=read_only
        )
