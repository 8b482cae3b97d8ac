"""Mounts that log in by Kerberos, at a private KDC: ticket, password, keytab; signed and sealed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.test_options_effect import session_line
from tests.support.kerberos import REALM, PrivateRealm
from tests.support.mounted import Mounted, netfsfuse
from tests.support.until import until

CONTENT = os.urandom(3_000_000)
TICKET_SECONDS = 12


def served(folder: Path, realm: PrivateRealm) -> PrivateSamba:
    realm.add_user("root" if os.geteuid() == 0 else os.environ["USER"], "long-password")
    server = PrivateSamba(
        {
            "realm": REALM,
            "kerberos method": "dedicated keytab",
            "dedicated keytab file": str(realm.keytab),
        },
        base=folder,
    )
    os.environ.update(realm.environment)  # smbd and all that is mounted inherit it
    return server


@pytest.fixture(scope="module")
def realm(session_folder: Path) -> Iterator[PrivateRealm]:
    before = dict(os.environ)
    with PrivateRealm(Path(tempfile.mkdtemp(dir=session_folder)), "127.0.0.1") as made:
        yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def server(session_folder: Path, realm: PrivateRealm) -> Iterator[PrivateSamba]:
    with served(session_folder, realm) as made:
        (made.path / "data.bin").write_bytes(CONTENT)
        yield made


def try_mount(
    mounted: Mounted, options: str, env: dict[str, str], source: str = ""
) -> tuple[int, str]:
    places = f"cachedir={mounted.cachedir},log={mounted.log},nofsc"
    words = ["mount", source or mounted.source, str(mounted.path), "-o", f"{options},{places}"]
    result = netfsfuse(*words, env=env)
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("sec=krb5", r"SMB3_11 - AES-128-\wMAC"),
        ("sec=krb5i", r"SMB3_11 - AES-128-\wMAC"),
        ("sec=krb5,nosign", r"SMB3_11 - partial\(AES-128-\wMAC\)"),
        ("sec=krb5,seal", r"SMB3_11 (partial\()?AES-\d+-GCM\)? .*"),
        ("sec=krb5,vers=3.0.2", r"SMB3_02 - AES-128-CMAC"),
    ],
)
def test_by_a_ticket(
    realm: PrivateRealm, server: PrivateSamba, mount, options: str, seen: str
) -> None:
    mounted = mount(server, now=False)
    cache = realm.cache(server.username, "long-password")
    assert try_mount(mounted, options, {"KRB5CCNAME": f"FILE:{cache}"}) == (0, "")
    assert (mounted.path / "data.bin").read_bytes() == CONTENT
    assert re.fullmatch(seen, session_line(server)), session_line(server)
    mounted.umount()


def test_by_a_password_and_by_a_keytab(realm: PrivateRealm, server: PrivateSamba, mount) -> None:
    nowhere = {"KRB5CCNAME": "MEMORY:none"}
    by_password = mount(server, now=False)
    options = f"sec=krb5,user={server.username}@{REALM},pass=long-password"
    assert try_mount(by_password, options, nowhere)[0] == 0
    assert (by_password.path / "data.bin").read_bytes() == CONTENT
    by_keytab = mount(server, now=False)
    keytab = realm.client_keytab(server.username)
    assert try_mount(by_keytab, "sec=krb5", nowhere | {"KRB5_CLIENT_KTNAME": str(keytab)})[0] == 0
    assert (by_keytab.path / "data.bin").read_bytes() == CONTENT


def test_what_is_said_without_a_ticket(server: PrivateSamba, mount) -> None:
    """One line, and the exit status of a login that is refused."""
    mounted = mount(server, now=False)
    nowhere = {"KRB5CCNAME": f"FILE:{mounted.folder}/none"}
    code, said = try_mount(mounted, "sec=krb5", nowhere)
    assert (code, said.count("\n")) == (77, 1)
    assert said.startswith("netfsfuse: Kerberos: No Kerberos credentials available")
    wrong = f"sec=krb5,user={server.username}@{REALM},pass=wrong"
    code, said = try_mount(mounted, wrong, nowhere)
    assert (code, said.count("\n")) == (77, 1)
    assert said.startswith("netfsfuse: Kerberos: wrong user name or password")


@pytest.mark.soak
def test_a_ticket_that_expires_while_mounted(session_folder: Path, mount) -> None:
    """With a keytab a new one is got, and nobody notices."""
    before = dict(os.environ)
    folder = Path(tempfile.mkdtemp(dir=session_folder))
    try:
        with (
            PrivateRealm(folder, "127.0.0.1", TICKET_SECONDS) as brief,
            served(session_folder, brief) as server,
        ):
            (server.path / "data.bin").write_bytes(CONTENT)
            mounted = mount(server, now=False)
            keytab = str(brief.client_keytab(server.username))
            env = {"KRB5CCNAME": f"FILE:{folder}/own", "KRB5_CLIENT_KTNAME": keytab}
            assert try_mount(mounted, "sec=krb5,actimeo=0", env)[0] == 0

            def read() -> bool:
                assert (mounted.path / "data.bin").read_bytes() == CONTENT
                return bool(mounted.stats()["server"]["reconnects"])

            until(read, 4 * TICKET_SECONDS, "the session expires")
            mounted.remove()
    finally:
        os.environ.clear()
        os.environ.update(before)
