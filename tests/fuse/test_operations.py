"""The handlers: look-up counts are right whatever fails."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyfuse3
import pytest

from netfsfuse.config import ShownConfig
from netfsfuse.errors import ServerError
from netfsfuse.fuse.operations import Operations
from netfsfuse.stats import STATS_XATTR
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted
from tests.vfs.written_fakes import WritableFakes

CONTEXT: Any = None
pytestmark = pytest.mark.usefixtures("autojump_clock")


@dataclass
class Kernel:
    """Where readdir_reply goes: takes ``room`` entries a call."""

    room: int = 1000
    told: list[tuple[bytes, int, int]] = field(default_factory=list)
    invalidated: list[int] = field(default_factory=list)

    def reply(self, _token: object, name: bytes, entry: Any, offset: int) -> bool:
        if len(self.told) >= self.room:
            return False
        self.told.append((name, entry.st_ino, offset))
        return True

    def invalidate(self, inode: int, *, attr_only: bool) -> None:
        assert attr_only
        self.invalidated.append(inode)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The kernel's side of a listing."""
    kernel = Kernel()
    monkeypatch.setattr(pyfuse3, "readdir_reply", kernel.reply)
    monkeypatch.setattr(pyfuse3, "invalidate_inode", kernel.invalidate)
    return kernel


@asynccontextmanager
async def serving(
    tree: dict[str, Node], names: WritableFakes | None = None
) -> AsyncIterator[tuple[Operations, Vfs]]:
    async with mounted(tree, names=names) as vfs:
        describe = {"daemon": {"pid": 1}}
        yield Operations(vfs.fs, ShownConfig(), vfs.stats, lambda: describe), vfs


def counts(vfs: Vfs) -> dict[int, int]:
    return {inode.number: inode.nlookup for inode in vfs.fs.inodes if inode.number != 1}


async def refusal(call: Any) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await call
    return caught.value.errno


def tree(count: int = 10) -> dict[str, Node]:
    return {f"n{n}": Node(file_attr(100 + n, 3), b"abc") for n in range(count)}


async def test_lookup_counts_and_forget_ends_it() -> None:
    async with serving(tree()) as (ops, vfs):
        for _ in range(3):
            assert (await ops.lookup(1, b"n0", CONTEXT)).st_ino == 100
        assert counts(vfs) == {100: 3}
        await ops.forget([(100, 2), (4711, 9)])
        assert counts(vfs) == {100: 1}
        await ops.forget([(100, 1)])
        assert counts(vfs) == {}
        assert (await ops.lookup(1, b"nothing", CONTEXT)).st_ino == 0


async def test_a_lookup_that_cannot_be_told_counts_nothing() -> None:
    """A size beyond 63 bits comes from a hostile server; the kernel gets EIO and no inode."""
    async with serving({"n": Node(file_attr(7)._replace(size=2**63))}) as (ops, vfs):
        assert await refusal(ops.lookup(1, b"n", CONTEXT)) == errno.EIO
        assert counts(vfs) == {}


async def test_listing_in_several_replies(kernel: Kernel) -> None:
    async with serving(tree()) as (ops, vfs):
        fh = await ops.opendir(1, CONTEXT)
        names: list[bytes] = []
        offset = 0
        while True:
            kernel.told.clear()
            kernel.room = 5
            await ops.readdir(fh, offset, CONTEXT)
            if not kernel.told:
                break
            names += [name for name, _, _ in kernel.told]
            offset = kernel.told[-1][2]
        assert names == [b".", b"..", *(f"n{n}".encode() for n in range(10))]
        assert counts(vfs) == {100 + n: 1 for n in range(10)}
        await ops.releasedir(fh)


async def test_what_the_reply_has_no_room_for_is_asked_for_again(kernel: Kernel) -> None:
    """Or the kernel would cut the next open of a file that has grown at its old size."""
    async with serving(tree(3)) as (ops, vfs):
        await ops.lookup(1, b"n0", CONTEXT)
        vfs.names.tree["n0"] = Node(file_attr(100, 6, age=5), b"abcdef")
        fh = await ops.opendir(1, CONTEXT)
        kernel.room = 2
        await ops.readdir(fh, 0, CONTEXT)
        assert kernel.invalidated == [100]
        assert (await ops.getattr(100, CONTEXT)).st_size == 6
        kernel.room = 10
        await ops.readdir(fh, 2, CONTEXT)
        assert kernel.invalidated == [100]
        await ops.releasedir(fh)


async def test_a_listing_that_fails_half_way_counts_nothing(kernel: Kernel) -> None:
    """The kernel is sent the error alone, and will never forget what it was not told."""
    names = tree(3) | {"l": Node(file_attr(200, 1067), target="x")} | {"z": Node(file_attr(201))}
    async with serving(names) as (ops, vfs):
        await ops.lookup(1, b"n1", CONTEXT)

        def refuse(what: str, _path: str) -> None:
            if what == "read_link":
                raise ServerError("no")

        vfs.names.before = refuse
        fh = await ops.opendir(1, CONTEXT)
        assert await refusal(ops.readdir(fh, 0, CONTEXT)) == errno.EIO
        assert len(kernel.told) == 5
        assert counts(vfs) == {101: 1}
        assert 101 in kernel.invalidated  # what was learned of it, it was not told
        await ops.releasedir(fh)


