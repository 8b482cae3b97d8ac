"""A mount's life: it comes up in the background, and however it ends nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.mountinfo import read_mounts
from tests.support.mounted import COMMAND, SOURCE_TREE, Mounted, netfsfuse
from tests.support.namespace import bare_dev, run_in_namespace
from tests.support.until import until

SOON = 10.0  # seconds in which everything must have ended, measured 0.2; 4 with a hung server


@pytest.fixture(scope="module")
def hello(samba: PrivateSamba) -> Path:
    file = samba.path / "hello.txt"
    file.write_text("hello\n")
    return file


def run(*words: str) -> Callable[[Mounted], None]:
    """A command on the mount point that must succeed."""

    def act(mounted: Mounted) -> None:
        subprocess.run([*words, str(mounted.path)], check=True, timeout=SOON)

    return act


def send(number: signal.Signals) -> Callable[[Mounted], None]:
    return lambda mounted: os.kill(mounted.pid, number)


ENDINGS: dict[str, Callable[[Mounted], None]] = {
    "netfsfuse umount": Mounted.umount,
    "umount": run("umount"),
    "fusermount3 -u": run("fusermount3", "-u"),
    "SIGTERM": send(signal.SIGTERM),
    "SIGINT": send(signal.SIGINT),
    "SIGQUIT": send(signal.SIGQUIT),
}


def unix_sockets() -> set[str]:
    """Bound to a name or file, and one of ours."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {line.split()[-1] for line in lines if "netfsfuse" in line and "smbd" not in line}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_end_is_an_end(samba: PrivateSamba, mount, hello: Path, ending: str) -> None:
    """No daemon, no mount, no zombie, no socket, no file beside cache and log; and no complaint."""
    mounted = mount(samba)
    daemon = mounted.pid
    assert (mounted.path / hello.name).read_text() == "hello\n"
    ENDINGS[ending](mounted)
    assert mounts.wait_gone(mounted.path, SOON)
    until(lambda: not Path(f"/proc/{daemon}").exists(), SOON, "the daemon is reaped")
    assert {path.name for path in mounted.folder.iterdir()} == {"mnt", "cache", "log"}
    assert not list(mounted.path.iterdir())
    assert not unix_sockets()
    assert not re.search("WARNING|ERROR|Traceback", mounted.log_text())


@pytest.mark.parametrize("ending", ["SIGTERM", "umount"])
def test_it_ends_while_the_server_hangs(samba: PrivateSamba, mount, proxy, ending: str) -> None:
    """A signal takes the mount away from under a stuck reader, who gets an error."""
    line = proxy(samba.port)
    big = samba.path / "for-the-stuck.bin"
    big.write_bytes(bytes(32 << 20))
    mounted = mount(samba, source=f"//127.0.0.1:{line.port}/share")
    (mounted.path / big.name).stat()
    line.pause()
    reader = None
    if ending == "SIGTERM":
        reader = subprocess.Popen(
            ["cat", str(mounted.path / big.name)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: mounted.stats()["server"]["messages"]["create"] > 1, SOON, "cat opens")
    ENDINGS[ending](mounted)
    assert mounts.wait_gone(mounted.path, SOON)
    if reader is not None:
        assert reader.wait(SOON) == 1
    line.cut()
    big.unlink()


def test_busy_is_one_line_and_harmless(samba: PrivateSamba, mount, hello: Path) -> None:
    mounted = mount(samba)
    with (mounted.path / hello.name).open() as file:
        result = netfsfuse("umount", str(mounted.path))
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "is busy" in result.stderr
        assert file.read() == "hello\n"
    mounted.umount()


def test_a_mount_left_dead_is_replaced(samba: PrivateSamba, mount, hello: Path) -> None:
    """kill -9, then mount again at once: one mount, and it answers. `netfsfuse umount` takes a
    dead one away as well."""
    mounted = mount(samba)
    mounted.kill9()
    with pytest.raises(OSError, match=r"Transport endpoint|connection abort"):
        mounted.path.stat()
    mounted.mount()
    entries = [entry for entry in read_mounts() if entry.path == str(mounted.path)]
    assert len(entries) == 1
    assert (mounted.path / hello.name).read_text() == "hello\n"
    mounted.kill9()
    mounted.umount()


def test_no_other_signal_ends_a_daemon(samba: PrivateSamba, mount, hello: Path) -> None:
    """By default each of them would, and leave a dead mount. SIGHUP opens the log anew."""
    mounted = mount(samba)
    old = mounted.log.rename(mounted.log.with_name("log.1"))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPIPE):
        send(number)(mounted)
    send(signal.Signals(signal.SIGRTMIN))(mounted)
    until(lambda: "opened anew" in mounted.log_text(), SOON, "the log is opened anew")
    assert (mounted.path / hello.name).read_text() == "hello\n"
    assert mounted.log.stat().st_mode & 0o777 == 0o600
    mounted.umount()
    assert "unmounted" in mounted.log_text()
    assert "unmounted" not in old.read_text()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGHUP])
def test_foreground_is_one_process_that_serves_until_ctrl_c_or_its_terminal_is_gone(
    samba: PrivateSamba, mount, hello: Path, ending: signal.Signals
) -> None:
    """-f: the command itself is the daemon, logs to stderr, and ends with status 0."""
    mounted = mount(samba, now=False)
    words = ["mount", "-f", samba.url, str(mounted.path)]
    options = f"user={samba.username},cachedir={mounted.cachedir}"
    process = subprocess.Popen(
        [*COMMAND, *words, "-o", options],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE_TREE, "PASSWD": samba.password},
    )
    with process:
        until(lambda: mounts.is_mounted(mounted.path), SOON, "it is mounted")
        assert (mounted.path / hello.name).read_text() == "hello\n"
        assert mounted.pid == process.pid
        process.send_signal(ending)
        _, said = process.communicate(timeout=SOON)
    assert process.returncode == 0, said
    assert f"ending on {ending.name}" in said
    assert "Traceback" not in said
    assert not mounts.is_mounted(mounted.path)


def test_without_a_system_log_there_is_a_file(samba: PrivateSamba, mount, hello: Path) -> None:
    """/dev/log absent and no log=: the mount works, and its log is in the user's state folder."""
    mounted = mount(samba, now=False)
    options = f"user={samba.username},cachedir={mounted.cachedir}"
    script = f"""
        {bare_dev("null", "urandom", "fuse")}
        $netfsfuse mount {samba.url} {mounted.path} -o {options}
        cat {mounted.path}/{hello.name}
        $netfsfuse umount {mounted.path}
    """
    result = run_in_namespace(mounted.folder, script, env={"PASSWD": samba.password})
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n", "")
    log = mounted.folder / "state/netfsfuse/log/netfsfuse.log"
    assert "logged off" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600
