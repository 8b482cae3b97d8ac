"""One line for a state, not for a call: a program that reads in an outage, or a file that cannot be
read, in a loop must not fill a disk or drown what else is logged.

Of lines from one place of the program, about one ``state`` where it states one (``extra``), the
first is logged, of INFO the first few. Then they are counted, for a minute, two, and so on up to an
hour; the next one says how many there were. After a quiet minute all begins anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

QUIET = 60.0
LONGEST = 3600.0
FEW = 5
STATES_MAX = 512


@dataclass(slots=True)
class _State:
    seen: float
    until: float
    pause: float = QUIET
    logged: int = 0
    left_out: int = 0


class Repeats(logging.Filter):
    """Lets the first of like lines pass. For one handler; ``clock`` is monotonic. Records below
    INFO pass. Two threads that log at the same moment may make a count wrong by one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._states: dict[object, _State] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        if record.levelno < logging.INFO:
            return True
        now = self._clock()
        said = getattr(record, "state", record.args if record.msg == "%s" else None)
        key = (record.name, record.lineno, str(said))
        state = self._states.pop(key, None)
        if state is None or now - state.seen > QUIET:
            state = _State(now, now + QUIET)
        self._states[key] = state
        if len(self._states) > STATES_MAX:
            self._states.pop(next(iter(self._states)), None)
        state.seen = now
        if now >= state.until:
            state.pause = min(2 * state.pause, LONGEST)
            state.until, state.logged = now + state.pause, 0
        if state.logged >= (1 if record.levelno > logging.INFO else FEW):
            state.left_out += 1
            return False
        state.logged += 1
        if state.left_out:
            record.msg = f"{record.getMessage()} (and {state.left_out} like it before)"
            record.args = None
            state.left_out = 0
        return True
