"""Which server is built for a source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from netfsfuse.config import MountConfig, ServerConfig, TrustConfig
from netfsfuse.errors import MountError
from netfsfuse.servers import scheme_of, server_of
from netfsfuse.smb import connect
from netfsfuse.smb.connect import SmbShare
from netfsfuse.stats import ServerStats
from netfsfuse.tasks import ServiceNursery

CONFIG = MountConfig("//nas/films", Path("/mnt"), ServerConfig("nas", "films"))


@pytest.fixture
async def service() -> AsyncIterator[ServiceNursery]:
    async with trio.open_nursery() as nursery:
        yield ServiceNursery(nursery)


@pytest.mark.parametrize(
    ("source", "scheme"),
    [
        ("//nas/films", "smb"),
        ("//nas/a://b", "smb"),
        ("smb://nas/films", "smb"),
        ("SMB://nas/films", "smb"),
        ("nfs://nas/films", "nfs"),
    ],
)
def test_a_source_names_its_scheme(source: str, scheme: str) -> None:
    assert scheme_of(source) == scheme


@pytest.mark.parametrize("source", ["//nas/films", "smb://nas/films"])
async def test_smb_asks_nothing_before_it_is_connected(
    service: ServiceNursery, source: str
) -> None:
    share = server_of(replace(CONFIG, source=source), nursery=service, stats=ServerStats())
    assert isinstance(share, SmbShare)
    assert share.read_capacity() == 64 * 1024
    await share.aclose()
    await share.aclose()


async def test_an_unknown_scheme_is_told_in_one_line(service: ServiceNursery) -> None:
    with pytest.raises(MountError, match=r"nfs:// is not known here, only smb://"):
        server_of(replace(CONFIG, source="nfs://n/f"), nursery=service, stats=ServerStats())


@pytest.mark.parametrize(("lifetime", "trust"), [(0.0, 0.0), (0.5, 0.5), (60.0, 1.0)])
async def test_a_lease_stands_for_no_longer_than_attributes_and_one_second(
    service: ServiceNursery, lifetime: float, trust: float
) -> None:
    config = replace(CONFIG, trust=TrustConfig(acregmax=lifetime))
    share = SmbShare(config, nursery=service, stats=ServerStats())
    assert share.namespace._files._trust == trust
    assert connect.LEASE_TRUST == 1.0
