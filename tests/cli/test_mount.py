"""``mount`` from end to end, in processes of its own, with a stand-in for the mount itself."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netfsfuse.cli import mount as mount_module
from netfsfuse.errors import MountError
from tests.cli.command import SECRET, Command, line_of

SOURCE = "//192.0.2.1:4450/films"
EXPOSED = (
    "netfsfuse: a password on the command line can be seen by other users: "
    "use credentials=FILE or PASSWD\n"
)


def recorded(cli: Command, timeout: float = 20.0) -> dict[str, Any]:
    """What the mounting process wrote down; waits for it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return json.loads((cli.folder / "record").read_text())
        except (OSError, ValueError):
            assert time.monotonic() < deadline, "nothing was mounted"
            time.sleep(0.02)


def split_log(text: str) -> tuple[list[str], str]:
    """The log lines of a foreground mount's stderr, and what was said to the user."""
    lines = text.splitlines(keepends=True)
    said = [line for line in lines if line.startswith("netfsfuse: ")]
    return [line.rstrip("\n") for line in lines if line not in said], "".join(said)


def wait_gone(pid: int) -> None:
    """Until no process has this pid."""
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([pidfd], [], [], 20)[0], f"process {pid} did not end"
    finally:
        os.close(pidfd)


@pytest.fixture
def staying(cli: Command) -> Iterator[Command]:
    """The command with a daemon that stays; ended afterwards."""
    cli.environ["NETFSFUSE_STANDIN"] = "stay"
    yield cli
    try:
        pid = json.loads((cli.folder / "record").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
    except (OSError, ValueError):
        return


def test_returns_once_it_answers_and_leaves_a_daemon(staying: Command):
    result = staying.run(
        SOURCE, "mnt", "-o", f"rw,dev,suid,user=bob,pass={SECRET}", behaviour="stay"
    )
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == EXPOSED + "netfsfuse: standin notice\n"
    seen = recorded(staying)
    words = seen["cmdline"].split("\0")
    assert "netfsfuse" in words
    assert str(staying.folder / "mnt") in words
    assert seen["mountpoint"] == str(staying.folder / "mnt")
    assert (seen["username"], seen["password"]) == ("bob", SECRET)
    assert SECRET not in seen["cmdline"] + seen["environ"] + seen["config"]
    assert seen["sid"] == seen["pid"]
    assert seen["cwd"] == "/"
    assert not seen["foreground"]
    fds = {os.readlink(path) for path in Path(f"/proc/{seen['pid']}/fd").iterdir()}
    assert not [name for name in fds if "memfd" in name or "pipe" in name]
    assert os.readlink(f"/proc/{seen['pid']}/fd/2") == "/dev/null"
    os.kill(seen["pid"], signal.SIGTERM)
    wait_gone(seen["pid"])
    log = staying.folder / "state/netfsfuse/log/netfsfuse.log"
    if not Path("/dev/log").exists():
        assert "mounted MountConfig" in log.read_text()
        assert SECRET not in log.read_text()


@pytest.mark.parametrize("name", ["PASSWD", "PASSWD_FILE"])
def test_password_from_the_environment_does_not_stay_there(cli: Command, name: str):
    (cli.folder / "pw").write_text(f"{SECRET}\n")
    extra = {name: SECRET if name == "PASSWD" else "pw"}
    result = cli.run("mount", SOURCE, "mnt", "-o", "user=bob", **extra)
    assert (result.returncode, result.stderr) == (0, "netfsfuse: standin notice\n")
    seen = recorded(cli)
    assert seen["password"] == SECRET
    assert SECRET not in seen["cmdline"] + seen["environ"]


def test_credentials_file_with_a_relative_name(cli: Command):
    path = cli.folder / "cred"
    path.write_text(f"username=D/bob\npassword={SECRET}\n")
    path.chmod(0o644)
    result = cli.run("mount", SOURCE, "mnt", "-o", "cred=cred,cachedir=c,log=my.log")
    assert result.returncode == 0
    assert "chmod 600" in result.stderr
    seen = recorded(cli)
    assert (seen["username"], seen["password"]) == ("bob", SECRET)
    assert SECRET not in seen["cmdline"] + seen["environ"]
    assert str(cli.folder / "c") in seen["config"]
    assert (cli.folder / "my.log").stat().st_mode & 0o777 == 0o600


def test_in_the_foreground_a_password_leaves_the_arguments(cli: Command):
    words = [SOURCE, "mnt", "-f", "-o", f"user=bob%{SECRET},rw,sloppy,passwd={SECRET}"]
    result = cli.run(*words)
    assert result.returncode == 0
    logged, said = split_log(result.stderr)
    assert said.startswith("netfsfuse: unknown option passwd (did you mean password?)")
    assert said.endswith(EXPOSED + "netfsfuse: standin notice\n")
    point = cli.folder / "mnt"
    assert [line.partition(": ")[2] for line in logged] == [
        f"mounted //192.0.2.1/films on {point}",
        f"unmounted {point}",
    ]
    seen = recorded(cli)
    assert (seen["username"], seen["password"]) == ("bob", SECRET)
    assert SECRET not in seen["cmdline"] + seen["environ"]
    assert seen["foreground"]


def test_in_the_foreground_passwd_leaves_the_environment(cli: Command):
    process = cli.start(
        "mount", SOURCE, "mnt", "-f", "-o", "user=bob", behaviour="stay", PASSWD=SECRET
    )
    seen = recorded(cli)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert seen["pid"] == process.pid
    assert seen["password"] == SECRET
    assert SECRET not in seen["cmdline"] + seen["environ"] + err
    assert "INFO netfsfuse.standin: mounted" in err


@pytest.mark.parametrize("extra", [[], ["-f"]])
@pytest.mark.parametrize(
    ("behaviour", "said", "status"),
    [
        ("refuse", "wrong password for bob", 1),
        ("refuse_in_a_group", "wrong password", 1),
        ("refuse_login", "wrong user name or password", 77),
    ],
)
def test_a_refusal_is_one_line(
    cli: Command, behaviour: str, said: str, status: int, extra: list[str]
):
    words = [SOURCE, "mnt", "-o", f"rw,user=bob,pass={SECRET}", *extra]
    result = cli.run(*words, behaviour=behaviour)
    assert line_of(result) == said
    assert result.returncode == status


@pytest.mark.parametrize("extra", [[], ["-f"]])
def test_a_bug_is_one_line_without_what_it_says(cli: Command, extra: list[str]):
    result = cli.run(SOURCE, "mnt", "-o", f"user=b,pass={SECRET}", *extra, behaviour="crash")
    assert "unexpected ValueError" in line_of(result)
    assert result.returncode == 1
    assert SECRET not in result.stderr


def test_a_death_without_a_word(cli: Command):
    result = cli.run(SOURCE, "mnt", "-o", "guest", behaviour="die")
    assert "the mount process ended with status 7" in line_of(result)
    assert result.returncode == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_interrupting_the_command_ends_the_daemon(cli: Command, number: int, status: int):
    process = cli.start(SOURCE, "mnt", "-o", "guest", behaviour="hang")
    daemon = recorded(cli)["pid"]
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (status, "netfsfuse: interrupted\n")
    assert not Path(f"/proc/{daemon}").exists()


def test_a_log_that_cannot_be_written(cli: Command):
    result = cli.run(SOURCE, "mnt", "-o", "guest,log=none/my.log")
    assert "cannot write the log" in line_of(result)
    assert result.returncode == 1


def test_prompt_on_a_terminal(cli: Command):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(cli.folder)
        words = [sys.executable, "-m", "netfsfuse", SOURCE, "mnt", "-o", "user=bob"]
        os.execve(words[0], words, cli.environment("brief", {}))
    output = b""
    while b"Password for bob: " not in output:
        output += os.read(terminal, 1000)
    os.write(terminal, SECRET.encode() + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert recorded(cli)["password"] == SECRET


def test_no_prompt_without_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert mount_module._ask_password("x") is None


def test_the_error_of_a_nursery_is_found():
    inner = MountError("x")
    group = BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [inner])])
    assert mount_module._mount_error(group) is inner
    assert mount_module._mount_error(ValueError()) is None


def test_a_mount_whose_command_was_killed_gives_up(cli: Command):
    """The pipe is broken then: a daemon that nobody waits for must not stay."""
    read, write = os.pipe()
    os.close(read)
    environ = cli.environment("stay", {"NETFSFUSE_READY_FD": str(write)})
    words = [sys.executable, "-m", "netfsfuse", "mount", SOURCE, "mnt", "-f", "-o", "guest"]
    result = subprocess.run(
        words, env=environ, cwd=cli.folder, pass_fds=(write,), capture_output=True, timeout=20
    )
    os.close(write)
    assert result.returncode == 1
