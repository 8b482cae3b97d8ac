"""How much a run reads: under ten seconds whatever the contender, never more than asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.lab.bench.plan import MIB, OURS, RCLONE, SMBCLIENT, Contender, Kind, Link
from netfsfuse.lab.bench.sizes import LONGEST_RUN, SMALLEST, Sizes, fitting, guessed_rate

GIB = 1024 * MIB


def test_guesses_follow_what_was_measured() -> None:
    """FACTS: rclone makes 140, 57 and 17 MB/s at 0, 10 and 50 ms; smbclient 238 MB/s at 50 ms."""
    made = [guessed_rate(Kind.RCLONE, Link(trip)) / 1e6 for trip in (0, 0.010, 0.050)]
    assert [round(rate) for rate in made] == [140, 58, 18]
    assert 200e6 < guessed_rate(Kind.SMBCLIENT, Link(0.050)) < 260e6
    assert guessed_rate(Kind.OURS, Link(rate=125_000_000)) == 125e6


@given(
    rate=st.floats(1e3, 1e10),
    seconds=st.floats(0.1, 10),
    most=st.integers(1, 4096).map(MIB.__mul__),
)
def test_fitting_fits(rate: float, seconds: float, most: int) -> None:
    size = fitting(rate, seconds, most)
    assert size <= most
    assert size <= max(rate * seconds, min(SMALLEST, most))
    assert size in (most, SMALLEST) or 2 * size > rate * seconds


def test_a_slow_contender_reads_less_after_a_run_showed_it() -> None:
    sizes = Sizes()
    assert not sizes.knows(RCLONE, Link(), "")
    assert sizes.run(RCLONE, Link(), "", GIB) == GIB
    sizes.learn(RCLONE, Link(), "", 64 * MIB, 6.4)
    assert sizes.run(RCLONE, Link(), "", GIB) == 64 * MIB
    assert 64 * MIB / (64 * MIB / 6.4) < LONGEST_RUN
    assert sizes.run(RCLONE, Link(0.001), "", GIB) > 64 * MIB  # another link: nothing known


def test_a_probe_is_small_and_not_believed_for_its_login() -> None:
    """smbclient at 50 ms: half a second of login in a probe of 128 MiB hides 240 MB/s."""
    sizes = Sizes()
    far = Link(0.050)
    probe = sizes.probe(SMBCLIENT, far, GIB)
    assert probe == GIB // 8
    sizes.probed(SMBCLIENT, far, "", probe, 0.5 + probe / 240e6)
    assert sizes.run(SMBCLIENT, far, "", GIB) == GIB


def test_other_options_of_the_same_program_are_a_hint() -> None:
    sizes = Sizes()
    sizes.learn(OURS, Link(), "", 100 * MIB, 10.0)
    other = Contender(Kind.OURS, "other", ("nofsc",))
    assert sizes.knows(other, Link(), "")
    assert sizes.run(other, Link(), "", GIB) == 64 * MIB
    assert not sizes.knows(other, Link(), "signed")
