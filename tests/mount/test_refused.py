"""A server that does not let a mount in again: what programs see, and what it costs the account."""

from __future__ import annotations

import os
import stat

import pytest

from tests.support.mounted import netfsfuse
from tests.support.until import until


def test_a_changed_password_is_tried_once(samba_factory, mount, proxy) -> None:
    """Not for each request: the account would be locked. What is refused is EACCES at once; the log
    says so once, and the counters as long as it lasts. The mount is still there, its root and its
    space shown as they were."""
    server = samba_factory()
    (server.path / "file").write_text("x")
    line = proxy(server.port)
    mounted = mount(server, "nofsc", "noac", source=f"//127.0.0.1:{line.port}/{server.share}")
    assert (mounted.path / "file").read_text() == "x"
    assert os.statvfs(mounted.path).f_blocks
    connections = line.connections
    server.add_user(server.username, "another")
    line.cut()
    until(lambda: "connection ended" in mounted.log_text(), 5, "the connection is lost")
    for number in range(50):
        with pytest.raises(PermissionError):
            os.stat(mounted.path / f"name-{number}")
    assert stat.S_ISDIR(os.stat(mounted.path).st_mode)
    assert os.statvfs(mounted.path).f_blocks
    assert line.connections <= connections + 2  # one more, where this took over 5 s
    refused = "//127.0.0.1/share: wrong user name or password"
    assert mounted.stats()["server"]["refused"] == refused
    assert mounted.log_text().count(refused) == 1


def test_a_password_that_was_changed_in_the_credentials_file_too(
    samba_factory, mount, proxy
) -> None:
    """Nobody notices: the file is read again when the connection is made again."""
    server = samba_factory()
    (server.path / "file").write_text("x")
    line = proxy(server.port)
    source = f"//127.0.0.1:{line.port}/{server.share}"
    mounted = mount(server, "nofsc", "noac", source=source, now=False)
    login = mounted.folder / "login"
    login.touch(0o600)
    login.write_text(f"username={server.username}\npassword={server.password}\n")
    places = f"cachedir={mounted.cachedir},log={mounted.log},nofsc,noac"
    result = netfsfuse("mount", source, str(mounted.path), "-o", f"credentials={login},{places}")
    assert result.returncode == 0, result
    assert (mounted.path / "file").read_text() == "x"
    server.add_user(server.username, "another")
    login.write_text(f"username={server.username}\npassword=another\n")
    line.cut()
    until(lambda: "connection ended" in mounted.log_text(), 5, "the connection is lost")
    assert (mounted.path / "file").read_text() == "x"
    assert "the login was changed" in mounted.log_text()
    assert "another" not in mounted.log_text()
