"""A password is seen by nobody who was not told it: not in ps, not in a log, not in an error."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted, netfsfuse

WAYS = {
    "PASSWD": ("user={user}", {"PASSWD": "{password}"}),
    "PASSWD_FILE": ("user={user}", {"PASSWD_FILE": "{folder}/secret"}),
    "credentials": ("credentials={folder}/login", {}),
    "pass=": ("user={user},pass={password}", {}),
    "password2=": ("user={user},pass=wrong-{password},password2={password}", {}),
    "second in the file": ("credentials={folder}/second", {}),
    "user%password": ("user={user}%{password}", {}),
}


def starred(text: str, password: str) -> bytes:
    """With asterisks in the place of each secret that is a value there."""
    for secret in (f"wrong-{password}", password):
        text = text.replace(secret, "*" * len(secret))
    return os.fsencode(text)


class Watch:
    """Reads the command line of every process, again and again; ``seen`` holds the command lines
    with ``secret`` in them."""

    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()
        self.seen: set[bytes] = set()
        self.rounds = 0
        self._over = threading.Event()

    def look(self) -> None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes()
                if self.secret in words:
                    self.seen.add(words)
        self.rounds += 1

    def _run(self) -> None:
        while not self._over.is_set():
            self.look()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


@pytest.fixture
def prepared(samba: PrivateSamba, mount) -> Mounted:
    mounted: Mounted = mount(samba, now=False)
    for name, text in (
        ("secret", f"{samba.password}\n"),
        ("login", f"username={samba.username}\npassword={samba.password}\n"),
        ("second", f"username={samba.username}\npassword=x\npassword2={samba.password}\n"),
    ):
        (mounted.folder / name).write_text(text)
        (mounted.folder / name).chmod(0o600)
    return mounted


@pytest.mark.parametrize("way", WAYS)
def test_a_password_is_not_seen(samba: PrivateSamba, prepared: Mounted, way: str) -> None:
    """Every process, from before the mount until after it; the daemon's environment; and the log,
    with debug. What the user himself typed is his own: only that process may show it."""
    options, env = WAYS[way]
    known = {"user": samba.username, "password": samba.password, "folder": str(prepared.folder)}
    given = f"log={prepared.log},cachedir={prepared.cachedir},debug,{options.format(**known)}"
    watch = Watch(samba.password)
    with watch.running():
        words = ["mount", samba.url, str(prepared.path), "-o", given]
        environment = {name: value.format(**known) for name, value in env.items()}
        result = netfsfuse(*words, env=environment)
        assert result.returncode == 0, result
        os.listdir(prepared.path)
    assert watch.rounds > 2
    typed = starred(given, samba.password) if samba.password in given else b"nothing was typed"
    for words in watch.seen:
        # One secret after the other is starred there; nothing else is like what was typed.
        shown = starred(os.fsdecode(words), samba.password)
        assert typed in shown, words
        assert b"\0-f" not in shown, words
    after = Watch(samba.password)
    after.look()
    assert not after.seen
    environ = Path(f"/proc/{prepared.pid}/environ").read_bytes()
    assert not any(variable.startswith(b"PASSWD") for variable in environ.split(b"\0"))
    assert samba.password.encode() not in environ
    shown = netfsfuse("stats", str(prepared.path)).stdout + json.dumps(prepared.stats())
    prepared.umount()
    assert "DEBUG" in prepared.log_text()
    for text in (result.stderr, result.stdout, shown, prepared.log_text()):
        assert samba.password not in text


@pytest.mark.parametrize("way", ["PASSWD", "credentials", "pass="])
def test_a_wrong_password_is_not_repeated(samba: PrivateSamba, prepared: Mounted, way: str) -> None:
    """Nor are its pieces; the error names neither."""
    wrong = secrets.token_urlsafe(12)
    (prepared.folder / "login").write_text(f"username={samba.username}\npassword={wrong}\n")
    options, env = WAYS[way]
    known = {"user": samba.username, "password": wrong, "folder": str(prepared.folder)}
    given = f"log={prepared.log},cachedir={prepared.cachedir},debug,{options.format(**known)}"
    environment = {name: value.format(**known) for name, value in env.items()}
    result = netfsfuse("mount", samba.url, str(prepared.path), "-o", given, env=environment)
    assert result.returncode == 77
    assert result.stderr.endswith("wrong user name or password\n")
    assert wrong not in result.stderr + result.stdout + prepared.log_text()
