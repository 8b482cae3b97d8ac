"""Turning the signals that end a program into one exception, and keeping them out of the clean-up.

Python raises KeyboardInterrupt for SIGINT alone, and raises it again in the middle of the clean-up
when the user presses Ctrl-C twice. Here the first of SIGINT, SIGTERM and SIGHUP raises
:class:`Interrupted` in the main thread; later ones, and all after :meth:`Interruptible.hold`, are
ignored, so that what was begun is undone completely.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The program was told to end by ``number``. Not an Exception: no handler may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell reports for a program that ended by this signal."""
        return 128 + self.number


class Interruptible:
    """Context in which an ending signal raises :class:`Interrupted`, once. Main thread only."""

    def __init__(self) -> None:
        self._held = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDING:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: the end of the terminal is to be survived
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """From here on the signals are ignored: the clean-up begins."""
        self._held = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._held:
            self._held = True
            raise Interrupted(number)
