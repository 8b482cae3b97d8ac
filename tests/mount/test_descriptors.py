"""Many files open at once, and few descriptors for the daemon."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import COMMAND, Mounted
from tests.support.until import until

FILES = 300
SIZE = 70_000


@pytest.fixture(scope="module")
def content(samba: PrivateSamba) -> dict[str, bytes]:
    folder = samba.path / "many-open"
    folder.mkdir()
    content = {f"f{n:03}": f"{n:07}".encode() * (SIZE // 7) for n in range(FILES)}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return content


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def limits(pid: int) -> tuple[str, str]:
    """Soft and hard."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    ]
    soft, hard = line.split()[3:5]
    return soft, hard


def test_more_files_are_open_than_the_daemon_may_have_descriptors(
    samba: PrivateSamba, mount, proxy, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read right, some without the cache, and a lost connection is made again meanwhile."""
    line = proxy(samba.port)
    mounted: Mounted = mount(samba, source=f"//127.0.0.1:{line.port}/share", now=False)
    few = ("prlimit", "--nofile=100:200", *COMMAND)
    monkeypatch.setattr("tests.support.mounted.COMMAND", few)
    mounted.mount()
    monkeypatch.undo()
    assert limits(mounted.pid) == ("200", "200")
    with ExitStack() as stack:
        files = {
            name: stack.enter_context((mounted.path / "many-open" / name).open("rb"))
            for name in content
        }
        for name, file in files.items():
            assert file.read() == content[name]
        line.cut()
        for name, file in list(files.items())[::17]:
            file.seek(0)
            assert file.read() == content[name]
        assert (mounted.path / "hello.none").exists() is False
        assert descriptors(mounted.pid) < 190
    stats = mounted.stats()
    assert stats["server"]["reconnects"] == 1
    assert stats["application"]["errors"] == 0
    assert stats["cache"]["errors"] == 0
    until(lambda: descriptors(mounted.pid) < 100, 10, "the cache's descriptors are given back")
    mounted.umount()
    assert "too many open files" not in mounted.log_text().lower()
    assert "are open in the cache" in mounted.log_text()
