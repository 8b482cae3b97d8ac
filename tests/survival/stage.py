"""A server, a line with faults, a mount, and work on it: what came of it, and what was left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.lab.server.smbd import find_program
from tests.support.mounted import SOURCE_TREE, Mounted
from tests.support.proxy import PrivateProxy
from tests.support.until import until
from tests.survival import loads

_SPARE = 12  # descriptors and threads that come with use: pools, watches, further connections


@dataclass(frozen=True)
class Turn:
    """One round of one load; times of the monotonic clock."""

    load: str
    begin: float
    end: float
    error: str = ""
    where: str = ""
    wrong: str = ""

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Working:
    """Runs loads in a process of their own, from the making to :meth:`end`."""

    def __init__(self, mount: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.turns: list[Turn] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.survival.loads", *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SOURCE_TREE, loads.MOUNT: str(mount)},
            text=True,
        )
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.turns.append(Turn(**json.loads(line)))

    def wait_turns(self, seconds: float, since: float | None = None) -> float:
        """Until each load but ``idle`` has done a good round that began after ``since`` (now);
        how long that took."""
        since = time.monotonic() if since is None else since
        wanted = {name for name in self.names if name != "idle"} or {"ready"}

        def done() -> bool:
            good = {t.load for t in self.turns if t.begin >= since and not t.error and not t.wrong}
            return wanted <= good or (wanted == {"ready"} and bool(self.turns))

        return until(done, seconds, f"a round of {wanted}; {self.turns[-12:]}")

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Until something else than the loads has come about."""
        until(condition, seconds, f"{condition}; {self.turns[-3:]}")

    def end(self, seconds: float) -> list[Turn]:
        """Finish the last rounds; all of them, in the order of their ends."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(seconds) == 0
        finally:
            self.kill()
        return [turn for turn in self.turns if turn.load != "ready"]

    def kill(self) -> None:
        """End it at once. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._listener.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class Stage:
    """What a scenario acts on. ``begin`` and ``end`` of the fault are set by the scenario."""

    server: PrivateSamba
    line: PrivateProxy
    mounted: Mounted
    working: Working
    begin: float = 0.0
    end: float = 0.0

    def rest(self, seconds: float) -> None:
        """The fault lasts."""
        time.sleep(seconds)

    def descriptors(self) -> int:
        """Open in the daemon."""
        return len(os.listdir(f"/proc/{self.mounted.pid}/fd"))

    def threads(self) -> int:
        """Of the daemon."""
        return len(os.listdir(f"/proc/{self.mounted.pid}/task"))


def server_state(server: PrivateSamba) -> dict[str, Any]:
    """What smbd says of its clients: ``sessions``, ``tcons``, ``open_files``."""
    said = subprocess.run(
        [find_program("smbstatus"), "-s", str(server.folder / "smb.conf"), "--json"],
        capture_output=True,
        check=True,
    )
    state: dict[str, Any] = json.loads(said.stdout)
    return state


def check_nothing_left(stage: Stage, descriptors: int, threads: int, sessions: int = 1) -> None:
    """Nothing under way, no handle of a program's, no more descriptors and threads than use brings,
    and one session at the server. The loads have ended."""

    def counters() -> dict[str, Any]:
        return stage.mounted.stats()

    def quiet() -> bool:
        now = counters()
        return (
            now["server"]["in_flight"] == now["write"]["in_flight"] == 0
            and now["write"]["dirty_bytes"] == 0
            and now["vfs"]["handles"] == 0
        )

    until(quiet, 10, f"nothing is under way: {counters()}")
    assert counters()["tasks"]["failed"] == 0, stage.mounted.log_text()
    assert "Traceback" not in stage.mounted.log_text(), stage.mounted.log_text()
    assert stage.descriptors() <= descriptors + _SPARE
    # trio keeps threads that have nothing to do for 10 s; each login was in one.
    until(lambda: stage.threads() <= threads + _SPARE, 25, f"{threads} threads: {stage.threads()}")

    def of_ours() -> int:
        return len(server_state(stage.server).get("sessions", {}))

    until(lambda: of_ours() <= sessions, 10, f"{sessions} session at the server")
    loads.check_written(stage.server.path)
