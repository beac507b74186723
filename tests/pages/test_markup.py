"""HTML that cannot be broken out of, pictures that are what they show, axes with round numbers."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from minivae.pages import charts
from minivae.pages.markup import Markup, data_script, join, page, table, tag


def test_text_and_attributes_are_escaped_and_markup_is_not():
    assert tag("b", "1 < 2 & 3") == "<b>1 &lt; 2 &amp; 3</b>"
    assert tag("i", title='"><script>') == '<i title="&quot;&gt;&lt;script&gt;"></i>'
    assert tag("p", tag("b", "x"), [None, "<", Markup("<br>")]) == "<p><b>x</b>&lt;<br></p>"
    assert tag("img", class_="a", aria_label="b", alt=None) == '<img class="a" aria-label="b">'
    assert isinstance(join(["a", ("b", iter(["<"]))]), Markup)


def test_table_has_heads_only_where_they_are_given():
    assert "<thead>" not in table((), [("a", "<")])
    assert '<th scope="col">h</th>' in table(("h",), [("a",)], "numbers")


def test_data_cannot_end_its_script():
    record = {"name": "</script><script>alert(1)</script><!--", "é": [1.5, None]}
    text = data_script("model", record)
    assert text.count("<") == 2
    assert json.loads(re.sub(r"^<[^>]*>|<[^>]*>$", "", text)) == record
    with pytest.raises(ValueError, match="JSON"):
        data_script("model", {"x": math.nan})


def test_page_carries_its_styles_and_scripts_and_allows_no_request():
    text = page("a < b", tag("p", "body"), ("page.css",), ("decoder.js",))
    assert text.startswith("<!doctype html>")
    assert "<title>a &lt; b</title>" in text
    for rule in ("default-src 'none'", "form-action 'none'", "base-uri 'none'"):
        assert rule in html.unescape(text)
    assert "makeDecoder" in text
    assert "--accent" in text


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (2, 13)])
def test_picture_is_a_png_of_the_values(shape):
    x = np.random.default_rng(0).uniform(-2, 3, math.prod(shape))
    text = charts.picture(x, shape, (-1.0, 2.0), 'a "b"')
    png = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    expected = np.clip((x + 1) / 3, 0, 1).reshape(shape)
    np.testing.assert_allclose(imread(io.BytesIO(png), format="png"), expected, atol=0.5001 / 255)  # rounded to a grey level
    assert 'alt="a &quot;b&quot;"' in text


def test_picture_of_data_that_are_no_images_is_a_line_through_them():
    text = charts.picture(np.array([0.0, 1.0, 0.5]), None, (0.0, 1.0), "signal")
    assert 'points="2.0,38.0 30.0,2.0 58.0,20.0"' in text


def test_constant_pictures_divide_by_nothing():
    assert (charts.grey(np.full(4, 7.0), charts.limits(np.full(4, 7.0))) == 0).all()


def test_limits_are_the_unit_interval_or_the_range():
    assert charts.limits(np.array([0.2, 0.9])) == (0, 1)
    assert charts.limits(np.array([-0.2, 0.9])) == (-0.2, 0.9)


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6))
def test_ticks_are_round_few_and_within(low, span):
    ticks = charts.nice_ticks(low, low + span)
    assert 1 <= len(ticks) <= 7
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert low - slack <= ticks[0] <= ticks[-1] <= low + span + slack
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        leading = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(leading - digit) for digit in (1, 2, 5)) < 1e-3
        assert ticks == pytest.approx([ticks[0] + i * step for i in range(len(ticks))])


@pytest.mark.parametrize("epochs", [[1], [1, 2], list(range(1, 51))])
def test_line_chart_stays_in_its_frame(epochs):
    rng = np.random.default_rng(0)
    series = {part: (10 + rng.standard_normal(len(epochs))).tolist() for part in ("train", "test")}
    text = charts.line_chart("KL", epochs, series, floor=8.0)
    lines = re.findall(r'points="([^"]+)" class="series (\w+)"', text)
    assert [name for _, name in lines] == ["train", "test"]
    for points, name in lines:
        x, y = np.array([point.split(",") for point in points.split()], dtype=float).T
        assert (x >= charts.LEFT).all()
        assert (x <= charts.WIDTH).all()
        assert (np.diff(x) > 0).all()
        assert (y >= 0).all()
        assert (y <= charts.HEIGHT - charts.BOTTOM).all()
        assert len(x) == len(epochs)
        assert (np.argsort(-y) == np.argsort(series[name])).all() or len(set(y)) < len(y)  # what is larger is higher
    assert 'class="floor"' in text


def test_line_chart_of_a_constant():
    text = charts.line_chart("active units", [1, 2, 3], {"test": [4, 4, 4]})
    assert "nan" not in text
    assert ">0<" in text  # so that a reader sees what 4 is measured against


def test_scatter_puts_points_where_they_belong():
    points = np.array([[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    text = charts.scatter(points, np.array([0, 1, 2]), ("z₄", "z₂"), 3.0)
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="3" class="dot c(\d)"', text)
    (right, level, _), (middle, top, _), (cx, cy, _) = (tuple(map(float, dot)) for dot in dots)
    assert (cx, cy) == (middle, level) == (240, 240)
    assert right > 400
    assert top < 80
    assert [dot[2] for dot in dots] == ["0", "1", "2"]
    assert 'class="dot"' in charts.scatter(points, None, ("a", "b"), 3.0)
