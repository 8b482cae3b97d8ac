"""What goes from the command to the daemon and back."""

from __future__ import annotations

import os

import pytest

from netfsfuse.cli.handover import READY_FD, SECRET_FD, Reporter, store_secrets, take_handover
from netfsfuse.config import Credentials
from netfsfuse.errors import MountError


def test_secrets_arrive_and_leave_no_trace():
    given = Credentials("bob", "gehäim\n,%", "D", mechanism="ntlm")
    secret = store_secrets(given, ["a notice"])
    ready, ready_write = os.pipe()
    os.set_inheritable(ready_write, True)
    environ = {READY_FD: str(ready_write), SECRET_FD: str(secret), "HOME": "/"}
    found = take_handover(environ)
    assert found.credentials == given
    assert found.notices == ("a notice",)
    assert found.ready_fd == ready_write
    assert environ == {"HOME": "/"}
    assert not os.get_inheritable(ready_write)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(secret)
    os.close(ready)
    os.close(ready_write)


def test_nothing_handed_over():
    found = take_handover({"HOME": "/"})
    assert (found.ready_fd, found.credentials, found.notices) == (None, None, ())


@pytest.mark.parametrize("environ", [{READY_FD: "x"}, {READY_FD: "77777"}, {SECRET_FD: "77777"}])
def test_variables_that_are_not_ours(environ: dict[str, str]):
    with pytest.raises(MountError, match="own use"):
        take_handover(environ)


def test_a_report_is_made_once():
    read, write = os.pipe()
    reporter = Reporter(write)
    assert reporter.pending
    reporter.ok(["one", "two"])
    reporter.error("too late")
    assert not reporter.pending
    assert os.read(read, 100) == b"ok\none\ntwo"
    assert os.read(read, 100) == b""
    os.close(read)


def test_a_parent_that_went_away_ends_the_mount():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(MountError, match="went away"):
        Reporter(write).ok([])
    read, write = os.pipe()
    os.close(read)
    Reporter(write).error("nobody hears it")


def test_without_a_parent_nothing_is_said():
    reporter = Reporter(None)
    reporter.ok(["x"])
    assert not reporter.pending
