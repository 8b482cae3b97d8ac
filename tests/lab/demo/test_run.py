"""The demo: says yes only when everything was right, and always cleans up.

The first half runs it against a stand-in for the mount (symbolic links to the server's disk), where
each kind of failure can be made; the second half runs the real thing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.demo import run
from netfsfuse.lab.demo.run import DemoError, run_demo
from netfsfuse.lab.server import data
from tests.support.leaks import MARK, marked_processes, mounts_below
from tests.support.mounted import COMMAND, SOURCE_TREE
from tests.support.ordinary_user import OrdinaryUser

SIZE = data.MIB
Run = Callable[..., subprocess.CompletedProcess[str]]


class StandIn:
    """Takes the place of ``run._run``: other commands are real, ``netfsfuse`` is played."""

    def __init__(self, real: Run, share: Callable[[], Path]) -> None:
        self.real = real
        self.share = share
        self.mounted: list[Path] = []
        self.mounts = 0
        self.copied = 0
        self.on_cp: Callable[[Path], None] = lambda copy: None
        self.on_grep: Callable[[str], str] = lambda out: out
        self.server_bytes: Callable[[], int] = lambda: SIZE
        self.forget_to_unmount = False

    def __call__(self, argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.CompletedProcess(argv, 0, "", "")
        if argv[1:3] == ["-m", "netfsfuse"]:
            done.stdout = getattr(self, f"play_{argv[3]}")(*argv[4:]) or ""
            return done
        done = self.real(argv, **options)
        if argv[0] == "cp":
            self.copied += 1
            self.on_cp(Path(argv[2]))
        if argv[0] == "grep" and "mnt" in str(options["cwd"]):
            done.stdout = self.on_grep(done.stdout)
        return done

    def play_mount(self, url: str, mountpoint: str, *options: str) -> None:
        self.mounts += 1
        self.mounted.append(Path(mountpoint))
        for name in ("big.bin", "notes"):
            (Path(mountpoint) / name).symlink_to(self.share() / name)

    def play_umount(self, mountpoint: str) -> None:
        for name in ("big.bin", "notes"):
            (Path(mountpoint) / name).unlink()
        if not self.forget_to_unmount:
            self.mounted.clear()

    def play_stats(self, mountpoint: str, *options: str) -> str:
        server = self.server_bytes() * self.copied
        return json.dumps({"server": {"bytes": server}, "cache": {"bytes_read": 0}})


@pytest.fixture
def scratch(session_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the demo puts its things; must be empty when it has ended."""
    folder = session_folder / f"demo-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def stand_in(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The demo with a small file and a played mount."""
    played = StandIn(run._run, lambda: next(scratch.glob("netfsfuse-smbd-*/shares/share")))
    played.server_bytes = lambda: SIZE if played.mounts == 1 else 0
    monkeypatch.setattr(run, "_run", played)
    monkeypatch.setattr(run, "BIG_SIZE", SIZE)
    monkeypatch.setattr(run, "TREE_FILES", 60)
    monkeypatch.setattr(run, "check_machine", lambda: None)
    monkeypatch.setattr(mounts, "is_mounted", lambda path: path in played.mounted)
    monkeypatch.setattr(mounts, "wait_gone", lambda path, seconds: path not in played.mounted)
    monkeypatch.setattr(mounts, "remove", lambda path, grace=5.0: played.mounted.clear())
    return played


@pytest.mark.samba
def test_all_right_is_exit_status_0_and_a_summary(
    stand_in: StandIn, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo() == 0
    out = capsys.readouterr().out
    assert "What was done" in out
    assert "identical" in out
    assert "lines, right" in out
    assert stand_in.mounts == stand_in.copied == 2
    assert not list(scratch.iterdir())


def flip_last_byte(copy: Path) -> None:
    content = copy.read_bytes()
    copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def lose_a_line(text: str) -> str:
    return "\n".join(text.splitlines()[1:])


@pytest.mark.samba
@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("on_cp", flip_last_byte, "differs"),
        ("on_grep", lose_a_line, "lines"),
        ("server_bytes", lambda: SIZE, "not come from the cache"),
        ("forget_to_unmount", True, "still there"),
    ],
)
def test_a_wrong_result_is_exit_status_1_and_leaves_nothing(
    stand_in: StandIn,
    scratch: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    value: object,
    complaint: str,
) -> None:
    setattr(stand_in, part, value)
    assert run_demo() == 1
    assert complaint in " ".join(capsys.readouterr().out.split())
    assert not stand_in.mounted
    assert not list(scratch.iterdir())


