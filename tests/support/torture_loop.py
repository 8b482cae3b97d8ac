"""A mount in a process of its own whose loop is measured from inside.

Run as ``python -m tests.support.torture_loop HOST PORT SHARE MOUNTPOINT CACHEDIR TICKER FIGURES
LAG``, the user's name and password in the environment as ``USER`` and ``PASSWD``. It is the
product's own :func:`netfsfuse.mount.run`; beside it run a ticker, an instrument that takes the CPU
time of every step of every task, and one that takes that of garbage collections, which are part of
the steps they happen in. SIGTERM ends it, and the figures go to FIGURES as JSON. LAG seconds pass
between the wake-up by /dev/fuse and whatever the product does about it, as if the loop were busy.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import trio

from netfsfuse import mount
from netfsfuse.config import CacheConfig, Credentials, MountConfig, ServerConfig
from netfsfuse.fuse.readable import FuseReadable
from tests.support.torture_ticker import Ticker


class StepTimes(trio.abc.Instrument):
    """CPU nanoseconds of each step on the loop, and what the longest ones were."""

    def __init__(self) -> None:
        self.steps = array("Q")
        self.longest: dict[str, int] = {}
        self.collections: dict[int, int] = {}  # the longest by generation
        self._collecting = 0
        self._begin = 0  # none under way: it is put in place in the middle of a step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio."""
        self._begin = time.thread_time_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio."""
        took = time.thread_time_ns() - self._begin if self._begin else 0
        self.steps.append(took)
        if took > 2_000_000:
            name = task.name.rpartition(".")[2]
            self.longest[name] = max(took, self.longest.get(name, 0))

    def on_collection(self, phase: str, info: dict[str, int]) -> None:
        """For ``gc.callbacks``."""
        now = time.thread_time_ns()
        if phase == "start":
            self._collecting = now
        else:
            generation, took = info["generation"], now - self._collecting
            self.collections[generation] = max(took, self.collections.get(generation, 0))

    def figures(self) -> dict[str, Any]:
        """Milliseconds: p50, p99, p99.9, max; the number of steps; the longest by task's name."""
        ordered = sorted(self.steps)

        def at(share: float) -> float:
            return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e6

        return {
            "steps": len(ordered),
            "p50": at(0.5),
            "p99": at(0.99),
            "p99.9": at(0.999),
            "max": at(1),
            "longest": {name: ns / 1e6 for name, ns in self.longest.items()},
            "collections": {name: ns / 1e6 for name, ns in self.collections.items()},
        }


def lag_by(seconds: float) -> None:
    """Have the whole loop stand for so long between a wake-up and what is done about it."""
    wait = FuseReadable.wait

    async def lagging(self: FuseReadable) -> None:
        await wait(self)
        time.sleep(seconds)

    FuseReadable.wait = lagging  # type: ignore[method-assign]


def main() -> None:
    """See the module."""
    host, port, share, mountpoint, cachedir, ticker_file, figures, lag = sys.argv[1:]
    credentials = Credentials(os.environ["USER"], os.environ["PASSWD"])
    config = MountConfig(
        source=f"//{host}/{share}",
        mountpoint=Path(mountpoint),
        server=ServerConfig(host, share, int(port), credentials=credentials),
        cache=CacheConfig(directory=Path(cachedir)),
    )
    times, ticker = StepTimes(), Ticker(Path(ticker_file))

    def announce(notices: list[str]) -> None:
        trio.lowlevel.add_instrument(times)
        gc.callbacks.append(times.on_collection)
        trio.lowlevel.spawn_system_task(ticker.run)

    if float(lag):
        lag_by(float(lag))
    mount.run(config, announce)
    Path(figures).write_text(json.dumps(times.figures() | {"largest_gap": ticker.largest_gap}))


if __name__ == "__main__":
    main()
