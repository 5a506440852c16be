"""Small charts as inline SVG: a colour and a shape for each style, so that a chart is read without colours too.

Strips have their places in percent of their width and their marks in pixels, so that a phone shows them as large as a
wide screen does. `marks()` has to stand once on a page before anything is drawn. Values are in percent.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepclust.reporting.markup import Html, tag
from deepclust.reporting.tables import number, spread

# Searched for: the largest least difference to readers without red or green cones, at 3:1 on a white and a dark page
COLOURS = ["#3C96FF", "#C31E1E", "#699669", "#874BB4", "#FF4B0F", "#964B69", "#782DFF", "#A578B4"]
_HEIGHT = 20  # of a strip, in pixels, as in page.css
_R = 3.2
_POLYGONS = [
    [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    [(0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
    [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
    [(0, 1.1), (1.1, -0.9), (-1.1, -0.9)],
    [(1.1, 0), (-0.9, 1.1), (-0.9, -1.1)],
]
_SHAPES = [
    f"M{-_R} 0a{_R} {_R} 0 1 0 {2 * _R} 0a{_R} {_R} 0 1 0 {-2 * _R} 0z",
    *("M" + "L".join(f"{_R * x:.3g} {_R * y:.3g}" for x, y in polygon) + "z" for polygon in _POLYGONS),
    f"M{-_R} -1h{_R - 1}v{1 - _R}h2v{_R - 1}h{_R - 1}v2h{1 - _R}v{_R - 1}h-2v{1 - _R}h{1 - _R}z",  # a plus
]  # one fewer than colours, so that both come round at different styles
STYLES = 2 * len(COLOURS)

_CROSS = "M-3.5 -3.5L3.5 3.5M3.5 -3.5L-3.5 3.5"  # a reported value
_BAR = "M0 -8V8"  # a mean


def styles(families: Mapping[str, str]) -> dict[str, int]:
    """Return the style of each method, which is its family's; `families` has those of all methods there are."""
    names = sorted(set(families.values()))
    return {method: names.index(family) % STYLES for method, family in families.items()}


@dataclass(frozen=True)
class Scale:
    """A linear scale from `low` to `high`, with `ticks` in between."""

    low: float
    high: float
    ticks: Sequence[int]

    @classmethod
    def of(cls, values: Iterable[float], n_steps: int = 4) -> "Scale":
        """Return the scale between the multiples of ten around finite values of 0 to 100, in about `n_steps` steps."""
        known = [value for value in values if math.isfinite(value)] or [0, 100]
        low = min(90, 10 * math.floor(min(known) / 10))
        high = max(low + 10, 10 * math.ceil(max(known) / 10))
        step = next(step for step in (5, 10, 20, 25) if (high - low) / step <= n_steps or step == 25)
        return cls(low, high, [tick for tick in range(0, 101, step) if low <= tick <= high])

    @classmethod
    def signed(cls, values: Iterable[float], n_steps: int = 6) -> "Scale":
        """Return the scale of differences in points: 0 and all finite values, between multiples of its step."""
        known = [0.0, *(value for value in values if math.isfinite(value))]
        span = max(known) - min(known)
        step = next((step for step in (1, 2, 5, 10, 20) if span / step <= n_steps - 1), 50)
        low, high = math.floor(min(known) / step), max(math.ceil(max(known) / step), 1)
        return cls(low * step, high * step, [tick * step for tick in range(low, high + 1)])

    def place(self, value: float, start: float, end: float) -> float:
        """Return where a value lies between two places, to two decimals."""
        return round(start + (end - start) * (value - self.low) / (self.high - self.low), 2)

    def percent(self, value: float) -> str:
        return f"{self.place(value, 4, 96):g}%"