@pytest.mark.samba
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_clean(
    stand_in: StandIn,
    scratch: Path,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in.on_cp = lambda copy: signal.raise_signal(number)
    assert run_demo() == 128 + number
    shown = capsys.readouterr().out
    assert "first time: interrupted" in shown
    assert "failed" not in shown
    assert not stand_in.mounted
    assert not list(scratch.iterdir())


@pytest.mark.samba
def test_a_signal_during_the_clean_up_does_not_stop_it(
    stand_in: StandIn, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "remove", lambda path: signal.raise_signal(signal.SIGINT))
    assert run_demo() == 0
    assert not list(scratch.iterdir())


def test_machine_without_space_or_fuse_is_told(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_such_device(path: str, flags: int) -> int:
        raise FileNotFoundError(2, "No such file or directory", path)

    monkeypatch.setattr(run, "find_program", lambda name: name)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_such_device)
        with pytest.raises(DemoError, match="/dev/fuse cannot be opened: No such file"):
            run.check_machine()
    monkeypatch.setattr(os, "open", lambda path, flags: os.dup(0))
    monkeypatch.setattr(run, "_NEEDED_SPACE", 1 << 60)
    with pytest.raises(DemoError, match="less than 1 GiB free"):
        run.check_machine()


def test_command_that_fails_or_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DemoError, match="no good"):
        run._run(["sh", "-c", "echo no good >&2; exit 3"])
    assert run._run(["sh", "-c", "exit 3"], check=False).returncode == 3
    monkeypatch.setattr(run, "_COMMAND_SECONDS", 0.1)
    with pytest.raises(DemoError, match="did not end"):
        run._run(["sleep", "60"])


@pytest.mark.mount
def test_real_demo(scratch: Path) -> None:
    result = subprocess.run(
        [*COMMAND, "demo"],
        env={**os.environ, "PYTHONPATH": SOURCE_TREE, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Every comparison with the server's own disk was right." in result.stdout
    assert not list(scratch.iterdir())


@pytest.mark.mount
def test_real_demo_as_an_ordinary_user(session_folder: Path) -> None:
    user = OrdinaryUser(session_folder / "ordinary-demo")
    result = user.run([*COMMAND, "demo"])
    assert result.returncode == 0, result.stdout + result.stderr
    left = {path.name for path in user.home.iterdir()}
    assert left <= {".stage", ".cache", "netfsfuse"}, left  # the last one holds locks of mounts


@pytest.mark.mount
@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGINT, "start a private smbd"),
        (signal.SIGTERM, "make sample data"),
        (signal.SIGINT, "mount:"),
        (signal.SIGTERM, "cmp with"),
    ],
)
def test_real_demo_interrupted_leaves_nothing(
    scratch: Path, number: signal.Signals, after: str
) -> None:
    """The signal goes to the whole process group, as Ctrl-C in a terminal does."""
    demo = subprocess.Popen(
        [*COMMAND, "demo"],
        env={
            **os.environ,
            "PYTHONPATH": SOURCE_TREE,
            "TMPDIR": str(scratch),
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.strip().startswith(after):
                break
        os.killpg(demo.pid, number)
        rest = demo.stdout.read()
    assert demo.returncode == 128 + number, rest
    assert not list(scratch.iterdir())
    assert not mounts_below(scratch)
    assert not [line for line in marked_processes(os.environ[MARK]) if str(scratch) in line]
