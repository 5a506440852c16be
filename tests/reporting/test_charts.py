"""Charts as markup: marks at the places of their values, styles that differ, files that are XML."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from deepclust.reporting import charts
from deepclust.reporting.charts import COLOURS, STYLES, Scale

USED = re.compile(r'<use href="#mark-([a-z0-9]+)" x="([0-9.]+)%?" y="([0-9.]+)"')


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([61.2, 98.0], 60, 100), ([100.0, 100.0], 90, 100), ([0.0], 0, 10), ([50.0, float("nan")], 50, 60), ([], 0, 100)],
)
def test_a_scale_spans_the_tens_around_its_values(values: list[float], low: float, high: float) -> None:
    scale = Scale.of(values)
    assert (scale.low, scale.high) == (low, high)
    assert 2 <= len(scale.ticks) <= 6
    assert all(low <= tick <= high for tick in scale.ticks)
    assert scale.place(low, 10, 20) == 10
    assert scale.place((low + high) / 2, 10, 20) == 15


def test_a_strip_has_every_seed_their_mean_and_what_is_reported_in_place() -> None:
    strip = charts.strip(Scale(50, 100, [50, 100]), "usps", 2, [60.0, 70.0], {"A <b>": 100.0})
    places = [(name, float(x)) for name, x, _ in USED.findall(strip)]
    assert places == [("mean", 31.6), ("2", 22.4), ("2", 40.8), ("reported", 96)]  # 4 to 96 % of its width
    assert "<title>A &lt;b&gt;: 100.0</title>" in strip
    assert 'href="#lines-usps"' in strip
    assert 'id="lines-usps"' in charts.axis(Scale(50, 100, [50, 100]), "usps")
    parsed(strip)


def test_a_scatter_has_agreement_on_its_diagonal() -> None:
    points = [(60.0, 60.0, 0, "same"), (90.0, 70.0, 1, "lower")]
    scatter = charts.scatter(points, "theirs", "ours")
    (_, x0, y0), (_, x1, y1) = USED.findall(scatter)
    (line,) = [e for e in parsed(scatter).iter("line") if e.get("class") == "ink"]
    ends = np.array([[float(line.get(f"{axis}{end}", "")) for axis in "xy"] for end in (1, 2)])
    slope = np.diff(ends[:, 1]) / np.diff(ends[:, 0])
    above = [float(y) - ends[0, 1] - slope.item() * (float(x) - ends[0, 0]) for x, y in ((x0, y0), (x1, y1))]
    assert above[0] == pytest.approx(0, abs=0.02)
    assert above[1] > 10  # lower on the page


def test_shares_fill_the_bar_in_proportion() -> None:
    widths = [e.get("width") for e in parsed(charts.shares([1, 2, 1])).iter("rect")]
    assert widths == ["25%", "50%", "25%"]


def test_a_picture_by_itself_is_xml_with_every_mark_it_uses() -> None:
    rows = {"A & B": [("dec on usps", 3, 80.0, 70.0, 2.0), ("one seed", 3, 99.0, 100.0, float("nan"))]}
    picture = charts.dumbbells(rows, "ours <ours>", ("theirs", "ours"))
    root = parsed(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    ids = {e.get("id") for e in root.iter()}
    assert {f"mark-{name}" for name, _, _ in USED.findall(picture)} == {"mark-reported", "mark-3"} <= ids
    texts = {e.text for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"A & B", "ours <ours>", "80.0 → 70.0 ± 2.0", "99.0 → 100.0"} <= texts
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg\")", picture)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([-21.6, 24.9], -30, 30), ([3.2], 0, 4), ([-1.0], -1, 1), ([float("nan")], 0, 1), ([58.7, 0.3], 0, 60)],
)
def test_a_scale_of_differences_has_zero_and_steps_of_its_own(values: list[float], low: float, high: float) -> None:
    scale = Scale.signed(values)
    assert (scale.low, scale.high) == (low, high) == (scale.ticks[0], scale.ticks[-1])
    assert 0 in scale.ticks
    assert len(scale.ticks) <= 8


def test_intervals_have_their_ends_in_place_and_none_where_there_is_none() -> None:
    rows = {"A": [("one", 1, 10.0, 5.0, 20.0, "10.0 of 20"), ("few", 2, -20.0, float("nan"), float("nan"), "few")]}
    picture = charts.intervals(rows, "title", "95%", "points")
    marks = {name: float(x) for name, x, _ in USED.findall(picture)[1:]}
    lines = [e for e in parsed(picture).iter("{http://www.w3.org/2000/svg}line") if e.get("stroke-width") == "2.5"]
    (ends,) = [[float(line.get(key, "")) for key in ("x1", "x2")] for line in lines]
    zero = marks["2"] + 2 * (marks["1"] - marks["2"]) / 3  # 20 of 30 points
    unit = (marks["1"] - zero) / 10
    assert ends == pytest.approx([zero + 5 * unit, zero + 20 * unit], abs=0.02)
    assert {"A", "one", "few", "10.0 of 20", "points", "95%", "\u221220"} <= texts(picture)


def test_strips_have_every_value_and_a_bar_at_the_median() -> None:
    rows = {"A": [("own", 1, {"first": 0.0, "second": 10.0, "<third>": 40.0})]}
    picture = charts.strips(rows, "title", [(1, "own"), ("mean", "median")], "points")
    *values, (median, at, _) = USED.findall(picture)[2:]
    xs = {name: float(x) for (_, x, _), name in zip(values, (0, 10, 40), strict=True)}
    assert (xs[10] - xs[0]) / (xs[40] - xs[0]) == pytest.approx(0.25, abs=1e-3)
    assert (median, float(at)) == ("mean", xs[10])
    assert {"own", "+10.0, n 3", "median"} <= texts(picture)
    assert "<title>&lt;third&gt;: " not in picture
    assert "<title>&lt;third&gt;</title>" in picture


def texts(picture: str) -> set[str | None]:
    return {e.text for e in parsed(picture).iter("{http://www.w3.org/2000/svg}text")}


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    return float(np.dot(linear(colour), [0.2126, 0.7152, 0.0722]))


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("page", ["#ffffff", "#14171c"])
def test_every_colour_stands_out_on_a_light_and_on_a_dark_page(page: str) -> None:
    for colour in COLOURS:
        light, dark = sorted([luminance(colour), luminance(page)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
VISION = {
    "all": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def oklab(rgb: np.ndarray) -> np.ndarray:
    cones = [
        [0.41222147, 0.53633254, 0.05144599],
        [0.2119035, 0.68069955, 0.10739696],
        [0.08830246, 0.28171884, 0.6299787],
    ]
    opponents = [
        [0.21045426, 0.79361778, -0.00407205],
        [1.9779985, -2.4285922, 0.45059371],
        [0.02590404, 0.78277177, -0.80867577],
    ]
    found: np.ndarray = np.array(opponents) @ np.cbrt(np.array(cones) @ np.clip(rgb, 0, 1))
    return found


@pytest.mark.parametrize("cones", VISION)
def test_colours_differ_for_readers_without_red_or_green_cones_too(cones: str) -> None:
    seen = [oklab(VISION[cones] @ linear(colour)) for colour in COLOURS]
    gaps = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(gaps) > 0.1  # black and white are 1 apart


def test_no_two_styles_share_both_colour_and_shape() -> None:
    paths = [(e.get("d"), e.get("fill")) for e in parsed(charts.marks()).iter("path") if e.get("fill")]
    assert len(set(paths)) == len(paths) == STYLES
    assert len({d for d, _ in paths[: len(COLOURS) - 1]}) == len(COLOURS) - 1  # read without colours as well
