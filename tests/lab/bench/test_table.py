"""What is shown."""

from __future__ import annotations

import io

from rich.console import Console

from netfsfuse.lab.bench import table
from netfsfuse.lab.bench.results import Results, Run
from netfsfuse.lab.bench.show import show
from tests.lab.bench.making import results_of


def shown(results: Results, width: int = 140) -> str:
    out = io.StringIO()
    show(results, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


def line_with(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_a_line_for_each_contender_with_its_ratio() -> None:
    rates = {"ours": [700, 800, 900], "rclone mount": [70, 100, 90], "smbclient": [1000, 1000, 900]}
    text = shown(results_of("cold", rates))
    ours = line_with(text, " 800 ").split()
    assert ours[:4] == ["cold", "0", "ms", "ours"]
    assert "800" in ours
    assert "700..900" in ours
    assert "1.50" in ours
    assert "10x" in line_with(text, "rclone mount").split()
    assert "0.8x" in line_with(text, "smbclient").split()
    assert "not run" in line_with(text, "smbclient to a file")
    assert "smbclient to a file: not run: not installed" in text
    assert "Test <CPU>" in text


def test_a_terminal_of_80_columns_gets_what_fits() -> None:
    text = shown(results_of("cold", {"ours": [700, 900], "smbclient": [400]}), width=80)
    assert line_with(text, " 800 ").split() == ["cold", "0", "ms", "ours", "800", "1.50", "80"]
    assert "…" not in text


def test_an_incomplete_run_says_so() -> None:
    results = results_of("cold", {"ours": [700]})
    assert "Interrupted" in shown(results)
    results.complete = True
    assert "Interrupted" not in shown(results)


def test_latencies_are_better_when_smaller() -> None:
    results = results_of("first-byte", {"ours": [1], "rclone mount": [1]})
    ours, theirs = results.cells[0].columns
    ours.runs = [Run(0.002, figures={"idle_seconds": 0.002, "busy_seconds": 0.009})]
    theirs.runs = [Run(0.010, figures={"idle_seconds": 0.010, "busy_seconds": 0.030})]
    text = shown(results)
    assert "5.0x" in line_with(text, "rclone mount")
    assert "first byte 2.0 ms alone, 9.0 ms beside a big copy" in text


def test_the_sweep_is_a_matrix() -> None:
    results = results_of("sweep", {"adaptive": [500], "4x4M": [700]}, {"adaptive": [450]})
    lines = shown(results).splitlines()
    assert "sweep" not in [word for line in lines for word in line.split()[:1]]
    assert next(line for line in lines if "adaptive" in line).split() == ["adaptive", "500", "450"]
    assert table.sweep_table(results_of("cold", {"ours": [1]})) is None


def test_nothing_measured_is_nothing_shown() -> None:
    assert shown(Results()) == ""
