"""Wanted and got."""

from __future__ import annotations

from netfsfuse.lab.bench.results import Results, Run
from netfsfuse.lab.bench.verdict import Outcome, Verdict, verdicts
from tests.lab.bench.making import GIB, results_of


def of(results: Results, what: str) -> Verdict:
    return next(one for one in verdicts(results) if one.what == what)


def test_what_did_not_run_is_not_measured() -> None:
    assert {one.outcome for one in verdicts(Results())} == {Outcome.NOT_MEASURED}


def test_least_and_aim() -> None:
    for rate, outcome in ((4.9, "not met"), (5.1, "met"), (6.1, "met, and the aim")):
        results = results_of("cold", {"ours": [rate * 100], "rclone mount": [100]})
        assert of(results, "cold, against rclone").outcome.value == outcome


def test_most() -> None:
    results = results_of("reopen", {"ours": [1000]})
    results.cells[0].columns[0].runs[0].server_reads = 0
    assert of(results, "re-open, server reads").outcome is Outcome.MET
    results.cells[0].columns[0].runs[0].server_reads = 1
    assert of(results, "re-open, server reads").outcome is Outcome.NOT_MET


def test_first_byte_limit_follows_the_idle_latency() -> None:
    results = results_of("first-byte", {"ours": [1]})
    column = results.cells[0].columns[0]
    for busy, outcome in ((0.024, Outcome.MET), (0.026, Outcome.NOT_MET)):
        column.runs = [Run(0.005, figures={"idle_seconds": 0.005, "busy_seconds": busy})]
        assert of(results, "first byte beside a copy").outcome is outcome


def test_cpu_is_how_much_more_rclone_spends() -> None:
    results = results_of("cold", {"ours": [500], "rclone mount": [100]})
    results.cells[0].columns[1].runs[0].client_cpu = 15.0
    assert of(results, "CPU per GiB: rclone's is").got == 10.0


def test_mounting_counts_where_it_says_so() -> None:
    far = {"ours": [GIB / 1e6], "smbclient": [GIB / 4e6]}  # 1 s and 4 s
    results = results_of("cold", {}, {}, {}, far)
    results.cells[3].columns[0].runs[0].figures["mount_seconds"] = 1.0
    assert of(results, "50 ms, against smbclient with login").got == 4.0
    assert of(results, "the same, our mount counted too").got == 2.0


def test_a_long_link_is_held_beside_the_same_proxy_without_delay() -> None:
    results = results_of("cold", {"ours": [900]}, {}, {}, {"ours": [400]})
    results.cells += results_of("proxy", {"ours": [500]}).cells
    assert of(results, "50 ms, of our rate through it at 0 ms").got == 80.0
    assert of(results, "the same, nofsc").outcome is Outcome.NOT_MEASURED