def marks() -> Html:
    """Return the definitions of the marks that all charts of a page use: by style, the mean's, the reported value's."""
    styles = [
        tag("path", id=f"mark-{style}", d=_SHAPES[style % len(_SHAPES)], fill=COLOURS[style % len(COLOURS)])
        for style in range(STYLES)
    ]
    lines = [tag("path", id=f"mark-{name}", d=d, class_="ink") for name, d in (("mean", _BAR), ("reported", _CROSS))]
    return tag("svg", tag("defs", *styles, *lines), width="0", height="0", class_="marks", aria_hidden="true")


def mark(name: int | str) -> Html:
    """Return one mark on its own, for legends and names: a style's number, `mean` or `reported`."""
    return tag("svg", _use(name, "50%", 7), class_="mark", aria_hidden="true")


def axis(scale: Scale, name: str) -> Html:
    """Return the numbers of a scale above strips, and define the lines that `strip` draws through each of them."""
    places = [scale.percent(tick) for tick in scale.ticks]
    texts = [tag("text", str(tick), x=x, y="12") for tick, x in zip(scale.ticks, places, strict=True)]
    lines = [tag("line", x1=x, x2=x, y2=str(_HEIGHT)) for x in places]
    defined = tag("defs", tag("g", *lines, id=f"lines-{name}", class_="lines"))
    return tag("svg", defined, *texts, class_="strip", aria_hidden="true")


def strip(scale: Scale, name: str, style: int, values: Sequence[float], reported: Mapping[str, float]) -> Html:
    """Return the seeds' values as marks around a bar at their mean, and a cross for each reported value.

    `name` is that of the scale's `axis`. `reported` has the values by what is said of each where the mouse rests on it.
    """
    step = min(4.0, 14 / len(values))
    seeds = [
        _use(style, scale.percent(value), _HEIGHT / 2 + step * (place - (len(values) - 1) / 2))
        for place, value in enumerate(values)
    ]
    mean = _use("mean", scale.percent(math.fsum(values) / len(values)), _HEIGHT / 2)
    crosses = [
        _use("reported", scale.percent(value), _HEIGHT / 2, f"{source}: {number(value)}")
        for source, value in reported.items()
    ]
    lines = tag("use", href=f"#lines-{name}")
    return tag("svg", lines, mean, *seeds, *crosses, class_="strip", aria_hidden="true")


def shares(parts: Sequence[int]) -> Html:
    """Return a bar of up to three parts, in the classes `part-0`, `part-1` and `part-2`."""
    whole, start, found = sum(parts), 0, []
    for place, part in enumerate(parts):
        x, width = (f"{100 * count / whole:.4g}%" for count in (start, part))
        found.append(tag("rect", x=x, y="4", width=width, height=f"{_HEIGHT - 8}", class_=f"part-{place}"))
        start += part
    return tag("svg", *found, class_="strip", aria_hidden="true")


def scatter(points: Sequence[tuple[float, float, int, str]], across: str, upwards: str) -> Html:
    """Return points (x, y, style, what the mouse says), both axes on one scale, with the line on which both agree."""
    scale = Scale.of((value for x, y, _, _ in points for value in (x, y)), n_steps=6)
    left, right, top, bottom = 46, 412, 8, 374

    def at(x: float, y: float) -> tuple[float, float]:
        return scale.place(x, left, right), scale.place(y, bottom, top)

    parts = []
    for tick in scale.ticks:
        x, y = at(tick, tick)
        parts.append(tag("line", x1=f"{x:g}", x2=f"{x:g}", y1=str(top), y2=str(bottom)))
        parts.append(tag("line", x1=str(left), x2=str(right), y1=f"{y:g}", y2=f"{y:g}"))
    lines = tag("g", *parts, class_="lines")
    diagonal = tag("line", x1=str(left), y1=str(bottom), x2=str(right), y2=str(top), class_="ink")
    texts = [tag("text", str(t), x=f"{at(t, t)[0]:g}", y=str(bottom + 16)) for t in scale.ticks]
    texts += [tag("text", str(t), x=str(left - 6), y=f"{at(t, t)[1] + 4:g}", class_="end") for t in scale.ticks]
    texts.append(tag("text", across, x=str((left + right) / 2), y=str(bottom + 36)))
    middle = f"12 {(top + bottom) / 2:g}"
    texts.append(tag("text", upwards, transform=f"translate({middle}) rotate(-90)"))
    found = []
    for x, y, style, said in points:
        across_, up = at(x, y)
        found.append(_use(style, f"{across_:g}", up, said))
    label = f"{upwards} against {across}, {len(points)} points"
    return tag(
        "svg", lines, diagonal, *texts, *found, class_="scatter", viewBox="0 0 420 416", role="img", aria_label=label
    )


