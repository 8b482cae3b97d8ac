"""What the layers above are told of the server's reach."""

from __future__ import annotations

import trio
import trio.testing

from netfsfuse.smb.session.reachability import ServerReach
from netfsfuse.types import Reach
from tests.smb.server import Server, serving


async def test_it_follows_the_connection() -> None:
    server = Server()
    async with serving(server) as session:
        reach = session.reachability
        doubts: list[Reach] = []
        reach.on_doubt(lambda: doubts.append(reach.reach))
        assert reach.reach is Reach.UP
        assert reach.is_heard()
        server.drop()
        await reach.wait_not_up()
        assert reach.reach is Reach.DOWN
        assert not reach.is_heard()
        await trio.testing.wait_all_tasks_blocked()
        assert doubts == [Reach.DOWN]


async def test_it_is_waited_for_each_time(autojump_clock: trio.testing.MockClock) -> None:
    reach = ServerReach()
    await reach.wait_not_up()  # before the first connection
    for _ in range(2):
        reach.become(Reach.UP)
        with trio.move_on_after(1) as scope:
            await reach.wait_not_up()
        assert scope.cancelled_caught
        reach.become(Reach.SUSPECT)
        reach.become(Reach.DOWN)
        await reach.wait_not_up()
