"""Errors of the command that need no server: one line, the right status, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import netfsfuse
from netfsfuse.cli import main as main_module
from netfsfuse.cli.main import with_mount_word
from netfsfuse.errors import MountError, UsageError
from tests.cli.command import SECRET, Command, line_of

SOURCE = "//192.0.2.1/films"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mount"], "missing argument"),
        (["mount", SOURCE], "missing argument 'MOUNTPOINT'"),
        (["mount", SOURCE, "mnt", "more"], "unexpected extra argument"),
        (["mount", "nas/films", "mnt"], "the source must look like //HOST[:PORT]/SHARE"),
        (["mount", "//nas", "mnt"], "names no share"),
        (["mount", f"//bob:{SECRET}@nas/films", "mnt"], "the source holds a login"),
        (["mount", SOURCE, "mnt", "-o", "uesr=x"], "unknown option uesr (did you mean user?)"),
        (["mount", SOURCE, "mnt", "-o", "pass=x,actimo=1"], "did you mean actimeo?"),
        (["mount", SOURCE, "mnt", "-o", f"pass=a,{SECRET}"], "a password with a comma"),
        (["mount", SOURCE, "mnt", "-o", "port=x"], "port=x: must be a number"),
        (["mount", SOURCE, "mnt", "-o", "rsize=4Q"], "rsize=4Q"),
        (["mount", SOURCE, "mnt", "-o", "hard"], "option hard is not supported yet"),
        (["mount", SOURCE, "mnt", "-o"], "requires an argument"),
        (["mount", SOURCE, "mnt", "--bogus"], "no such option '--bogus'"),
        (["-o", "bogus=1", SOURCE, "mnt"], "unknown option bogus"),
        ([SOURCE, "mnt", "-o", "bogus=1"], "unknown option bogus"),
        (["mnt"], "no such command 'mnt'"),
        (["monut", SOURCE, "mnt"], "no such command 'monut'"),
        (["umount"], "missing argument"),
        (["mount", SOURCE, ""], "the mount point is an empty text"),
        (["umount", ""], "the mount point is an empty text"),
        (["stats", ""], "the mount point is an empty text"),
        (["stats", "mnt", "--yaml"], "no such option '--yaml'"),
    ],
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main_module.main(words)
    out, err = capsys.readouterr()
    result = subprocess.CompletedProcess(words, 2, out, err)
    assert said in line_of(result)
    assert caught.value.code == 2
    assert SECRET not in err


def test_wrong_usage_from_outside(cli: Command):
    result = cli.run("mount", SOURCE, "mnt", "-o", "uesr=x")
    assert line_of(result) == "unknown option uesr (did you mean user?)"
    assert result.returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([SOURCE, "none", "-o", "guest"], "mount point none does not exist"),
        ([SOURCE, "none/x", "-o", "guest"], "mount point none/x does not exist"),
        ([SOURCE, "/etc/passwd", "-o", "guest"], "is not a directory"),
        ([SOURCE, "mnt", "-o", "user=bob"], "no password for bob"),
        ([SOURCE, "mnt", "-o", "cred=none"], "credentials file"),
        (["umount", "mnt"], "mnt is not mounted"),
        (["umount", "none"], "none is not mounted"),
        (["umount", "/proc"], "is a mount of type proc"),
        (["stats", "mnt"], "mnt is not a netfsfuse mount"),
        (["stats", "none", "--json"], "none is not a netfsfuse mount"),
    ],
)
def test_failures(cli: Command, words: list[str], said: str):
    result = cli.run(*words)
    assert said in line_of(result)
    assert result.returncode == 1


def test_version_and_help(cli: Command):
    result = cli.run("--version")
    assert result.stdout == f"netfsfuse {netfsfuse.__version__}\n"
    text = cli.run("mount", "--help").stdout
    for name in ("user", "credentials", "rsize", "actimeo", "nofsc", "cachedir", "allow_other"):
        assert f"  {name}" in text
    assert {"mount", "umount", "stats", "demo"} <= set(cli.run("--help").stdout.split())


def test_help_needs_no_fuse_library(cli: Command):
    code = (
        "import sys; from netfsfuse.cli.main import main\n"
        "try: main(['mount', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pyfuse3', 'trio', 'smbprotocol', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("[]\n")


def test_nothing_is_printed_into_a_closed_pipe(cli: Command):
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "netfsfuse", "mount", "--help"]
    result = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, env=os.environ)
    os.close(write)
    assert result.stderr == b""
    assert result.returncode == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_not_matter(cli: Command, closed: str):
    """A supervisor may start us so; what worked must not end as a failure."""
    words = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "netfsfuse"]
    words += ["mount", SOURCE, "mnt", "-o", "guest"]
    ended = subprocess.run(words, cwd=cli.folder, env=cli.environment("brief", {}), timeout=60)
    assert ended.returncode == 0


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["//h/s", "/m"], ["mount", "//h/s", "/m"]),
        (["\\\\h\\s", "/m"], ["mount", "\\\\h\\s", "/m"]),
        (["-o", "ro", "//h/s", "/m"], ["mount", "-o", "ro", "//h/s", "/m"]),
        (["-f", "//h/s", "/m"], ["mount", "-f", "//h/s", "/m"]),
        (["mount", "//h/s", "/m"], ["mount", "//h/s", "/m"]),
        (["stats", "//h/s"], ["stats", "//h/s"]),
        (["typo", "//h/s"], ["typo", "//h/s"]),
        (["--version"], ["--version"]),
        ([], []),
        (["smb://nas/films", "mnt"], ["mount", "smb://nas/films", "mnt"]),
        (["-f", "CIFS://nas/films", "mnt"], ["mount", "-f", "CIFS://nas/films", "mnt"]),
    ],
)
def test_the_word_mount_may_be_left_out(given: list[str], meant: list[str]):
    assert with_mount_word(given) == meant


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MountError("two\nlines"), 1, "two lines"),
        (UsageError("wrong"), 2, "wrong"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (FileNotFoundError(2, "No such file", "/x"), 1, "/x: No such file"),
        (ValueError(SECRET), 1, "unexpected ValueError at test_main.py"),
    ],
)
def test_every_exception_is_one_line(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(main_module, "_invoke", fail)
    with pytest.raises(SystemExit) as caught:
        main_module.main(["stats", "x"])
    assert caught.value.code == status
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert SECRET not in err


def test_demo_is_handed_on(monkeypatch: pytest.MonkeyPatch):
    import netfsfuse.lab.demo.run

    monkeypatch.setattr(netfsfuse.lab.demo.run, "run_demo", lambda: 3)
    with pytest.raises(SystemExit) as caught:
        main_module.main(["demo"])
    assert caught.value.code == 3
