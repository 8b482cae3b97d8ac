"""The table of unanswered requests gives back what each holds, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.connection.accounting import Accounting
from netfsfuse.smb.connection.credits import CreditWindow
from netfsfuse.smb.connection.exchange import Exchange, Request, Sink
from netfsfuse.smb.connection.pending import PendingTable
from netfsfuse.smb.wire.header import Command
from netfsfuse.stats import ServerStats

HAD = 64


async def test_ids_go_by_what_each_costs() -> None:
    window = CreditWindow(available=HAD, next_message_id=10, ceiling=HAD)
    table = PendingTable(window, Accounting(ServerStats()))
    requests = [Request(Command.READ, b"", charge) for charge in (1, 4, 2)]
    assert table.enter(requests, Exchange.of(3), window.take(7)) == [10, 11, 15]
    assert [entry.index for entry in table.values()] == [0, 1, 2]
    assert window.next_message_id == 17


@given(
    st.lists(
        st.tuples(st.integers(1, 8), st.booleans(), st.booleans(), st.booleans(), st.booleans()),
        max_size=8,
    )
)
async def test_all_is_given_back_whatever_came_and_in_which_way(
    kinds: list[tuple[int, bool, bool, bool, bool]],
) -> None:
    """Requests with a sink or standing, with an interim reply or none, answered or not."""
    stats = ServerStats()
    window = CreditWindow(available=HAD, next_message_id=0, ceiling=HAD)
    table = PendingTable(window, Accounting(stats))
    buffer = Buffer(4096, lambda _: None)
    buffer.hold()
    exchanges = []
    for charge, sinks, standing, interim, answered in kinds:
        sink = Sink(buffer, 0, 10) if sinks else None
        request = Request(Command.READ, b"", charge, sink, standing=standing)
        exchanges.append(exchange := Exchange.of(1))
        (message_id,) = table.enter([request], exchange, window.take(charge))
        window.standing += standing
        if interim:
            table.settle_credits(table[message_id])
            table.settle_credits(table[message_id])
        if answered:
            table.leave(message_id)
        assert (message_id in table) is not answered
    assert table.only_standing is all(kind[2] for kind in kinds if not kind[4])
    assert buffer.references == 1 + sum(kind[1] and not kind[4] for kind in kinds)
    table.release()
    assert table == {}
    assert (window.spent, window.standing, stats.in_flight, buffer.references) == (0, 0, 0, 1)
    for exchange, kind in zip(exchanges, kinds, strict=True):
        assert exchange.done.is_set() is not kind[4]
