"""Throughput against round trip, as an SVG of our own: log-log, readable in light and dark. Pure.

A round trip of 0 has no place on a logarithmic axis: it stands left of the others, as ``0``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from netfsfuse.lab.bench.results import Results
from netfsfuse.lab.bench.spread import Spread

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 46, 56
_ZERO_AT = 0.3
"""Milliseconds at which a round trip of 0 is drawn: left of 1 ms, the smallest one measured."""
_MB = 1_000_000
_COLOURS = ("#2f7ed8", "#d9662b", "#3a9d4f", "#9a56c4", "#b58900", "#2aa198", "#c4486e")
"""Of middling lightness: each has a contrast of 3 or more on white and on black."""
_ROWS = ("cold", "cold-nofsc")


@dataclass(frozen=True, slots=True)
class Line:
    """One contender: (round trip in ms, bytes/s with its spread) in order of round trip."""

    name: str
    points: tuple[tuple[float, Spread], ...]


def lines(results: Results) -> list[Line]:
    """Every contender of the cold rows over unlimited links."""
    found: dict[str, list[tuple[float, Spread]]] = {}
    for row in _ROWS:
        seen: set[str] = set()
        for cell in results.cells_of(row):
            for column in cell.columns:
                taken = column.name in found and column.name not in seen
                rates = column.spread("rate")
                if rates is None or cell.rate is not None or taken:
                    continue
                seen.add(column.name)
                found.setdefault(column.name, []).append((cell.round_trip * 1000, rates))
    return [Line(name, tuple(sorted(points, key=_trip))) for name, points in found.items()]


def _trip(point: tuple[float, Spread]) -> float:
    return point[0]


class _Scale:
    """Where values are on the paper."""

    def __init__(self, drawn: Sequence[Line]) -> None:
        rates = [end for one in drawn for _, s in one.points for end in (s.least, s.most)]
        trips = [trip for one in drawn for trip, _ in one.points]
        self._low = math.floor(math.log10(max(min(rates), 1.0)))
        self._high = max(math.ceil(math.log10(max(rates))), self._low + 1)
        self._first = math.log10(_ZERO_AT)
        self._last = math.log10(max(*trips, 10.0, _ZERO_AT))
        self.trips = sorted(set(trips))
        self.rates = [10.0**power for power in range(self._low, self._high + 1)]

    def x(self, trip: float) -> float:
        share = (math.log10(max(trip, _ZERO_AT)) - self._first) / (self._last - self._first)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, rate: float) -> float:
        share = (math.log10(max(rate, 1.0)) - self._low) / (self._high - self._low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def draw(results: Results) -> str:
    """The whole SVG; with no cold row measured, one that says so."""
    drawn = lines(results)
    body = (
        list(_body(drawn, results)) if drawn else [_text(_LEFT, _TOP, "no cold row was measured")]
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        'aria-label="Throughput against round trip">'
    )
    return "\n".join([head, _STYLE, *body, "</svg>", ""])


_STYLE = """<style>
  svg { background: #fff; color: #222; font: 13px system-ui, sans-serif }
  @media (prefers-color-scheme: dark) { svg { background: #16181c; color: #ddd } }
  text { fill: currentColor }
  .grid { stroke: currentColor; stroke-opacity: .18 }
  .title { font-weight: 600; font-size: 15px }
  .small { font-size: 11px; fill-opacity: .75 }
</style>"""


def _body(drawn: Sequence[Line], results: Results) -> Iterator[str]:
    scale = _Scale(drawn)
    yield _text(_LEFT, 24, "Cold sequential read: throughput against round trip", "title")
    yield from _axes(scale)
    for number, one in enumerate(drawn):
        yield from _line(one, _COLOURS[number % len(_COLOURS)], scale, number)
    machine = results.machine
    known = [machine[name] for name in ("cpu", "kernel") if name in machine]
    yield _text(_LEFT, _HEIGHT - 8, ", ".join(known), "small")


def _axes(scale: _Scale) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for rate in scale.rates:
        y = scale.y(rate)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 8, y + 4, f"{rate / _MB:g}", anchor="end")
    for trip in scale.trips:
        x = scale.x(trip)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, f"{trip:g}", anchor="middle")
    yield _text((_LEFT + right) / 2, bottom + 36, "round trip added, ms", anchor="middle")
    yield _text(_LEFT - 8, _TOP - 8, "MB/s", anchor="end")


def _line(one: Line, colour: str, scale: _Scale, number: int) -> Iterator[str]:
    at = [(scale.x(trip), found) for trip, found in one.points]
    path = " ".join(f"{x:.1f},{scale.y(found.median):.1f}" for x, found in at)
    yield f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'
    for x, found in at:
        low, high, middle = scale.y(found.least), scale.y(found.most), scale.y(found.median)
        yield f'<line stroke="{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        yield f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="3.5" fill="{colour}"/>'
    y = _TOP + 10 + number * 20
    x = _WIDTH - _RIGHT + 14
    yield f'<line stroke="{colour}" stroke-width="3" x1="{x}" x2="{x + 18}" y1="{y}" y2="{y}"/>'
    yield _text(x + 24, y + 4, one.name)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(words)}</text>'