async def test_an_entry_that_cannot_be_told_counts_nothing(kernel: Kernel) -> None:
    async with serving({"n": Node(file_attr(7)._replace(size=2**63))}) as (ops, vfs):
        fh = await ops.opendir(1, CONTEXT)
        assert await refusal(ops.readdir(fh, 0, CONTEXT)) == errno.EIO
        assert counts(vfs) == {}
        await ops.releasedir(fh)


async def test_dot_and_dotdot_are_the_directory_and_its_parent(kernel: Kernel) -> None:
    async with serving({"d": Node(dir_attr(50)), "d/e": Node(dir_attr(51))}) as (ops, _):
        await ops.lookup(1, b"d", CONTEXT)
        await ops.lookup(50, b"e", CONTEXT)
        fh = await ops.opendir(51, CONTEXT)
        await ops.readdir(fh, 0, CONTEXT)
        assert [(name, number) for name, number, _ in kernel.told] == [(b".", 51), (b"..", 50)]
        await ops.releasedir(fh)


async def test_open_read_release(monkeypatch: pytest.MonkeyPatch) -> None:
    invalidated: list[tuple[int, bool]] = []
    monkeypatch.setattr(
        pyfuse3, "invalidate_inode", lambda n, attr_only: invalidated.append((n, attr_only))
    )
    async with serving(tree()) as (ops, vfs):
        await ops.lookup(1, b"n0", CONTEXT)
        for keep in (False, True):
            info = await ops.open(100, os.O_RDONLY, CONTEXT)
            assert info.keep_cache is keep
            assert bytes(await ops.read(info.fh, 0, 100)) == b"abc"
            await ops.flush(info.fh)  # nothing was written
            await ops.release(info.fh)
        assert invalidated == []
        vfs.names.tree["n0"] = Node(file_attr(100, 5, age=60), b"abcde")
        info = await ops.open(100, os.O_RDONLY, CONTEXT)
        assert not info.keep_cache
        assert invalidated == [(100, True)]
        await ops.release(info.fh)


async def test_what_came_with_an_open_is_read_without_a_wait() -> None:
    async with serving({"small": Node(file_attr(100, 3, age=60), b"abc")}) as (ops, vfs):
        await ops.lookup(1, b"small", CONTEXT)
        info = await ops.open(100, os.O_RDONLY, CONTEXT)
        for start, right in ((0, b"abc"), (2, b"c")):
            with pytest.raises(StopIteration) as answered:
                ops.read(info.fh, start, 4096 - start).send(None)
            assert bytes(answered.value.value) == right
        assert (vfs.stats.application.reads, vfs.stats.application.bytes) == (2, 4)
        await ops.release(info.fh)


async def test_what_has_no_deadline_waits_for_nothing() -> None:
    """The close of a file that is still being read, above all: one step, and it is answered."""
    content = bytes(1 << 20)
    async with serving({"big": Node(file_attr(100, len(content)), content)}) as (ops, _):
        await ops.lookup(1, b"big", CONTEXT)
        info = await ops.open(100, os.O_RDONLY, CONTEXT)
        await ops.read(info.fh, 0, 4096)
        for step in (
            ops.release(info.fh),
            ops.fsync(info.fh, True),
            ops.flush(info.fh),
            ops.readlink(100, CONTEXT),
            ops.getxattr(100, b"user.none", CONTEXT),
            ops.listxattr(100, CONTEXT),
            ops.symlink(1, b"big", b"x", CONTEXT),
        ):
            with pytest.raises((StopIteration, pyfuse3.FUSEError)):
                step.send(None)


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EINVAL])
async def test_the_kernel_may_have_forgotten_what_is_invalidated(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_number: int, attr_only: bool) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(pyfuse3, "invalidate_inode", fail)
    async with serving(tree()) as (ops, vfs):
        await ops.lookup(1, b"n0", CONTEXT)
        vfs.names.tree["n0"] = Node(file_attr(100, 5, age=60), b"abcde")
        if code == errno.ENOENT:
            await ops.release((await ops.open(100, os.O_RDONLY, CONTEXT)).fh)
        else:
            assert await refusal(ops.open(100, os.O_RDONLY, CONTEXT)) == errno.EIO
            assert vfs.names.open_handles == []  # the kernel does not know of it


