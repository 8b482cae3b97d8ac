"""The SVG: well-formed, everybody in it, points where they belong."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from netfsfuse.lab.bench.plot import draw, lines
from netfsfuse.lab.bench.results import Results
from tests.lab.bench.making import results_of

RATES = (
    {"ours": [900, 1000, 1100], "rclone mount": [140]},
    {"ours": [800], "rclone mount": [100]},
    {"ours": [700], "rclone mount": [50]},
)


def test_it_is_svg_and_names_everybody() -> None:
    root = ElementTree.fromstring(draw(results_of("cold", *RATES)))
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"ours", "rclone mount", "MB/s", "0", "1", "10", "Test <CPU>, 6.18"} <= set(words)
    polylines = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert len(polylines) == 2


def test_right_is_longer_and_up_is_faster() -> None:
    drawing = draw(results_of("cold", *RATES))
    ours, rclone = (
        [tuple(map(float, pair.split(","))) for pair in points.split()]
        for points in re.findall(r'points="([^"]+)"', drawing)
    )
    assert [x for x, _ in ours] == sorted(x for x, _ in ours)
    assert [y for _, y in ours] == sorted(y for _, y in ours)
    assert all(theirs > our for (_, our), (_, theirs) in zip(ours, rclone, strict=True))


def test_log_log() -> None:
    """A tenth of the rate is as far down everywhere."""
    decade = draw(results_of("cold", {"ours": [10]}, {"ours": [100]}, {"ours": [1000]}))
    ys = [float(pair.split(",")[1]) for pair in re.findall(r'points="([^"]+)"', decade)[0].split()]
    assert abs((ys[0] - ys[1]) - (ys[1] - ys[2])) < 0.2


def test_both_cold_rows_together() -> None:
    results = results_of("cold", *RATES)
    results.cells += results_of("cold-nofsc", {"ours, nofsc": [1500], "smbclient": [900]}).cells
    assert [line.name for line in lines(results)] == [
        "ours",
        "rclone mount",
        "ours, nofsc",
        "smbclient",
    ]


def test_without_a_cold_row_it_says_so() -> None:
    ElementTree.fromstring(draw(Results()))
    assert "no cold row" in draw(Results())


def test_one_point_only() -> None:
    ElementTree.fromstring(draw(results_of("cold", {"ours": [0.0001]})))