def dumbbells(
    groups: Mapping[str, Sequence[tuple[str, int, float, float, float]]], title: str, key: tuple[str, str]
) -> str:
    """Return a picture by itself, a file of SVG: under each heading rows (name, style, reported, ours, std of ours).

    A row has a cross at the reported value, its style's mark at ours, and a line of a standard deviation to both sides.
    `key` says what the cross and the mark are. The page is white for readers of any theme, since a file knows none.
    """
    rows = [row for part in groups.values() for row in part]
    scale = Scale.of((value for _, _, reported, ours, _ in rows for value in (reported, ours)), n_steps=6)
    place = _Place(168, 424, 560, 110)

    def draw(row: tuple[str, int, float, float, float], middle: float) -> tuple[list[Html], str]:
        _, style, reported, ours, std = row
        to = [scale.place(value, place.left, place.right) for value in (reported, ours)]
        parts = [_line(to[0], to[1], middle, "#999", 1)]
        if math.isfinite(std):
            low, high = (min(100, max(scale.low, ours + sign * std)) for sign in (-1, 1))
            ends = [scale.place(value, place.left, place.right) for value in (low, high)]
            parts.append(_line(ends[0], ends[1], middle, COLOURS[style % len(COLOURS)], 2.5))
        parts += [_use("reported", f"{to[0]:g}", middle), _use(style, f"{to[1]:g}", middle)]
        return parts, f"{number(reported)} → {spread(ours, std)}"

    keys: list[tuple[int | str, str]] = [("reported", key[0]), (rows[0][1], key[1])]
    return _picture(groups, title, keys, scale, "%", place, draw)


def intervals(
    groups: Mapping[str, Sequence[tuple[str, int, float, float, float, str]]], title: str, key: str, across: str
) -> str:
    """Return a picture by itself: under each heading rows (name, style, value, low, high, text at the right).

    A row has its style's mark at the value, on a line from low to high if these are finite. A row without a finite
    value has its text alone. `key` says what the mark and the line are, `across` what the axis is, in points.
    """
    rows = [row for part in groups.values() for row in part]
    scale = Scale.signed(value for row in rows for value in row[2:5])
    place = _Place(172, 334, 456, 0)

    def draw(row: tuple[str, int, float, float, float, str], middle: float) -> tuple[list[Html], str]:
        _, style, value, low, high, text = row
        parts = []
        if math.isfinite(low):
            ends = [scale.place(end, place.left, place.right) for end in (low, high)]
            parts.append(_line(ends[0], ends[1], middle, COLOURS[style % len(COLOURS)], 2.5))
        if math.isfinite(value):
            parts.append(_use(style, f"{scale.place(value, place.left, place.right):g}", middle))
        return parts, text

    return _picture(groups, title, [(rows[0][1], key)], scale, "", place, draw, across)


