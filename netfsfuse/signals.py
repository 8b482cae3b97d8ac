"""What signals do to a mount: none may end the process and leave a dead mount behind.

By default nearly every signal ends a process at once. Here those that mean an end take the mount
away first (``ENDING``). A hang-up is the loss of the terminal for a mount in the foreground, and
means an end; a daemon is asked by it to open its log anew, by log rotation. All others that would
end the process do nothing, but those of a crash (SIGSEGV and its like). SIGPIPE and SIGXFSZ Python
ignores itself. What stops a process (SIGSTOP, Ctrl-Z) stops the mount until SIGCONT. Imports
nothing of this package.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

ENDING = frozenset(
    {
        *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGXCPU, signal.SIGPWR),
        signal.SIGABRT,  # systemd's watchdog; abort(3) itself ends the process all the same
    }
)

_NOTHING = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF),
    *(
        signal.SIGIO,
        signal.SIGSTKFLT,
        signal.SIGTRAP,
        signal.SIGSYS,
        *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
    ),
)


def ignore_the_others() -> None:
    """Have the signals that mean nothing to us do nothing. Once a process, in the main thread."""
    for number in _NOTHING:
        signal.signal(number, signal.SIG_IGN)


async def follow_signals(end: Callable[[], None], hang_up: Callable[[], None] | None) -> None:
    """Call ``end`` for each signal that means an end, and ``hang_up`` for a SIGHUP; where that is
    None, a SIGHUP means an end too, unless it is ignored already (nohup). A task; never returns.
    """
    numbers = {int(number) for number in ENDING}
    if hang_up is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.add(signal.SIGHUP)
    with trio.open_signal_receiver(*map(signal.Signals, numbers)) as signals:
        async for number in signals:
            if number == signal.SIGHUP and hang_up is not None:
                hang_up()
                continue
            log.info("ending on %s", signal.Signals(number).name)
            end()
