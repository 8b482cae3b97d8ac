"""``umount`` and ``stats`` on a real FUSE mount with nothing in it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cachefiles.cache import Cache
from netfsfuse.cli.umount import _has_ended, is_daemon
from netfsfuse.mountinfo import mount_at, read_mounts
from tests.cli.command import Command, line_of

SOON = 8.0  # seconds; an idle machine has answered after 4
SOURCE = "//192.0.2.1/my films"


@pytest.fixture
def mounted(cli: Command) -> Iterator[Command]:
    """An empty mount on ``cli.folder/mnt``."""
    cli.environ["TELL_PID"] = "1"
    result = cli.run(SOURCE, "mnt", "-o", "guest", behaviour="empty")
    assert (result.returncode, result.stderr) == (0, "")
    yield cli
    while is_mounted(cli):
        cli.run("umount", "--lazy", "mnt")


def is_mounted(cli: Command) -> bool:
    mount = mount_at(str(cli.folder / "mnt"), read_mounts())
    return mount is not None and mount.is_ours


def pid_of(cli: Command) -> int:
    return int(json.loads(cli.run("stats", "mnt", "--json").stdout)["daemon"]["pid"])


@pytest.mark.mount
def test_umount_returns_when_the_daemon_is_gone(cli: Command):
    cli.environ.update(TELL_PID="1", STORING="0.5")
    cli.run(SOURCE, "mnt", "-o", "guest", behaviour="empty")
    pid = pid_of(cli)
    assert cli.run("umount", "mnt").stderr == ""
    assert not Path(f"/proc/{pid}").exists() or is_zombie(pid)
    assert not is_mounted(cli)


@pytest.mark.mount
def test_the_daemon_is_found_by_its_command_line_too(cli: Command):
    cli.environ["STORING"] = "0.5"
    cli.run(SOURCE, "mnt", "-o", "guest", behaviour="empty")
    point = str(cli.folder / "mnt")
    (pid,) = [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if point in words(entry) and is_daemon(words(entry), point, lambda: "/")
    ]
    result = cli.run("umount", str(cli.folder / "mnt"))
    assert (result.returncode, result.stderr) == (0, "")
    assert not Path(f"/proc/{pid}").exists() or is_zombie(pid)


def words(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def is_zombie(pid: int) -> bool:
    """Ended, but whoever adopts orphans here has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.mount
def test_busy(mounted: Command):
    standing = os.open(mounted.folder / "mnt", os.O_RDONLY)
    try:
        result = mounted.run("umount", "mnt")
        assert "is busy: close the files" in line_of(result)
        assert result.returncode == 1
        assert is_mounted(mounted)
        assert mounted.run("umount", "-l", "mnt").returncode == 0
        assert not is_mounted(mounted)
    finally:
        os.close(standing)


@pytest.mark.mount
def test_umount_through_a_symlink(mounted: Command):
    (mounted.folder / "link").symlink_to("mnt")
    assert mounted.run("umount", "link").returncode == 0
    assert not is_mounted(mounted)


@pytest.mark.mount
def test_already_mounted(mounted: Command):
    result = mounted.run(SOURCE, "mnt", "-o", "guest", behaviour="empty")
    assert f"{mounted.folder}/mnt is already mounted ({SOURCE})" in line_of(result)
    assert result.returncode == 1


@pytest.mark.mount
def test_of_mounts_at_once_one_is_made(cli: Command):
    words = (SOURCE, "mnt", "-o", "guest")
    running = [cli.start(*words, behaviour="empty") for _ in range(3)]
    results = [(*process.communicate(timeout=60), process.returncode) for process in running]
    try:
        path = str(cli.folder / "mnt")
        assert len([mount for mount in read_mounts() if mount.path == path]) == 1
        assert sorted(status for _, _, status in results) == [0, 1, 1]
        said = [err for _, err, status in results if status]
        assert all("already mounted" in err or "just mounting" in err for err in said)
    finally:
        while is_mounted(cli):
            cli.run("umount", "--lazy", "mnt")


def kill(cli: Command) -> None:
    pid = pid_of(cli)
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], 20)[0]
    os.close(pidfd)


@pytest.mark.mount
def test_a_dead_mount_is_mounted_again(mounted: Command):
    kill(mounted)
    assert is_mounted(mounted)
    assert "is dead, its daemon is gone" in line_of(mounted.run("stats", "mnt"))
    result = mounted.run(SOURCE, "mnt", "-o", "guest", behaviour="empty")
    assert (result.returncode, result.stderr) == (0, "")
    assert pid_of(mounted)
    assert mounted.run("umount", "mnt").returncode == 0
    assert not is_mounted(mounted)