async def test_on_a_read_only_mount_nothing_is_written_and_a_close_costs_no_request() -> None:
    names = WritableFakes({"": Node(dir_attr(2)), "n0": Node(file_attr(100, 5), b"abcde")})
    async with serving({}, names=names) as (ops, _):
        ops.is_read_only = True
        number = (await ops.lookup(1, b"n0", CONTEXT)).st_ino
        info = await ops.open(number, os.O_RDONLY, CONTEXT)
        assert await refusal(ops.flush(info.fh)) == errno.ENOSYS
        await ops.release(info.fh)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_TRUNC):
            assert await refusal(ops.open(number, flags, CONTEXT)) == errno.EROFS
            assert await refusal(ops.create(1, b"new", 0o644, flags, CONTEXT)) == errno.EROFS
        assert "new" not in names.tree


@pytest.mark.parametrize(
    ("flags", "direct"),
    [(os.O_WRONLY, True), (os.O_RDWR, False), (os.O_RDWR | os.O_TRUNC, False)],
)
async def test_a_file_is_made_and_written(flags: int, direct: bool) -> None:
    """A handle that only writes goes past the kernel's pages, and each look-up is counted."""
    names = WritableFakes({"": Node(dir_attr(2))})
    async with serving({}, names=names) as (ops, vfs):
        info, entry = await ops.create(1, b"new", 0o644, flags | os.O_CREAT | os.O_EXCL, CONTEXT)
        assert info.direct_io is direct
        inode = vfs.fs.inodes.get(entry.st_ino)
        assert inode.nlookup == 1
        assert await ops.write(info.fh, 0, b"hello") == 5
        assert (await ops.getattr(entry.st_ino, CONTEXT)).st_size == 5
        await ops.flush(info.fh)
        assert names.tree["new"].content == b"hello"
        await ops.fsync(info.fh, False)
        assert names.count("flush") == 1
        await ops.release(info.fh)
        exists = ops.create(1, b"new", 0o644, os.O_WRONLY | os.O_CREAT | os.O_EXCL, CONTEXT)
        assert await refusal(exists) == errno.EEXIST
        assert inode.nlookup == 1


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("mknod", errno.EPERM),
        ("link", errno.EPERM),
        ("symlink", errno.EOPNOTSUPP),
        ("setxattr", errno.EOPNOTSUPP),
        ("removexattr", errno.EOPNOTSUPP),
    ],
)
async def test_what_servers_cannot_hold_is_refused(call: str, code: int) -> None:
    async with serving({}) as (ops, _):
        assert await refusal(getattr(ops, call)(1, b"x", b"y", CONTEXT)) == code


async def test_names_are_made_renamed_and_removed() -> None:
    async with serving(tree()) as (ops, vfs):
        made = await ops.mkdir(1, b"new", 0o755, CONTEXT)
        assert vfs.fs.inodes.get(made.st_ino).nlookup == 1
        await ops.rename(1, b"n0", made.st_ino, b"n", 0, CONTEXT)
        assert "new/n" in vfs.names.tree
        assert await refusal(ops.rmdir(1, b"new", CONTEXT)) == errno.ENOTEMPTY
        assert await refusal(ops.mkdir(1, b"new", 0o755, CONTEXT)) == errno.EEXIST
        assert await refusal(ops.rename(1, b"n1", 1, b"new", 1, CONTEXT)) == errno.EEXIST
        assert await refusal(ops.rename(1, b"n1", 1, b"new", 2, CONTEXT)) == errno.EINVAL
        await ops.unlink(made.st_ino, b"n", CONTEXT)
        await ops.rmdir(1, b"new", CONTEXT)
        assert not [path for path in vfs.names.tree if path.startswith("new")]
        await ops.forget([(made.st_ino, 1)])
        assert vfs.fs.inodes.find(made.st_ino) is None


async def test_extended_attributes() -> None:
    async with serving(tree()) as (ops, _):
        name = STATS_XATTR.encode()
        assert json.loads(await ops.getxattr(1, name, CONTEXT)) == {"daemon": {"pid": 1}}
        assert await refusal(ops.getxattr(1, b"user.other", CONTEXT)) == errno.EOPNOTSUPP
        assert await refusal(ops.getxattr(100, name, CONTEXT)) == errno.EOPNOTSUPP
        assert list(await ops.listxattr(1, CONTEXT)) == []


async def test_an_open_that_finds_a_change_renews_what_the_kernel_knows(kernel: Kernel) -> None:
    """And one that finds none does not: then news of the file is told at once."""
    renewed: list[int] = []
    async with mounted(tree(1)) as vfs:
        ops = Operations(vfs.fs, ShownConfig(), vfs.stats, dict, renewed=renewed.append)
        await ops.lookup(1, b"n0", CONTEXT)
        for attr in (file_attr(100, 3), file_attr(100, 6, age=5), file_attr(100, 6, age=5)):
            vfs.names.tree["n0"] = Node(attr, b"abcdef"[: attr.size])
            await ops.release((await ops.open(100, os.O_RDONLY, CONTEXT)).fh)
        assert kernel.invalidated == renewed == [100]
