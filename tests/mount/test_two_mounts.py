"""Two mounts look at one tree while an SMB client and the server's own disk change it at random.

What the SMB client has done is read by the next open once it has returned; what was done locally,
within a second. The checker knows all that was ever written: no other bytes are right.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.second_client import SecondClient, second_client

pytestmark = pytest.mark.alone  # changes are promised within a second

Mount = Callable[..., Mounted]

PROMISED = 1.0
RACE = 0.1
"""Seconds that the word of a change by an SMB client may take to reach a mount which has not been
told of any for a while: Samba answers the client first, and tells others then (measured 1 to 10 ms,
35 on a busy machine)."""


class Checker:
    """``content`` is what each name holds now, None for absent; ``before`` what it held, and until
    when that may be seen."""

    def __init__(self, there: Path, mounts: list[Path], client: SecondClient, seed: int) -> None:
        self._there = there
        self._mounts = mounts
        self._client = client
        self._random = random.Random(seed)
        self._content: dict[str, bytes | None] = {}
        self._before: dict[str, list[tuple[float, bytes | None, bool]]] = {}
        self.wrong: list[str] = []
        self.late = {True: 0, False: 0}  # old bytes seen in time, by whether SMB had changed them
        for directory in range(6):
            (there / f"d{directory}").mkdir()
            for number in range(6):
                self._content[f"d{directory}/f{number}"] = None

    def step(self, number: int) -> None:
        name = self._random.choice(list(self._content))
        if self._random.random() < 0.3:
            self._change(name, b"%d:%s" % (number, b"x" * self._random.randrange(2000)))
        else:
            self._check(name, self._random.choice(self._mounts))

    def _change(self, name: str, content: bytes) -> None:
        old, how = self._content[name], self._random.random()
        by_smb = self._random.random() < 0.5
        if old is not None and how < 0.2:
            new = None
        else:
            new = content[: len(old)] if old and how < 0.4 else content
        place = f"{self._there.name}/{name}"
        if by_smb and new is None:
            self._client.remove(place)
        elif by_smb and new is not None:
            self._client.write(place, new)
        elif new is None:
            (self._there / name).unlink()
        else:
            (self._there / name).write_bytes(new)
        until = time.monotonic() + (RACE if by_smb else PROMISED)
        past = self._before.setdefault(name, [])
        past.append((until, old, by_smb))
        if not by_smb:
            past.append((until, b"", by_smb))  # a local write begins with nothing
        self._content[name] = new

    def _check(self, name: str, mount: Path) -> None:
        begun = time.monotonic()
        past = [each for each in self._before.get(name, ()) if each[0] >= begun]
        self._before[name] = past
        seen: bytes | None
        try:
            seen = (mount / self._there.name / name).read_bytes()
        except FileNotFoundError:
            seen = None
        if seen == self._content[name]:
            return
        for _, content, by_smb in past:
            if seen == content:
                self.late[by_smb] += 1
                return
        self.wrong.append(f"{name}: {seen!r:.40} instead of {self._content[name]!r:.40}")


@pytest.mark.parametrize(
    "steps",
    [3000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])],
)
def test_random_changes(samba: PrivateSamba, mount: Mount, steps: int) -> None:
    there = Path(tempfile.mkdtemp(dir=samba.path))
    mounts = [mount(samba), mount(samba, "nofsc")]
    with second_client(samba) as client:
        checker = Checker(there, [mounted.path for mounted in mounts], client, seed=steps)
        for number in range(steps):
            checker.step(number)
            if not number % 500:  # and now and then all of it, listed first
                for mounted in mounts:
                    for _, _, files in os.walk(mounted.path / there.name):
                        assert len(files) <= 6
            assert checker.wrong == []
    for mounted in mounts:
        stats = mounted.stats()
        assert stats["application"]["errors"] == 0
        assert stats["vfs"]["notifications"] > steps / 100
    print(checker.late)
    assert checker.late[True] <= steps / 500
    assert checker.late[False] <= steps / 50