@pytest.mark.mount
def test_a_dead_mount_is_detached(mounted: Command):
    kill(mounted)
    assert mounted.run("umount", "mnt").returncode == 0
    assert not is_mounted(mounted)


@pytest.mark.mount
def test_stats(mounted: Command):
    counters = json.loads(mounted.run("stats", "mnt", "--json").stdout)
    assert counters["application"] == {"bytes": 3 << 20, "reads": 12345}
    table = mounted.run("stats", "mnt").stdout.split("\n")
    assert [line.split() for line in table][:2] == [
        ["application.bytes", "3.0", "MiB"],
        ["application.reads", "12,345"],
    ]


@pytest.fixture
def hung(mounted: Command) -> Iterator[Command]:
    """The mount with a daemon that stands still."""
    pid = pid_of(mounted)
    (mounted.folder / "link").symlink_to("mnt")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield mounted
    finally:
        os.kill(pid, signal.SIGCONT)


HUNG: dict[tuple[str, ...], str] = {
    ("stats", "mnt"): "does not answer within",
    ("mount", SOURCE, "link", "-o", "guest"): "umount --force",
    ("mount", SOURCE, "mnt/sub", "-o", "guest"): "umount --force",
    ("warm", "link/file"): "does not answer within",
    ("watch", "mnt"): "does not answer within",
    ("cache", "--cachedir", "cache", "show", "mnt/file"): "does not answer within",
}


@pytest.mark.mount
def test_no_command_waits_for_a_stopped_daemon(hung: Command):
    """All at once, for each takes 3.5 s to give up."""
    Cache.bind(hung.folder / "cache").close()
    start = time.monotonic()
    running = {words: hung.start(*words) for words in HUNG}
    try:
        for words, process in running.items():
            out, err = process.communicate(timeout=SOON)
            assert (process.returncode, out, err.count("\n")) == (1, "", 1), words
            assert HUNG[words] in err
        assert time.monotonic() - start < SOON
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


@pytest.mark.mount
@pytest.mark.parametrize("option", ["--lazy", "--force"])
def test_a_stopped_daemon_keeps_no_mount(hung: Command, option: str):
    start = time.monotonic()
    result = hung.run("umount", option, "link")
    assert time.monotonic() - start < SOON
    assert result.returncode == 0
    assert "did not answer and is still there" in result.stderr
    assert not is_mounted(hung)


@pytest.mark.mount
def test_force_frees_what_waits_for_a_stopped_daemon(mounted: Command):
    pid = pid_of(mounted)
    inside = os.open(mounted.folder / "mnt", os.O_RDONLY)
    os.kill(pid, signal.SIGSTOP)
    words = ["stat", "-L", f"/proc/self/fd/{inside}"]
    reader = subprocess.Popen(words, pass_fds=[inside], stderr=subprocess.DEVNULL)
    try:
        assert mounted.run("umount", "--force", "mnt").returncode == 0
        assert reader.wait(SOON) == 1
    finally:
        os.kill(pid, signal.SIGCONT)
        reader.kill()
        reader.wait()
        os.close(inside)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python -P -m netfsfuse mount //h/s /mnt/x -o ro -f", True),
        ("python /usr/bin/netfsfuse mount //h/s x -f", True),
        ("python /usr/bin/netfsfuse -f //h/s ../mnt/x", True),
        ("python /usr/bin/netfsfuse mount --foreground //h/s /mnt/x", True),
        ("python -m netfsfuse mount //h/s /mnt/xy -f", False),
        ("python -m netfsfuse mount //h/s /mnt/x", False),
        ("python -m netfsfuse umount /mnt/x", False),
        ("less /mnt/x netfsfuse.log -f", False),
        ("", False),
    ],
)
def test_what_a_daemon_looks_like(line: str, expected: bool):
    assert is_daemon(line.split(), "/mnt/x", lambda: "/mnt") is expected


def test_a_process_of_which_a_hung_thread_is_left_has_ended():
    """Its main thread has exited, and another sleeps on, as in the kernel for a disk that hangs."""
    script = """if True:
        import ctypes, os, threading, time
        number = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
        threading.Thread(target=time.sleep, args=(60,)).start()
        print(flush=True)
        ctypes.PyDLL(None).syscall(number, 0)
    """
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        pidfd = os.pidfd_open(process.pid)
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert _has_ended(process.pid, pidfd, 10.0)
            assert process.poll() is None
        finally:
            process.kill()
            os.close(pidfd)


def test_a_daemon_that_goes_while_looked_at():
    def gone() -> str:
        raise ProcessLookupError

    assert not is_daemon(["netfsfuse", "-f", "x"], "/mnt/x", gone)
