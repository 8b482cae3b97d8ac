"""Several addresses of one server: which is tried when, which wins, what becomes of the others."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.errors import LoginRefused, MountError
from netfsfuse.smb.connection.handshake_result import HandshakeResult
from netfsfuse.smb.session.addresses import in_turns
from netfsfuse.smb.session.race import NotNeeded, Race
from tests.smb.peer import established


class Try:
    """An attempt at an address: ``how`` is "good", "silent", "dead" or "barred"."""

    def __init__(self, address: str, how: str) -> None:
        self.address, self.how = address, how
        self.going_on = False
        self._over = threading.Event()

    def run(self, reached: Callable[[], None]) -> HandshakeResult:
        if self.how == "dead":
            raise MountError(f"{self.address} is dead")
        if self.how != "silent":
            reached()
        self._over.wait(10)
        if not self.going_on:
            raise MountError("given up")
        if self.how == "barred":
            raise LoginRefused("no")
        ours, theirs = socket.socketpair()
        theirs.close()
        return established(ours)

    def go_on(self) -> None:
        self.going_on = True
        self._over.set()

    def abandon(self) -> None:
        self._over.set()


class Course:
    """Runs a race over ``ways``, by address; ``tries`` are those that were begun."""

    def __init__(self, **ways: str) -> None:
        self.ways = ways
        self.tries: list[Try] = []
        self.needed = True

    def _make(self, address: str | None) -> Try:
        assert address is not None
        self.tries.append(Try(address, self.ways[address]))
        return self.tries[-1]

    async def run(
        self, known: Sequence[str], found: Sequence[str] | MountError | None = None
    ) -> str:
        """The address that won."""

        async def resolve() -> Sequence[str]:
            await trio.lowlevel.checkpoint()
            if isinstance(found, MountError):
                raise found
            return found or []

        race = Race(self._make, known, resolve if found is not None else None, lambda: self.needed)
        with trio.fail_after(5):
            result = await race.run()
        result.sock.close()
        (winner,) = [each for each in self.tries if each.going_on]
        return winner.address


@pytest.mark.parametrize("first", ["dead", "silent"])
async def test_the_next_address_is_tried_when_one_fails_or_is_silent(first: str) -> None:
    course = Course(a=first, b="good")
    begun = trio.current_time()
    assert await course.run(["a", "b"]) == "b"
    assert trio.current_time() - begun < 2


async def test_one_that_answers_is_the_only_one_that_is_asked() -> None:
    course = Course(a="good", b="good")
    assert await course.run(["a"], ["a", "b"]) == "a"
    assert sum(each.going_on for each in course.tries) == 1


async def test_what_is_known_need_not_wait_for_a_silent_resolver() -> None:
    course = Course(a="good")

    async def silent() -> Sequence[str]:
        await trio.sleep_forever()
        raise AssertionError

    race = Race(course._make, ["a"], silent, lambda: True)
    with trio.fail_after(5):
        (await race.run()).sock.close()


async def test_a_server_that_has_moved_is_found_by_its_name() -> None:
    assert await Course(old="silent", new="good").run(["old"], ["new"]) == "new"


async def test_where_all_fail_the_first_reason_is_told() -> None:
    with pytest.raises(MountError, match="a is dead"):
        await Course(a="dead", b="dead").run(["a", "b"])
    with pytest.raises(MountError, match="no such host"):
        await Course().run([], MountError("no such host"))


async def test_a_refused_login_is_told_and_no_other_address_is_logged_in_at() -> None:
    course = Course(a="barred", b="good")
    with pytest.raises(LoginRefused):
        await course.run(["a", "b"])
    assert sum(each.going_on for each in course.tries) == 1


async def test_where_no_login_is_needed_any_more_none_is_made() -> None:
    course = Course(a="good")
    course.needed = False
    with pytest.raises(NotNeeded):
        await course.run(["a"])
    assert not course.tries[0].going_on


async def test_cancelled_it_leaves_none_behind() -> None:
    course = Course(a="silent", b="silent")
    with trio.move_on_after(0.5) as scope:
        await course.run(["a", "b"])
    assert scope.cancelled_caught
    assert len(course.tries) == 2
    assert all(each._over.is_set() for each in course.tries)


FAMILIES = st.sampled_from([socket.AF_INET, socket.AF_INET6])


@given(st.lists(st.tuples(FAMILIES, st.integers(0, 9))))
def test_families_take_turns(found: list[tuple[int, int]]) -> None:
    named = [(family, f"{family}:{number}") for family, number in found]
    ordered = in_turns(named)
    assert sorted(ordered) == sorted({address for _, address in named})
    if named:
        assert ordered[0] == named[0][1]
    kinds = [address.split(":")[0] for address in ordered]
    fewer = min((kinds.count(kind) for kind in set(kinds)), default=0)
    if len(set(kinds)) == 2:
        assert all(kinds[2 * n] != kinds[2 * n + 1] for n in range(fewer))
