"""Where the log goes."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from netfsfuse.cli import log
from netfsfuse.cli.log import reopen_log, set_up_log
from netfsfuse.errors import MountError


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr(logging, "raiseExceptions", True)
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = before[0]
    root.setLevel(before[1])
    logging.captureWarnings(False)
    for name in ("netfsfuse", "cachefiles"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_file_is_private_and_appended_to(tmp_path: Path):
    path = tmp_path / "my.log"
    for _ in range(2):
        assert set_up_log(path, debug=False, foreground=False) == str(path)
        logging.getLogger("netfsfuse.x").info("hello")
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(" INFO netfsfuse.x: hello")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_made_anew(tmp_path: Path):
    path, old = tmp_path / "my.log", tmp_path / "my.log.1"
    set_up_log(path, debug=False, foreground=False)
    logger = logging.getLogger("netfsfuse.x")
    logger.info("before")
    path.rename(old)
    logger.info("between")
    reopen_log()
    logger.info("after")
    assert [line.split()[-1] for line in old.read_text().splitlines()] == ["before", "between"]
    assert path.read_text().endswith("after\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_where_it_cannot_be_made_anew_the_old_one_is_kept(tmp_path: Path):
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    set_up_log(folder / "my.log", debug=False, foreground=False)
    folder.rename(moved)
    reopen_log()
    assert "stays where it is" in (moved / "my.log").read_text()


def test_a_file_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(MountError, match="No such file"):
        set_up_log(tmp_path / "none" / "my.log", debug=False, foreground=False)


def test_without_a_system_log_a_file_in_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = set_up_log(None, debug=False, foreground=False)
    assert Path(place).parent.parent.parent == tmp_path
    assert Path(place).exists()


def test_no_place_at_all_is_said_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(tmp_path / "none"))
    said: list[str] = []
    for path in ("/proc/nowhere/my.log", "~/my.log"):
        monkeypatch.setattr(log, "default_path", partial(Path, path))
        place = set_up_log(None, debug=False, foreground=False, notice=said.append)
        assert "no place" in place
        logging.getLogger("netfsfuse.x").warning("goes nowhere")
    assert len(said) == 2
    assert all("nothing is logged" in line for line in said)


def test_a_name_begins_no_line_and_no_escape_sequence(tmp_path: Path):
    path = tmp_path / "my.log"
    set_up_log(path, debug=False, foreground=False)
    try:
        raise ValueError
    except ValueError:
        logging.getLogger("netfsfuse.x").exception("a\n2030 ERROR x: \x1b[31mb\u202e")
    first, second, *_ = path.read_text().splitlines()
    assert first.endswith("a\\x0a2030 ERROR x: \\x1b[31mb\\u{202e}")
    assert second.startswith("Traceback")


def test_the_system_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = str(tmp_path / "log")
    monkeypatch.setattr(log, "SYSLOG_SOCKET", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(path)
        assert "journalctl" in set_up_log(None, debug=False, foreground=False)
        logging.getLogger("netfsfuse.x").warning("hello")
        line = syslog.recv(1000)
    assert b"netfsfuse[" in line
    assert b"WARNING netfsfuse.x: hello" in line


def test_a_system_log_that_does_not_read_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A stopped journald: its socket takes a few lines, then whoever logs would stand still."""
    path = str(tmp_path / "log")
    monkeypatch.setattr(log, "SYSLOG_SOCKET", path)
    logger = logging.getLogger("netfsfuse.x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(path)
        set_up_log(None, debug=True, foreground=False)
        for number in range(1000):
            logger.warning("line %d", number)
        syslog.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while syslog.recv(1000):
                pass
        logger.warning("name \udcff")
        assert rb"name \u{dcff}" in syslog.recv(1000)
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:  # it was started anew
        again.bind(path)
        logger.warning("hello again")
        assert b"hello again" in again.recv(1000)


def test_libraries_that_see_logins_stay_quiet(capsys: pytest.CaptureFixture[str]):
    set_up_log(None, debug=True, foreground=True)
    logging.getLogger("netfsfuse.x").debug("ours")
    logging.getLogger("smbprotocol.session").debug("a token")
    logging.getLogger("spnego").info("a token")
    err = capsys.readouterr().err
    assert "ours" in err
    assert "token" not in err
