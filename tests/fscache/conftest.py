"""The cache that the tests of this folder use."""

from __future__ import annotations

import pytest

from tests.fscache.holding import Setup


@pytest.fixture
async def setup(tmp_path):
    made = Setup(tmp_path / "cache")
    yield made
    await made.fscache.aclose()