def strips(
    groups: Mapping[str, Sequence[tuple[str, int, Mapping[str, float]]]],
    title: str,
    keys: Sequence[tuple[int | str, str]],
    across: str,
) -> str:
    """Return a picture by itself: under each heading rows (name, style, values), each value a mark, a bar the median.

    `values` are by what is said of each where the mouse rests on it; `keys` are marks and what they are.
    """
    scale = Scale.signed(value for part in groups.values() for _, _, values in part for value in values.values())
    place = _Place(104, 364, 456, 88)

    def draw(row: tuple[str, int, Mapping[str, float]], middle: float) -> tuple[list[Html], str]:
        _, style, values = row
        parts = [
            _use(style, f"{scale.place(value, place.left, place.right):g}", middle + 4 * (turn % 3 - 1), said)
            for turn, (said, value) in enumerate(values.items())
        ]
        median = statistics.median(values.values())
        parts.append(_use("mean", f"{scale.place(median, place.left, place.right):g}", middle))
        return parts, f"{number(median, signed=True)}, n {len(values)}"

    return _picture(groups, title, keys, scale, "", place, draw, across)


@dataclass(frozen=True)
class _Place:
    """Where the scale of a picture begins and ends, the picture's width, and the width of an entry of its key."""

    left: int
    right: int
    width: int
    entry: int


def _picture(
    groups: Mapping[str, Sequence[Any]],
    title: str,
    keys: Sequence[tuple[int | str, str]],
    scale: Scale,
    unit: str,
    place: _Place,
    draw: Callable[[Any, float], tuple[list[Html], str]],
    across: str = "",
) -> str:
    """Return a file of SVG: title, key, and under each heading the rows, whose first entry is their name.

    `draw` returns the marks of a row at a height, and the text at its right. Zero has a darker line where it is inside.
    """
    height, top = 19, 46
    bottom = top + height * (sum(map(len, groups.values())) + len(groups))
    parts = [tag("text", title, x="8", y="18", font_weight="bold")]
    for turn, (name, text) in enumerate(keys):
        x = place.left + turn * place.entry
        parts += [_use(name, str(x), 34), tag("text", text, x=str(x + 9), y="38")]
    for tick in scale.ticks:
        at = f"{scale.place(tick, place.left, place.right):g}"
        stroke = "#777" if tick == 0 and scale.low < 0 else "#ddd"
        parts.append(tag("line", x1=at, x2=at, y1=str(top), y2=str(bottom), stroke=stroke))
        text = f"{tick}{unit}".replace("-", "\N{MINUS SIGN}")
        parts.append(tag("text", text, x=at, y=str(bottom + 15), text_anchor="middle"))
    y = top
    for heading, part in groups.items():
        y += height
        parts.append(tag("text", heading, x="8", y=str(y - 5), font_weight="bold"))
        for row in part:
            y += height
            drawn, text = draw(row, y - height / 2)
            parts.append(tag("text", row[0], x="20", y=str(y - 5)))
            parts += [*drawn, tag("text", text, x=str(place.right + 12), y=str(y - 5))]
    total = bottom + 22
    if across:
        parts.append(tag("text", across, x=str((place.left + place.right) / 2), y=str(total + 8), text_anchor="middle"))
        total += 16
    css = tag("style", Html("text{font:12px sans-serif;fill:#1b1f24}.ink{fill:none;stroke:#1b1f24;stroke-width:1.6}"))
    page = tag("rect", width="100%", height="100%", fill="#fff")
    size = {"viewBox": f"0 0 {place.width} {total}", "width": str(place.width), "height": str(total)}
    about = {"role": "img", "aria_label": title}
    return tag("svg", css, marks(), page, *parts, xmlns="http://www.w3.org/2000/svg", **size, **about) + "\n"


def _line(x1: float, x2: float, y: float, colour: str, width: float) -> Html:
    ends = {"x1": f"{x1:g}", "x2": f"{x2:g}", "y1": f"{y:g}", "y2": f"{y:g}"}
    return tag("line", stroke=colour, stroke_width=f"{width:g}", **ends)


def _use(name: int | str, x: str, y: float, said: str = "") -> Html:
    return tag("use", *([tag("title", said)] if said else []), href=f"#mark-{name}", x=x, y=f"{y:g}")
