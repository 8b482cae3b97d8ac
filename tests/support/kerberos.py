"""A private Kerberos realm: its KDC, its principals, and what clients and servers need to know.

Nothing of the machine's own Kerberos is read or changed: everything goes by the environment.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.until import until

REALM = "PRIVATE.TEST"


class PrivateRealm:
    """A realm in ``folder``, with the service ``cifs/HOST``, whose key is in ``keytab``.

    ``environment``: what every process has to have that uses it. As a context manager it runs its
    KDC. A ticket lasts for ``seconds``.
    """

    def __init__(self, folder: Path, host: str, seconds: int = 3600) -> None:
        self.folder = folder
        self.service = f"cifs/{host}"
        self.keytab = folder / "service.keytab"
        self._seconds = seconds
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.environment = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5RCACHETYPE": "none",
        }
        self._kdc: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._configure()
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        self._admin(f"addprinc -randkey {self.service}")
        self._admin(f"ktadd -k {self.keytab} {self.service}")
        with (self.folder / "kdc.out").open("wb") as out:
            self._kdc = subprocess.Popen(
                [_program("krb5kdc"), "-n", "-r", REALM],
                env={**os.environ, **self.environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        log = self.folder / "kdc.log"
        until(lambda: log.exists() and "commencing" in log.read_text(), 20, "the KDC answers")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._kdc is not None:
            self._kdc.terminate()
            self._kdc.wait()

    def add_user(self, name: str, password: str) -> None:
        """A principal with a password."""
        self._admin(f"addprinc -pw {password} {name}")

    def client_keytab(self, name: str) -> Path:
        """A keytab by which ``name`` logs in without a password."""
        path = self.folder / f"{name}.keytab"
        self._admin(f"ktadd -norandkey -k {path} {name}")
        return path

    def cache(self, name: str, password: str) -> Path:
        """A credential cache with a ticket for ``name``."""
        path = self.folder / f"{name}.cache"
        self._run("kinit", "-c", f"FILE:{path}", name, said=password + "\n")
        return path

    def _configure(self) -> None:
        (self.folder / "krb5.conf").write_text(
            f"""[libdefaults]
default_realm = {REALM}
dns_lookup_realm = false
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
udp_preference_limit = 1
ticket_lifetime = {self._seconds}s
[realms]
{REALM} = {{
  kdc = 127.0.0.1:{self._port}
}}
[logging]
kdc = FILE:{self.folder}/kdc.log
"""
        )
        (self.folder / "kdc.conf").write_text(
            f"""[kdcdefaults]
kdc_listen = 127.0.0.1:{self._port}
kdc_tcp_listen = 127.0.0.1:{self._port}
[realms]
{REALM} = {{
  database_name = {self.folder}/principal
  key_stash_file = {self.folder}/stash
  acl_file = {self.folder}/acl
  max_life = {self._seconds}s
  disable_pac = true
}}
[logging]
kdc = FILE:{self.folder}/kdc.log
"""
        )

    def _admin(self, query: str) -> None:
        self._run("kadmin.local", "-r", REALM, "-q", query)

    def _run(self, program: str, *words: str, said: str = "") -> None:
        result = subprocess.run(
            [_program(program), *words],
            env={**os.environ, **self.environment},
            input=said,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{program}: {result.stdout}{result.stderr}"


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
    assert found is not None, f"{name} not found: apt install krb5-kdc krb5-admin-server krb5-user"
    return found
