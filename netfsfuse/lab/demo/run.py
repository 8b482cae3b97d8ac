"""The demo: a private Samba, a mount of it, a read, and the same read again from the cache.

It drives the real command in processes of its own, exactly as a user would, and compares every
result with the server's own disk. Each thing it makes is undone by an entry on one ExitStack, put
there before the thing is made, so success, failure, Ctrl-C and SIGTERM all end with the same clean
machine: unmounted, smbd gone, temporary folder removed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from netfsfuse.lab import mounts
from netfsfuse.lab.demo.report import Report, Step
from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.lab.server.smbd import SambaError, find_program, scratch_directory
from netfsfuse.lab.signals import Interrupted, Interruptible

BIG_SIZE = 256 * data.MIB
TREE_FILES = 2000
_NEEDED_SPACE = 1024 * data.MIB  # the file on the server, in the cache, and twice as a copy
_COMMAND_SECONDS = 120.0  # no single command takes over 3 s on the machine this was written on
_CACHED_ENOUGH = 0.01  # of the file may come from the server in the second read


class DemoError(Exception):
    """The demo cannot go on, or a comparison was wrong; the message is for the user."""


def run_demo() -> int:
    """Run the demo; exit status 0 only if every comparison was right. Main thread only."""
    console = Console()
    with Interruptible() as signals:
        stack = ExitStack()
        try:
            Demo(console, stack).walk()
            status = 0
        except (DemoError, SambaError) as error:
            console.print(f"netfsfuse demo: {error}", style="red", markup=False)
            status = 1
        except Interrupted as interrupted:
            console.print(f"netfsfuse demo: {interrupted}, cleaning up")
            status = interrupted.exit_status
        finally:
            signals.hold()
            stack.close()
    return status


class Demo:
    """One walk. ``stack`` belongs to the caller, who closes it to undo everything."""

    def __init__(self, console: Console, stack: ExitStack) -> None:
        self.console = console
        self.report = Report(console)
        self._stack = stack
        self._samba = PrivateSamba()
        self._work = Path()
        self._needles = 0

    def walk(self) -> None:
        """All steps, in order. Raises :class:`DemoError` or :class:`SambaError`."""
        check_machine()
        self._make_folders()
        self._serve()
        self._mount("mount")
        try:
            self._copy("cp 256 MiB, first time")
            self._grep("grep -r, 2,000 files")
            self._umount("unmount")
            self._mount("mount again")
            again = self._copy("cp 256 MiB, again")
            self._umount("unmount again")
            self.console.print(self.report.table())
            self.console.print("server MB, cache MB: what the mount fetched from either for it.")
            if again.from_server is None or again.from_server > BIG_SIZE * _CACHED_ENOUGH:
                raise DemoError("the second read did not come from the cache")
        except DemoError:
            self.console.print(self._log_tail(), markup=False, style="dim")
            raise
        self.console.print("Every comparison with the server's own disk was right.", style="green")

    @property
    def _mountpoint(self) -> Path:
        return self._work / "mnt"

    def _make_folders(self) -> None:
        self._work = Path(tempfile.mkdtemp(prefix="netfsfuse-demo-", dir=scratch_directory()))
        self._stack.callback(shutil.rmtree, self._work, ignore_errors=True)
        for name in ("mnt", "cache", "copy"):
            (self._work / name).mkdir(0o700)
        self._stack.callback(mounts.remove, self._mountpoint)

    def _serve(self) -> None:
        with self.report.step("start a private smbd"):
            self._stack.callback(self._samba.stop)
            self._samba.start()
        with self.report.step("make sample data"):
            data.write_file(self._samba.path / "big.bin", BIG_SIZE)
            self._needles = data.write_tree(self._samba.path / "notes", TREE_FILES)

    def _mount(self, title: str) -> None:
        options = (
            f"user={self._samba.username},cachedir={self._work / 'cache'},log={self._work / 'log'}"
        )
        with self.report.step(title):
            environment = {"PASSWD": self._samba.password}
            self._netfsfuse(
                "mount", self._samba.url, str(self._mountpoint), "-o", options, **environment
            )
            if not mounts.is_mounted(self._mountpoint):
                raise DemoError("mount reported success, but nothing is mounted")

    def _umount(self, title: str) -> None:
        with self.report.step(title):
            self._netfsfuse("umount", str(self._mountpoint))
            if not mounts.wait_gone(self._mountpoint, 5.0):
                raise DemoError("the mount or its daemon is still there after umount")

    def _copy(self, title: str) -> Step:
        copy = self._work / "copy" / "big.bin"
        with self._measured(title) as row:
            _run(["cp", str(self._mountpoint / "big.bin"), str(copy)])
            row.moved = BIG_SIZE
        with self.report.step("cmp with server's disk") as compared:
            if _run(["cmp", str(copy), str(self._samba.path / "big.bin")], check=False).returncode:
                raise DemoError("the copy of big.bin differs from the file on the server")
            compared.outcome = "identical"
        copy.unlink()
        return row

    def _grep(self, title: str) -> None:
        grep = ["grep", "-rn", data.NEEDLE, "."]
        with self._measured(title) as row:
            seen = _run(grep, cwd=self._mountpoint / "notes", check=False).stdout
        truth = _run(grep, cwd=self._samba.path / "notes", check=False).stdout
        found = sorted(seen.splitlines())
        if found != sorted(truth.splitlines()) or len(found) != self._needles:
            raise DemoError(f"grep found {len(found)} lines, and {self._needles} are there")
        row.outcome = f"{len(found)} lines, right"

    @contextmanager
    def _measured(self, title: str) -> Iterator[Step]:
        """A step with the bytes that the mount fetched for it from either place."""
        before = self._stats()
        with self.report.step(title) as row:
            yield row
        after = self._stats()
        row.from_server = after["server"]["bytes"] - before["server"]["bytes"]
        row.from_cache = after["cache"]["bytes_read"] - before["cache"]["bytes_read"]

    def _stats(self) -> dict[str, Any]:
        out = self._netfsfuse("stats", str(self._mountpoint), "--json").stdout
        stats: dict[str, Any] = json.loads(out)
        return stats

    def _netfsfuse(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return _run([sys.executable, "-m", "netfsfuse", *words], environment=environment)

    def _log_tail(self) -> str:
        try:
            lines = (self._work / "log").read_text(errors="replace").splitlines()[-15:]
        except OSError:
            return ""
        return "\n".join(["The mount's log ends with:", *lines])


def check_machine() -> None:
    """Raise :class:`DemoError` or :class:`SambaError` naming the first thing that is missing."""
    find_program("smbd")
    find_program("pdbedit")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        raise DemoError(f"/dev/fuse cannot be opened: {error.strerror}") from error
    if os.geteuid() != 0 and shutil.which("fusermount3") is None:
        raise DemoError("fusermount3 not found: apt install fuse3")
    for name in ("cp", "cmp", "grep"):
        if shutil.which(name) is None:
            raise DemoError(f"{name} not found")
    scratch = scratch_directory()
    if not os.access(scratch, os.W_OK | os.X_OK):
        raise DemoError(f"{scratch} is not writable; set TMPDIR to a folder that is")
    if shutil.disk_usage(scratch).free < _NEEDED_SPACE:
        raise DemoError(f"{scratch} has less than 1 GiB free; set TMPDIR to a roomier folder")


def _run(
    argv: list[str],
    *,
    check: bool = True,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and hand back what it printed; DemoError if it fails or hangs.

    Output goes through files, not pipes: a daemon that a command leaves behind may hold its
    standard error open, and reading a pipe would wait for the daemon.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            code = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                timeout=_COMMAND_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            name = Path(argv[0]).name
            raise DemoError(f"{name} did not end in {_COMMAND_SECONDS:.0f} s") from error
        out.seek(0)
        err.seek(0)
        result = subprocess.CompletedProcess(argv, code, out.read(), err.read())
    if check and code:
        reason = (result.stderr.strip() or f"exit status {code}")[-2000:]
        raise DemoError(f"{' '.join(argv[:4])} failed: {reason}")
    return result
