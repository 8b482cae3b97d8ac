"""Results go to JSON and come back the same."""

from __future__ import annotations

import json

from netfsfuse.lab.bench.results import SCHEMA, Run, cells_from_json
from tests.lab.bench.making import GIB, results_of


def test_json_and_back() -> None:
    results = results_of("cold", {"ours": [800, 600], "smbclient": [400]}, {"ours": [500]})
    results.cells[0].columns[0].runs[0].figures["stored_share"] = 1.0
    results.cells[0].ceiling = 1e9
    whole = json.loads(json.dumps(results.to_json()))
    assert whole["schema"] == SCHEMA
    assert whole["complete"] is False
    assert whole["cells"][0]["columns"][0]["runs"][0]["rate"] == 800e6
    assert whole["cells"][0]["columns"][0]["runs"][0]["cpu_per_gib"] == 1.5
    assert cells_from_json(whole) == results.cells


def test_figures_derived_from_a_run() -> None:
    run = Run(2.0, GIB // 2, client_cpu=1.0, reader_cpu=0.25)
    assert run.rate == GIB / 4
    assert run.cpu_per_gib == 2.0
    assert run.reader_cpu_per_gib == 0.5
    assert Run().rate == 0
    assert Run().cpu_per_gib is None


def test_columns_and_ratios() -> None:
    cell = results_of("cold", {"ours": [800, 300], "smbclient": [400, 100]}).cells[0]
    ratio = cell.ratio("ours", "smbclient")
    assert ratio is not None
    assert (round(ratio.median, 6), round(ratio.least, 6), round(ratio.most, 6)) == (2.5, 2, 3)
    assert cell.ratio("ours", "rclone mount") is None
    assert cell.column("rclone mount") is None
    assert cell.columns[0].median("peak_rss") == 80 << 20
    assert cell.columns[0].spread("no such figure") is None
