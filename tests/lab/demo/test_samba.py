"""The private smbd: starts, stops without a trace, and its variants really apply."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from smbprotocol.connection import Connection
from smbprotocol.exceptions import LogonFailure
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from netfsfuse.lab.server import smbd
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.lab.server.smbd import SambaError
from tests.support.leaks import MARK, marked_processes
from tests.support.ordinary_user import OrdinaryUser

pytestmark = pytest.mark.samba


def connect(server: PrivateSamba, port: int | None = None) -> Connection:
    connection = Connection(uuid.uuid4(), server.host, port or server.port)
    connection.connect(timeout=10)
    return connection


def log_in(connection: Connection, server: PrivateSamba, *, encrypt: bool = False) -> Session:
    session = Session(connection, server.username, server.password, require_encryption=encrypt)
    session.connect()
    return session


def server_processes(server: PrivateSamba) -> list[int]:
    """All processes whose command line names the server's folder."""
    folder = os.fsencode(server.folder)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if folder in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def gone(pids: list[int]) -> bool:
    """Whether none of the processes runs; an orphan that only waits for init counts as gone."""
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                return False
        except OSError:
            continue
    return True


def test_serves_its_folder_to_its_user(samba: PrivateSamba) -> None:
    connection = connect(samba)
    try:
        session = log_in(connection, samba)
        TreeConnect(session, rf"\\{samba.host}\{samba.share}").connect()
        assert connection.dialect == 0x311
    finally:
        connection.disconnect(True)


def test_refuses_a_wrong_password(samba: PrivateSamba) -> None:
    connection = connect(samba)
    try:
        session = Session(connection, samba.username, "not it", require_encryption=False)
        with pytest.raises(LogonFailure):
            session.connect()
    finally:
        connection.disconnect(False)


def test_stop_ends_every_process_and_removes_the_folder(session_folder: Path) -> None:
    server = PrivateSamba(base=session_folder)
    server.start()
    folder, port = server.folder, server.port
    with socket.create_connection((server.host, port)):  # a process of its own for this one
        pids = server_processes(server)
        assert len(pids) >= 2
        assert folder.is_dir()
        server.stop()
    assert gone(pids)
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, port))
    server.stop()


def test_stop_ends_a_process_that_does_not_listen_to_signals(
    samba_factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: PrivateSamba = samba_factory()
    pids = server_processes(server)
    os.kill(max(pids), signal.SIGSTOP)
    monkeypatch.setattr(smbd, "_STOP_SECONDS", 0.2)
    server.stop()
    assert gone(pids)


def test_restart_keeps_port_and_data_and_drops_connections(samba_factory) -> None:
    server: PrivateSamba = samba_factory()
    (server.path / "kept").write_text("data")
    port = server.port
    with socket.create_connection((server.host, port), timeout=10) as before:
        server.restart()
        with contextlib.suppress(ConnectionResetError):  # either is a dropped connection
            assert before.recv(1) == b""
    assert server.port == port
    assert (server.path / "kept").read_text() == "data"
    connect(server).disconnect(False)


def test_kill_is_sudden_and_restart_recovers(samba_factory) -> None:
    server: PrivateSamba = samba_factory()
    pids = server_processes(server)
    server.kill()
    assert gone(pids)
    assert not server.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port))
    server.restart()
    connection = connect(server)
    log_in(connection, server)
    connection.disconnect(True)


def test_nobody_else_gets_the_port_while_the_server_is_down(samba_factory) -> None:
    server: PrivateSamba = samba_factory()
    server.kill()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((server.host, server.port))


def test_says_what_smbd_said_when_it_does_not_start(session_folder: Path) -> None:
    before = set(session_folder.iterdir())
    server = PrivateSamba({"interfaces": "192.0.2.1"}, base=session_folder)
    with pytest.raises(SambaError, match="No sockets available"):
        server.start()
    assert server.folder == Path()
    assert set(session_folder.iterdir()) == before


def test_missing_smbd_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smbd.shutil, "which", lambda name, path=None: None)
    with pytest.raises(SambaError, match="apt install samba"):
        smbd.find_program("smbd")


def test_server_dies_with_its_maker(session_folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from netfsfuse.lab.server.samba import PrivateSamba\n"
        f"server = PrivateSamba(base=Path({str(session_folder)!r})); server.start()\n"
        "print(server.folder, flush=True); sys.stdin.read()"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with maker:
        assert maker.stdout is not None
        folder = maker.stdout.readline().strip()
        assert any(folder in line for line in marked_processes(os.environ[MARK]))
        maker.send_signal(signal.SIGKILL)
    while any(folder in line for line in marked_processes(os.environ[MARK])):
        os.sched_yield()  # the test's time limit ends this when it fails


def test_signing_variant_demands_signing(samba_factory) -> None:
    server: PrivateSamba = samba_factory({"server signing": "mandatory"})
    connection = connect(server)
    try:
        assert connection.server_security_mode & 0x2
    finally:
        connection.disconnect(False)


def test_encryption_variant_demands_encryption(samba_factory) -> None:
    server: PrivateSamba = samba_factory({"smb encrypt": "required"})
    connection = connect(server)
    try:
        session = log_in(connection, server)  # did not ask for it
        assert session.encrypt_data
    finally:
        connection.disconnect(False)


def test_credit_variant_limits_the_grant(samba_factory) -> None:
    granted = {}
    for limit in (128, 8192):
        server: PrivateSamba = samba_factory({"smb2 max credits": str(limit)})
        connection = connect(server)
        try:
            log_in(connection, server)
            for _ in range(4):
                connection.echo(credit_request=1000)
            granted[limit] = connection.sequence_window["high"] - connection.sequence_window["low"]
        finally:
            connection.disconnect(True)
    assert granted[128] <= 128 < granted[8192]


def test_further_shares_and_options(samba_factory) -> None:
    server: PrivateSamba = samba_factory(
        shares={"second": {"read only": "yes"}}, share_options={"browseable": "no"}
    )
    assert server.path_of("second").is_dir()
    configuration = (server.folder / "smb.conf").read_text()
    assert configuration.count("browseable = no") == 2
    connection = connect(server)
    try:
        session = log_in(connection, server)
        TreeConnect(session, rf"\\{server.host}\second").connect()
    finally:
        connection.disconnect(True)


def test_works_for_an_ordinary_user(session_folder: Path) -> None:
    user = OrdinaryUser(session_folder / "ordinary-samba")
    script = (
        "import os, uuid; from netfsfuse.lab.server.samba import PrivateSamba\n"
        "from smbprotocol.connection import Connection; from smbprotocol.session import Session\n"
        "from smbprotocol.tree import TreeConnect\n"
        "with PrivateSamba() as server:\n"
        "    c = Connection(uuid.uuid4(), server.host, server.port); c.connect()\n"
        "    s = Session(c, server.username, server.password, require_encryption=False)\n"
        "    s.connect(); TreeConnect(s, r'\\\\127.0.0.1\\share').connect(); c.disconnect(True)\n"
        "print(os.geteuid(), server.username)"
    )
    result = user.run([sys.executable, "-c", script])
    assert result.returncode == 0, result.stderr
    uid, name = result.stdout.split()
    assert int(uid) != 0
    assert name == user.name
