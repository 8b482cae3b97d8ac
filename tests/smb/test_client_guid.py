"""By what the server knows the connections of one mount, against a real Samba."""

from __future__ import annotations

import uuid

import pytest
import trio

from netfsfuse.errors import NetfsError
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.session import bridge, saturation
from netfsfuse.smb.session.negotiation import NegotiatedConnection
from tests.smb.test_real_samba import session_to


async def test_the_mounts_own_connection_keeps_its_guid_and_further_ones_have_others(
    samba: PrivateSamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    guids: list[uuid.UUID] = []

    class Noted(NegotiatedConnection):  # type: ignore[misc]
        def negotiate(self, timeout: float) -> None:
            guids.append(self.client_guid)
            super().negotiate(timeout)

    monkeypatch.setattr(bridge, "NegotiatedConnection", Noted)
    monkeypatch.setattr(saturation, "SECONDS", 0.0)
    async with session_to(samba, max_channels=2) as session:
        assert session.live is not None
        session.live.fail(NetfsError("lost"))
        await session.transport()
        first, again = guids
        assert first == again
        further = session.channels._make()
        await further.connect()
        await further.aclose()
        assert guids[2] != first
        with trio.fail_after(10):
            while session._stats.channels > 1:
                await trio.sleep(0.01)
