"""A file that several mounts write to, or that one writes while another reads: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, content
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy
from tests.support.second_client import second_client
from tests.support.until import until

Mount = Callable[..., Mounted]

_APPENDER = """
import os, random, sys
name, word, count, keeps = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "keeps"
draw = random.Random(word)
fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for number in range(count):
    line = f"{word} {number} ".encode() + b"." * draw.randrange(200) + b"\\n"
    assert os.write(fd, line) == len(line)
    if not keeps:
        os.close(fd)
        fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.close(fd)
"""


@pytest.fixture
def folder(samba: PrivateSamba) -> Path:
    return Path(tempfile.mkdtemp(dir=samba.path))


def lines(log: Path) -> dict[str, list[int]]:
    """The numbers of each appender's lines, in the log's order; each line must be whole."""
    found: dict[str, list[int]] = {}
    whole = log.read_bytes()
    assert b"\0" not in whole, f"a hole at {whole.index(0)}"
    assert whole.endswith(b"\n")
    for line in whole.split(b"\n")[:-1]:
        assert line.count(b" ") == 2, (line, whole[max(0, whole.index(line) - 300) :][:600])
        word, number, rest = line.split(b" ")
        assert rest.strip(b".") == b"", line
        found.setdefault(word.decode(), []).append(int(number))
    return found


@pytest.mark.parametrize("way", ["keeps", "reopens"])
@pytest.mark.parametrize(
    "count", [150, pytest.param(5000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_appenders_of_one_mount(
    samba: PrivateSamba, folder: Path, mount: Mount, way: str, count: int
) -> None:
    """Four programs and one log: each line once, whole, and each program's in its order."""
    mounted = mount(samba)
    append_by([mounted.path / folder.name] * 4, count, way)
    found = lines(folder / "log")
    assert found == {f"w{n}": list(range(count)) for n in range(4)}


@pytest.mark.parametrize(
    "count", [60, pytest.param(2000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("options", ["fsc", "nolease"])
def test_appenders_take_turns(
    samba: PrivateSamba, folder: Path, mount: Mount, options: str, count: int
) -> None:
    """A line by one mount, a line by the other, as the lease passes: nothing is lost."""
    heres = [mount(samba, options).path / folder.name for _ in range(2)]
    for number in range(count):
        here = heres[number % 2]
        # As a shell's >> does it: nothing is asked of the file between open and write.
        fd = os.open(here / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"w{number % 2} {number // 2} .\n".encode())
        os.close(fd)
    assert lines(folder / "log") == {f"w{n}": list(range(count // 2)) for n in range(2)}


@pytest.mark.parametrize("way", ["keeps", "reopens"])
@pytest.mark.parametrize(
    "count", [100, pytest.param(3000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_appenders_of_two_mounts(
    samba: PrivateSamba, folder: Path, mount: Mount, way: str, count: int
) -> None:
    """Both at once: each line once, and whole."""
    mounts = [mount(samba), mount(samba, "nofsc")]
    append_by([mounted.path / folder.name for mounted in mounts], count, way)
    assert lines(folder / "log") == {f"w{n}": list(range(count)) for n in range(2)}


def append_by(heres: list[Path], count: int, way: str) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", _APPENDER, here / "log", f"w{n}", str(count), way])
        for n, here in enumerate(heres)
    ]
    assert [process.wait(100 + count / 20) for process in running] == [0] * len(running)


@pytest.mark.parametrize("options", ["fsc", "nolease"])
def test_tail_on_another_mount(
    samba: PrivateSamba, folder: Path, mount: Mount, options: str
) -> None:
    """``tail -f`` shows each line, in order and whole, while the writer keeps the log open."""
    writing, reading = mount(samba, options), mount(samba, options)
    written = b""
    (folder / "log").touch()
    with (
        (writing.path / folder.name / "log").open("ab", buffering=0) as log,
        tempfile.TemporaryFile() as out,
    ):
        words = ["tail", "-n", "+1", "-s", "0.1", "-f", reading.path / folder.name / "log"]
        tail = subprocess.Popen(words, stdout=out)
        try:
            for number in range(150):
                line = f"line {number} ".encode() + b"." * (number * 37 % 300) + b"\n"
                log.write(line)
                written += line
                time.sleep(0.01)  # the writer's own pace

            def shown() -> bytes:
                return os.pread(out.fileno(), len(written) + 1, 0)

            until(lambda: len(shown()) >= len(written), 5.0, "tail has shown all")
        finally:
            tail.terminate()
            tail.wait()
        assert shown() == written
    assert (folder / "log").read_bytes() == written


@contextmanager
def in_thread(act: Callable[[], object]) -> Iterator[list[object]]:
    """What ``act`` returned, or raised, stands in the list when the block has ended."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(act())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(90.0)
        assert not thread.is_alive(), "stands still"


def test_a_break_with_much_dirty(
    samba: PrivateSamba, folder: Path, mount: Mount, proxy: Callable[..., PrivateProxy]
) -> None:
    """64 MiB wait behind a line that carries nothing, and another client asks for the file: it is
    answered when it can have all of them."""
    line = proxy(samba.port)
    mounted = mount(samba, source=f"//127.0.0.1:{line.port}/{samba.share}")
    size = 64 * MIB
    piece = os.urandom(MIB)
    wanted = b"".join(bytes([n]) + piece[1:] for n in range(size // MIB))
    fd = os.open(mounted.path / folder.name / "f", os.O_WRONLY | os.O_CREAT)
    try:
        os.write(fd, wanted[:10])
        os.fsync(fd)
        line.pause()

        def write() -> int:
            return sum(os.pwrite(fd, wanted[at : at + MIB], at) for at in range(0, size, MIB))

        with (
            second_client(samba) as client,
            in_thread(write) as written,
            in_thread(lambda: client.read(f"{folder.name}/f")) as read,
        ):
            time.sleep(1.0)  # the break is on its way, and cannot arrive
            line.resume()
        assert written == [size], written
        seen = read[0]
        assert isinstance(seen, bytes), seen
        assert seen == wanted[: len(seen)]
    finally:
        os.close(fd)
    assert (folder / "f").read_bytes() == wanted
    with second_client(samba) as client:
        assert client.read(f"{folder.name}/f") == wanted


def test_what_is_not_synced_is_given_to_another_client(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """All that write(2) took, the moment another client opens the file."""
    mounted = mount(samba)
    wanted = os.urandom(8 * MIB)
    with (mounted.path / folder.name / "f").open("wb", buffering=0) as file:
        for start in range(0, len(wanted), 100_000):
            file.write(wanted[start : start + 100_000])
        with second_client(samba) as client:
            assert client.read(f"{folder.name}/f") == wanted
        file.write(b"more")
        assert (folder / "f").read_bytes() == wanted + b"more", "through, once the lease is gone"
    assert content(mounted.path / folder.name / "f") == wanted + b"more"


def test_two_mounts_write_to_parts_of_one_file(
    samba: PrivateSamba, folder: Path, mount: Mount
) -> None:
    """Even pieces by one, odd ones by the other, both handles open all the time."""
    mounts = [mount(samba), mount(samba, "nofsc")]
    size, count = 50_000, 60
    (folder / "f").touch()
    fds = [os.open(mounted.path / folder.name / "f", os.O_RDWR) for mounted in mounts]
    wanted = os.urandom(size * count)
    try:
        for number in range(count):
            at = number * size
            assert os.pwrite(fds[number % 2], wanted[at : at + size], at) == size
    finally:
        for fd in fds:
            os.close(fd)
    assert (folder / "f").read_bytes() == wanted
