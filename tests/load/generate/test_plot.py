"""The picture of latencies."""

from xml.etree import ElementTree

from load.generate.histogram import Histogram
from load.generate.plot import draw

SVG = "{http://www.w3.org/2000/svg}"


def test_each_phase_has_a_curve_inside_the_picture_that_never_falls() -> None:
    fast, slow = Histogram(), Histogram()
    for number in range(1, 2001):
        fast.add(number / 1e5)
        slow.add(number / 1e3)
    root = ElementTree.fromstring(draw([("fast", fast.curve()), ("a <slow> one", slow.curve())]))

    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, one.split(","))) for one in line.attrib["points"].split()]
        assert all(0 <= x <= 640 and 0 <= y <= 320 for x, y in points)
        assert points == sorted(points, key=lambda point: (point[0], -point[1]))
    assert "a <slow> one" in {text.text for text in root.findall(f"{SVG}text")}


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert ElementTree.fromstring(draw([("none", [])])).tag == f"{SVG}svg"
