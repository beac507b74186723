"""Pictures: the right numbers in the right place, with words that say what they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.image import imread
from scipy.stats import norm
from support.helpers import complaint

import minivae as mv
from minivae.checks import DataFileError
from minivae.pictures import plots
from minivae.pictures.curves import curves


def texts(labels) -> list[str]:
    return [label.get_text() for label in labels if label.get_text()]


def picture_at(figure, row: int, column: int) -> np.ndarray:
    """Return the pixels drawn around the middle of a cell, as one sees them: looked up by the coordinates of the axes."""
    (image,) = figure.axes[0].images
    left, right, bottom, top = image.get_extent()
    mosaic = np.asarray(image.get_array().filled(np.nan))
    n, m = mosaic.shape
    rows, columns = (np.arange(k) + 0.5 for k in (n, m))
    y, x = top + rows / n * (bottom - top), left + columns / m * (right - left)
    return mosaic[np.ix_((y > row) & (y < row + 1), (x > column) & (x < column + 1))]


def test_cells_shows_each_example_in_its_place_and_the_right_way_up():
    rows = np.random.default_rng(0).random((2, 3, 5 * 7))
    figure = plots.cells(rows, (5, 7), "A title", ("first", "second"), ("a", "b", "c"))
    for i, j in np.ndindex(2, 3):
        cell = picture_at(figure, i, j)
        inside = cell[~np.isnan(cell).all(axis=1)][:, ~np.isnan(cell).all(axis=0)]
        k = inside.shape[0] // 5
        assert inside.shape == (5 * k, 7 * k)
        np.testing.assert_array_equal(inside[k // 2 :: k, k // 2 :: k], rows[i, j].reshape(5, 7))
        assert np.isnan(cell).any()  # a gap around it
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "A title"
    assert texts(axes.get_xticklabels()) == ["a", "b", "c"]
    assert texts(axes.get_yticklabels()) == ["first", "second"]
    assert axes.get_aspect() == pytest.approx(5 / 7)
    assert axes.get_ylim() == (2, 0)


@pytest.mark.parametrize(("low", "high", "limits"), [(0, 1, (0, 1)), (0.2, 0.6, (0, 1)), (-2, 3, (-2, 3)), (0, 16, (0, 16))])
def test_one_scale_for_all_cells(low, high, limits):
    rows = np.full((1, 2, 4), (low + high) / 2)
    rows[0, 0, 0], rows[0, 1, 3] = low, high
    (image,) = plots.cells(rows, (2, 2), "").axes[0].images
    assert image.get_clim() == limits


def test_examples_that_are_no_images_are_lines_in_their_cells():
    rows = np.random.default_rng(0).standard_normal((2, 3, 11))
    axes = plots.cells(rows, None, "").axes[0]
    segments = np.array(axes.collections[0].get_segments()).reshape(2, 3, 11, 2)
    for i, j in np.ndindex(2, 3):
        x, y = segments[i, j].T
        assert j < x[0] < x[-1] < j + 1
        assert i < y.min() < y.max() < i + 1
        assert np.corrcoef(y, -rows[i, j])[0, 1] == pytest.approx(1)  # y runs down the page, values up
    assert not axes.images


def test_constant_data_can_be_drawn(tmp_path):
    for shape in ((1, 2), None):
        plots.save(plots.cells(np.full((1, 1, 2), 7.0), shape, ""), tmp_path / "flat.png")


def test_gallery_fills_rows_and_leaves_the_rest_empty():
    x = np.arange(1, 8)[:, None] * np.ones((1, 4)) / 10
    figure = plots.gallery(x, (2, 2), "Seven")
    shown = [np.nanmean(picture_at(figure, i, j)) for i in range(3) for j in range(3) if 3 * i + j < 7]
    np.testing.assert_allclose(shown, x[:, 0])
    assert np.isnan(picture_at(figure, 2, 1)).all()
    assert plots.gallery(x, (2, 2), "", column_labels=list("abcdefg")).axes[0].get_ylim() == (1, 0)


def test_the_manifold_shows_equal_shares_of_the_prior():
    points = plots.prior_grid(20)
    np.testing.assert_allclose(np.unique(points), norm.ppf((np.arange(20) + 0.5) / 20), rtol=1e-9)
    decoded = norm.cdf(points)  # an "image" of two pixels: how far right and how far up its point is
    figure = plots.manifold(decoded, (1, 2))
    for row, column in ((0, 0), (0, 19), (13, 4)):
        cell = picture_at(figure, row, column)
        np.testing.assert_allclose(np.unique(cell[~np.isnan(cell)]), sorted({(column + 0.5) / 20, (19.5 - row) / 20}), rtol=1e-6)
    axes = figure.axes[0]
    assert texts(axes.get_xticklabels()) == ["−2", "−1", "0", "1", "2"]
    np.testing.assert_allclose(axes.get_xticks(), 20 * norm.cdf([-2, -1, 0, 1, 2]), rtol=1e-9)
    np.testing.assert_allclose(axes.get_yticks(), 20 * norm.cdf([2, 1, 0, -1, -2]), rtol=1e-9)  # up is down the rows


def test_the_latent_map_colours_points_by_class():
    mean = np.random.default_rng(0).standard_normal((50, 2))
    labels = np.arange(50) % 3 + 4
    axes = plots.latent_map(mean, labels, "some examples").axes[0]
    offsets = axes.collections[0].get_offsets()
    colours = axes.collections[0].get_facecolors()
    for point, colour in zip(np.asarray(offsets), colours, strict=True):
        (row,) = np.flatnonzero((mean == point).all(axis=1))
        assert tuple(colour[:3]) == to_rgba(plots.CLASSES[labels[row] - 4])[:3]
    assert [(text.get_text(), *text.xy) for text in axes.texts] == [
        (str(k), *np.median(mean[labels == k], axis=0)) for k in (4, 5, 6)
    ]
    assert "some examples" in axes.get_title(loc="left")
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[1] >= max(3, np.abs(mean).max())


def test_the_latent_map_without_classes_and_with_too_many():
    mean = np.random.default_rng(0).standard_normal((40, 2))
    axes = plots.latent_map(mean, None, "it").axes[0]
    assert len(np.unique(axes.collections[0].get_facecolors(), axis=0)) == 1
    assert "class" not in axes.get_title(loc="left")
    figure = plots.latent_map(mean, np.arange(40), "it")
    figure.draw_without_rendering()  # a colour map gives colours when it is drawn
    assert len(np.unique(figure.axes[0].collections[0].get_facecolors(), axis=0)) == 40
    assert not figure.axes[0].texts


def test_curves_show_the_history(vae):
    history = vae.history_
    figure = curves(history, floor=13.6)
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles == ["reconstruction (nats)", "KL (nats)", "ELBO (nats)", "KL of each latent dimension (nats)"]
    for axes, term in zip(figure.axes, ("reconstruction", "kl", "elbo")):
        train, test = axes.lines[:2]
        assert (train.get_label(), test.get_label()) == ("train", "test")
        for line in (train, test):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 21))
            np.testing.assert_array_equal(line.get_ydata(), history[f"{line.get_label()}_{term}"])
    assert figure.axes[0].lines[2].get_ydata()[0] == 13.6
    kl = np.array(history["kl_per_dimension"])
    order = np.argsort(-kl[-1])
    bands = figure.axes[3]
    np.testing.assert_array_equal(bands.collections[0].get_array(), kl[:, order].T)
    assert texts(bands.get_yticklabels()) == [f"z{'₀₁₂₃₄₅'[j]}" for j in order]
    assert bands.get_ylim() == (6, 0)  # the strongest on top


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 19])
def test_curves_of_a_short_training(epochs, vae, tmp_path):
    history = {name: values[:epochs] for name, values in vae.history_.items() if not name.startswith("test")}
    figure = curves(history)
    plots.save(figure, tmp_path / "curves.png")
    assert all(float(tick) == int(tick) for axes in figure.axes[:4] for tick in axes.get_xticks())
    assert all(len(axes.lines) == 1 for axes in figure.axes[:3])


def test_curves_of_a_model_without_kl():
    history = {"epoch": [1, 2], "train_reconstruction": [3.0, 2.0], "train_l1": [1.0, 1.0], "train_loss": [4.0, 3.0]}
    titles = [axes.get_title(loc="left") for axes in curves(history).axes]
    assert titles == ["reconstruction (nats)", "l1 (nats)", "loss (nats)"]


def test_save_writes_a_png_whole_or_not_at_all(tmp_path):
    figure = plots.cells(np.zeros((1, 1, 4)), (2, 2), "")
    plots.save(figure, tmp_path / "it.png")
    pixels = imread(tmp_path / "it.png")
    assert pixels.ndim == 3
    assert (pixels[0, 0, :3] == 1).all()  # white paper, not a transparent one
    assert "nowhere" in complaint(DataFileError, plots.save, figure, tmp_path / "nowhere" / "it.png")
    assert os.listdir(tmp_path) == ["it.png"]


@pytest.mark.slow
def test_pictures_need_no_window_and_no_global_state(tmp_path):
    code = (
        "import sys, numpy as np; from minivae.pictures import plots, curves; from minivae.command import cli;"
        "assert 'matplotlib' not in sys.modules;"
        "plots.save(plots.latent_map(np.zeros((2, 2)), None, ''), sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(mv.__file__).parents[1]), "MPLBACKEND": "TkAgg"}
    command = [sys.executable, "-c", code, str(tmp_path / "it.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_of_other_values_than_zero_to_one_have_a_scale():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    bar = plots.cells(x, (2, 2), "Gaussian").axes[1]
    assert bar.get_ylim() == pytest.approx((x.min(), x.max()))
    assert len(plots.cells(np.abs(np.tanh(x)), (2, 2), "Bernoulli").axes) == 1


def test_maps_beside_each_other_name_classes_and_axes():
    rng = np.random.default_rng(0)
    panels = [("codes", rng.normal(size=(30, 2)), ("z₀", "z₁")), ("PCA", rng.normal(size=(30, 2)), ("1st", "2nd"))]
    figure = plots.beside(panels, np.arange(30) % 3 + 4, "maps")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["4", "5", "6"]
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [("z₀", "z₁"), ("1st", "2nd")]
    assert not plots.beside(panels, None, "unlabelled").legends
    assert not plots.beside(panels, np.arange(30), "more classes than colours").legends
