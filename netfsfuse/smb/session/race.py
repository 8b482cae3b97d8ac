"""Several addresses of one server tried side by side: the first that answers NEGOTIATE wins.

As in RFC 8305, the next address is tried when the one before has failed, or has not answered for
``STAGGER`` seconds. What is known already is tried while a name server is asked for more. The
others are given up before any of them has logged in: one race is one login.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol

import trio

from netfsfuse.errors import MountError
from netfsfuse.smb.connection.handshake_result import HandshakeResult

STAGGER = 0.25


class Attempt(Protocol):
    """One handshake; ``bridge.Handshake`` is one."""

    def run(self, reached: Callable[[], None]) -> HandshakeResult:
        """In a thread. Calls ``reached`` once the server has answered NEGOTIATE, and waits for
        ``go_on`` before it logs in. Raises MountError."""
        ...

    def go_on(self) -> None:
        """Log in."""
        ...

    def abandon(self) -> None:
        """The outcome is not wanted."""
        ...


Make = Callable[[str | None], Attempt]
"""An attempt at an address. Raises OSError where none can be begun."""


class NotNeeded(MountError):
    """The server was reached, and no login is wanted there any more."""


class _Runner:
    """One attempt in a task."""

    def __init__(self, attempt: Attempt, stir: Callable[[], None]) -> None:
        self.attempt = attempt
        self.scope = trio.CancelScope()
        self.reached = False
        self.is_over = False
        self.error: MountError | None = None
        self.result: HandshakeResult | None = None
        self._stir = stir

    def _reach(self) -> None:
        self.reached = True
        self._stir()

    async def run(self) -> None:
        token = trio.lowlevel.current_trio_token()
        reached = partial(token.run_sync_soon, self._reach)
        try:
            with self.scope:
                self.result = await trio.to_thread.run_sync(
                    self.attempt.run, reached, abandon_on_cancel=True
                )
        except MountError as failed:
            self.error = failed
        except RuntimeError as failed:  # no thread is to be had
            self.error = MountError(f"cannot connect: {failed}")
        finally:
            if self.result is None:
                self.attempt.abandon()
            self.is_over = True
            self._stir()


class Race:
    """``known`` addresses are tried first, in that order, then those that ``resolve`` finds, which
    raises MountError; None where there is nothing to find. ``may_log_in`` is asked once, when a
    server has answered."""

    def __init__(
        self,
        make: Make,
        known: Sequence[str | None],
        resolve: Callable[[], Awaitable[Sequence[str]]] | None,
        may_log_in: Callable[[], bool],
    ) -> None:
        self._make = make
        self._waiting = list(known)
        self._seen = set(known)
        self._resolve = resolve
        self._may_log_in = may_log_in
        self._runners: list[_Runner] = []
        self._errors: list[MountError] = []
        self._stirred = trio.Event()

    async def run(self) -> HandshakeResult:
        """The connection; its socket is the caller's. Raises MountError, that of the first address
        where all fail, and NotNeeded where no login is wanted."""
        winner = None
        async with trio.open_nursery() as nursery:
            looking_up = trio.CancelScope()
            if self._resolve is not None:
                nursery.start_soon(self._look_up, looking_up)
            winner = await self._first(nursery)
            looking_up.cancel()
            wanted = winner is not None and self._may_log_in()
            for runner in self._runners:
                if runner is not winner or not wanted:
                    runner.scope.cancel()
            if winner is not None and wanted:
                winner.attempt.go_on()
        if winner is not None and not wanted:
            raise NotNeeded("the server is reached as before")
        if winner is not None and winner.result is not None:
            return winner.result
        raise self._reason(winner)

    def _reason(self, winner: _Runner | None) -> MountError:
        if winner is not None and winner.error is not None:
            return winner.error
        errors = [runner.error for runner in self._runners if runner.error is not None]
        return (errors + self._errors + [MountError("cannot connect")])[0]

    def _stir(self) -> None:
        self._stirred.set()

    async def _first(self, nursery: trio.Nursery) -> _Runner | None:
        """The first to be reached; None when all have failed."""
        last: _Runner | None = None
        next_at = -math.inf
        while True:
            self._stirred = trio.Event()
            for runner in self._runners:
                if runner.reached:
                    return runner
            now = trio.current_time()
            if self._waiting and (now >= next_at or last is None or last.is_over):
                last, next_at = self._begin(nursery), now + STAGGER
                continue
            is_over = all(runner.is_over for runner in self._runners)
            if is_over and not self._waiting and self._resolve is None:
                return None
            with trio.move_on_at(next_at if self._waiting else math.inf):
                await self._stirred.wait()

    def _begin(self, nursery: trio.Nursery) -> _Runner | None:
        address = self._waiting.pop(0)
        try:
            attempt = self._make(address)
        except OSError as failed:
            self._errors.append(MountError(f"cannot connect: {failed.strerror}"))
            return None
        runner = _Runner(attempt, self._stir)
        self._runners.append(runner)
        nursery.start_soon(runner.run)
        return runner

    async def _look_up(self, scope: trio.CancelScope) -> None:
        assert self._resolve is not None
        try:
            with scope:
                for address in await self._resolve():
                    if address not in self._seen:
                        self._seen.add(address)
                        self._waiting.append(address)
        except MountError as failed:
            self._errors.append(failed)
        finally:
            self._resolve = None
            self._stir()
