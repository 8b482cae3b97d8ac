"""``netfsfuse watch``: remote changes printed as they come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import COMMAND, SOURCE_TREE, Mounted, netfsfuse
from tests.support.second_client import second_client
from tests.support.until import until

Mount = Callable[..., Mounted]


class Watching:
    """The command, its lines so far."""

    def __init__(self, path: Path, *options: str) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [*COMMAND, "watch", str(path), *options],
            stdout=self._out,
            stderr=self._err,
            env={**os.environ, "PYTHONPATH": SOURCE_TREE},
        )

    def lines(self) -> list[str]:
        return _written(self._out).splitlines()

    def errors(self) -> str:
        return _written(self._err)

    def changes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._err.close()

    def ends_on(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(5)


def _written(file: IO[bytes]) -> str:
    """The whole lines in it. The command writes at the offset that it shares with ``file``: seeking
    here would have it write over its first lines."""
    text = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    return text[: text.rfind(b"\n") + 1].decode()


@contextmanager
def watching(path: Path, *options: str) -> Iterator[Watching]:
    watch = Watching(path, *options)
    try:
        until(lambda: "watching" in watch.errors(), 10, "it watches")
        yield watch
    finally:
        watch.close()


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    folder = Path(tempfile.mkdtemp(dir=samba.path))
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "f").write_bytes(b"old")
    return folder


def seen(watch: Watching, kind: str, path: str) -> bool:
    return any((each["kind"], each.get("path")) == (kind, path) for each in watch.changes())


def test_json(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """Of the whole tree below, within a second, who ever it was."""
    mounted = mount(samba)
    here = mounted.path / folder.name
    with watching(here, "--json") as watch, second_client(samba) as client:
        begin = time.time()
        client.write(f"{folder.name}/sub/f", b"newer")
        until(lambda: seen(watch, "modified", "sub/f"), 1, "a change by an SMB client")
        (folder / "sub" / "deep" / "new").write_bytes(b"")
        until(lambda: seen(watch, "created", "sub/deep/new"), 1, "a local new file")
        (folder / "sub" / "deep" / "new").rename(folder / "sub" / "deep" / "newer")
        until(lambda: seen(watch, "renamed", "sub/deep/new"), 1, "a rename")
        client.remove(f"{folder.name}/sub/deep/newer")
        until(lambda: seen(watch, "removed", "sub/deep/newer"), 1, "a removal")
        changes = watch.changes()
        assert all(begin - 1 < each["when"] < time.time() + 1 for each in changes)
        (renamed,) = [each for each in changes if each["kind"] == "renamed"]
        assert renamed["to"] == "sub/deep/newer"
        assert "lost" not in {each["kind"] for each in changes}
        assert watch.ends_on(signal.SIGINT) == 130


def test_text(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    """One line a change, with the time; of a mount point itself as well."""
    mounted = mount(samba, source=f"{samba.url}/{folder.name}")
    with watching(mounted.path) as watch:
        (folder / "sub" / "f").unlink()
        wanted = "removed   sub/f"
        until(lambda: any(wanted in line for line in watch.lines()), 1, "the line")
        assert watch.ends_on(signal.SIGTERM) == -signal.SIGTERM


def test_a_burst_is_told_whole_or_lost(samba: PrivateSamba, folder: Path, mount: Mount) -> None:
    mounted = mount(samba)
    with watching(mounted.path / folder.name, "--json") as watch:
        for number in range(3000):
            (folder / "sub" / f"n{number:04}").touch()
        until(
            lambda: (
                "lost" in {each["kind"] for each in watch.changes()}
                or len({each.get("path") for each in watch.changes()}) >= 3000
            ),
            10,
            "all, or that some are lost",
        )
        (folder / "last").touch()
        until(lambda: seen(watch, "created", "last"), 2, "what came after it")


def test_an_outage_is_told(samba_factory: Callable[..., PrivateSamba], mount: Mount) -> None:
    server = samba_factory()
    mounted = mount(server)
    with watching(mounted.path, "--json") as watch:
        server.restart()
        until(lambda: any(each["kind"] == "lost" for each in watch.changes()), 15, "the loss")
        (server.path / "new").touch()
        until(lambda: seen(watch, "created", "new"), 15, "a change after it")


def test_the_end_of_the_mount_is_the_end(samba: PrivateSamba, mount: Mount) -> None:
    mounted = mount(samba)
    with watching(mounted.path) as watch:
        mounted.umount()
        assert watch.process.wait(10) == 1
        assert "not there any more" in watch.errors()


@pytest.mark.parametrize(
    ("where", "reason"), [("", "is not on a netfsfuse mount"), ("big", "is not a directory")]
)
def test_refusals(
    samba: PrivateSamba, mount: Mount, tmp_path: Path, where: str, reason: str
) -> None:
    mounted = mount(samba)
    (samba.path / "big").touch()
    refused = netfsfuse("watch", str(mounted.path / where if where else tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert reason in refused.stderr
