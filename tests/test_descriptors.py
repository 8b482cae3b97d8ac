"""How many descriptors there are, and how many are kept back."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from netfsfuse.descriptors import KEPT, raise_limit, spare


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_all_that_may_be_had_are_taken() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    raise_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize(("soft", "left"), [(1024, 1024 - KEPT), (200, 100), (2 * KEPT, KEPT)])
def test_some_are_kept_back(soft: int, left: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert spare() == left
