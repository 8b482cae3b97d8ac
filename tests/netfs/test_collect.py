from __future__ import annotations

import pytest

from netfsfuse.errors import ProtocolError
from netfsfuse.netfs.io.collect import Verdict, assess, is_storable


@pytest.mark.parametrize(
    ("length", "transferred", "received", "verdict"),
    [
        (100, 0, 100, Verdict.DONE),
        (100, 60, 40, Verdict.DONE),
        (100, 0, 1, Verdict.REISSUE),
        (100, 60, 39, Verdict.REISSUE),
        (100, 0, 0, Verdict.SHORT),
        (100, 99, 0, Verdict.SHORT),
    ],
)
def test_assess(length, transferred, received, verdict):
    assert assess(length, transferred, received) is verdict


@pytest.mark.parametrize("received", [41, -1])
def test_an_impossible_count_is_the_peers_fault(received):
    with pytest.raises(ProtocolError):
        assess(100, 60, received)


def test_only_a_whole_fresh_subrequest_of_a_live_file_is_stored():
    good = {"whole": True, "from_server": True, "overrun": False, "live": True}
    assert is_storable(**good)
    for name in good:
        assert not is_storable(**{**good, name: not good[name]})
