"""``umount`` waits until the server has what was written."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from netfsfuse.cli import unsent
from netfsfuse.cli.probe import Answer
from netfsfuse.cli.unsent import Written, wait_sent, written
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import mount_at, read_mounts
from tests.cli.command import Command
from tests.support.until import until

MIB = 1 << 20
SOON = 10.0


def stats(dirty: int, total: int = 100 * MIB) -> str:
    return json.dumps({"write": {"bytes": total, "dirty_bytes": dirty}})


class Mount:
    """In the place of ``probe``: what a mount answers, one after the other, the last for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> None:
        self.answers = list(answers)
        self.now = 1000.0
        monkeypatch.setattr(unsent, "probe", self.probe)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def probe(self, path: str, xattr: str, *, timeout: float) -> Answer | None:
        text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return None if text is None else Answer(path, 0, 0, text)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    "text", [None, "", "{}", "[]", '{"write": 1}', '{"write": {"bytes": 1}}', stats(0)]
)
def test_nothing_is_dirty_where_the_mount_does_not_say_so(
    text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wait_sent("/mnt", text) == 0
    assert capsys.readouterr() == ("", "")


def test_what_is_written_meanwhile_is_not_waited_for() -> None:
    first = Written(bytes=100, dirty=50)
    assert first.left(Written(100, 50)) == 50
    assert first.left(Written(100, 20)) == 20
    assert first.left(Written(130, 70)) == 40
    assert first.left(Written(300, 60)) == 0


def test_it_waits_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = Mount(monkeypatch, stats(4 * MIB), None, stats(MIB), stats(7, 100 * MIB + 7))
    assert wait_sent("/mnt", stats(5 * MIB)) == 7
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "netfsfuse: /mnt: 5.0 MiB are not on the server yet; interrupted, it stays mounted\n"
    )
    assert len(mount.answers) == 1


def test_as_long_as_bytes_go_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    few = int(unsent.GIVE_UP_SECONDS / 0.2) - 2
    mount = Mount(
        monkeypatch, *[stats(left * MIB) for left in (5, 4, 3, 2, 1) for _ in range(few)], stats(0)
    )
    assert wait_sent("/mnt", stats(5 * MIB)) == 0
    assert mount.now > 1000 + 3 * unsent.GIVE_UP_SECONDS


@pytest.mark.parametrize("answer", [stats(3 * MIB), None], ids=["stands still", "hangs"])
def test_it_gives_up_when_nothing_moves(
    monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    Mount(monkeypatch, stats(3 * MIB), answer)
    with pytest.raises(MountError, match=r"3\.0 MiB are not on the server.* stays mounted"):
        wait_sent("/mnt", stats(5 * MIB))


def test_a_daemon_that_dies_has_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    Mount(monkeypatch, "")
    assert wait_sent("/mnt", stats(5 * MIB)) == 0
    assert written("") == Written(0, 0)


# -- the command -----------------------------------------------------------------------------------


class Dirty:
    """The command with an empty mount that says that it has dirty bytes."""

    def __init__(self, cli: Command) -> None:
        self.cli = cli
        self._file = cli.folder / "left"
        self.say(5 * MIB)
        cli.environ.update(TELL_PID="1", LEFT=str(self._file))
        assert cli.run("//192.0.2.1/x", "mnt", "-o", "guest", behaviour="empty").returncode == 0

    def say(self, dirty: int) -> None:
        """It has so many from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"bytes": 10 * MIB, "dirty_bytes": dirty}))
        new.rename(self._file)

    @property
    def is_mounted(self) -> bool:
        return mount_at(str(self.cli.folder / "mnt"), read_mounts()) is not None


@pytest.fixture
def dirty(cli: Command) -> Iterator[Dirty]:
    made = Dirty(cli)
    yield made
    if made.is_mounted:
        cli.run("umount", "--lazy", "mnt")


@pytest.mark.mount
def test_umount_waits(dirty: Dirty) -> None:
    process = dirty.cli.start("umount", "mnt")
    assert process.stderr is not None
    assert "5.0 MiB are not on the server yet" in process.stderr.readline()
    dirty.say(2 * MIB)
    assert process.poll() is None
    assert dirty.is_mounted
    dirty.say(0)
    assert process.communicate(timeout=SOON) == ("", "")
    assert process.returncode == 0
    assert not dirty.is_mounted


@pytest.mark.mount
def test_interrupted_it_leaves_the_mount_as_it_was(dirty: Dirty) -> None:
    process = dirty.cli.start("umount", "mnt")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=SOON)
    assert (process.returncode, said) == (130, "netfsfuse: interrupted\n")
    assert dirty.is_mounted
    dirty.say(0)
    assert dirty.cli.run("umount", "mnt").returncode == 0


@pytest.mark.mount
@pytest.mark.parametrize("option", ["--lazy", "--force"])
def test_lazy_and_force_wait_for_nothing(dirty: Dirty, option: str) -> None:
    """--force says what it gives up."""
    result = dirty.cli.run("umount", option, "mnt")
    assert result.returncode == 0
    assert ("5.0 MiB were not on the server yet" in result.stderr) == (option == "--force")
    assert result.stderr.count("\n") == (option == "--force")
    assert not dirty.is_mounted


@pytest.mark.mount
def test_on_a_terminal_it_shows_how_much_is_left(dirty: Dirty) -> None:
    ours, theirs = pty.openpty()
    seen = b""
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "netfsfuse", "umount", "mnt"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=dirty.cli.folder,
            env={**dirty.cli.environment("", {}), "TERM": "xterm", "COLUMNS": "120"},
        )
        os.close(theirs)
        while b"0/5.0 MiB" not in seen:
            seen += os.read(ours, 1000)
        dirty.say(2 * MIB)
        while b"3.0/5.0 MiB" not in seen:
            seen += os.read(ours, 1000)
        dirty.say(0)
        until(lambda: not dirty.is_mounted, SOON, "it is unmounted")
    finally:
        os.close(ours)
    assert process.wait(SOON) == 0
    assert b"writing" in seen
