"""The sprites against geometry: areas, centres of mass, and the phases of their moments."""

from __future__ import annotations

import hashlib
import math
import tracemalloc

import numpy as np
import pytest

from minivae.datasets import load, sprites


@pytest.fixture(scope="module")
def sprite_grid():
    """Return every sprite's pixels in [0, 1], indexed by shape, scale, rotation, x, y, row and column."""
    grid = np.full((*sprites.FACTOR_SIZES, 20, 20), np.nan, dtype=np.float32)
    for part in load("sprites"):
        grid[tuple(part.factors.T)] = part.x.reshape(-1, 20, 20)
    return grid


@pytest.mark.slow
def test_sprites_are_all_combinations_of_their_factors():
    train, test = load("sprites")
    assert (len(train), len(test)) == (7680, 1920)
    assert train.factor_names == ("shape", "scale", "rotation", "x", "y")
    assert train.factor_sizes == (3, 4, 8, 10, 10)
    assert train.image_shape == (20, 20)
    assert train.values.dtype == np.uint8
    for part in (train, test):
        np.testing.assert_array_equal(part.y, part.factors[:, 0])
        for column, size in zip(part.factors.T, part.factor_sizes):  # neither part misses a class
            assert set(column) == set(range(size))
    factors, values = (np.concatenate([getattr(part, name) for part in (train, test)]) for name in ("factors", "values"))
    assert len(np.unique(factors, axis=0)) == math.prod(train.factor_sizes) == len(factors)
    assert len(np.unique(values, axis=0)) == len(values)  # no two look the same
    # pins the order and the split
    assert hashlib.sha256(test.factors.astype(np.uint8).tobytes()).hexdigest()[:16] == "e23df6e1250707bb"


@pytest.mark.slow
def test_sprites_are_light():
    tracemalloc.start()
    load("sprites")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_sprite_area_is_the_square_of_its_scale(sprite_grid):
    area = sprite_grid.sum(axis=(-2, -1))
    expected = np.array([3, 4, 5, 6])[None, :, None, None, None] ** 2
    # 8 x 8 points per pixel misplace an edge by less than 1/16 pixel at worst, 4 · side / 16: 8 % for the smallest square
    assert np.abs(area / expected - 1).max() < 0.08
    assert (np.diff(area, axis=1) > 0).all()


def test_sprite_centre_of_mass_is_its_position(sprite_grid):
    area = sprite_grid.sum(axis=(-2, -1))
    centres = np.arange(20) + 0.5
    from_left = (sprite_grid.sum(axis=-2) @ centres) / area
    from_top = (sprite_grid.sum(axis=-1) @ centres) / area
    position = 5.5 + np.arange(10)
    assert np.abs(from_left - position[:, None]).max() < 0.05
    assert np.abs(from_top - position[None, :]).max() < 0.05


def test_sprite_one_class_further_is_the_same_picture_one_pixel_further(sprite_grid):
    np.testing.assert_array_equal(sprite_grid[:, :, :, 1:], np.roll(sprite_grid[:, :, :, :-1], 1, axis=-1))
    np.testing.assert_array_equal(sprite_grid[:, :, :, :, 1:], np.roll(sprite_grid[:, :, :, :, :-1], 1, axis=-2))


def complex_moment(images: np.ndarray, order: int) -> np.ndarray:
    """Return E[(u + i v)^order] over each image's ink, u to the right and v down from a centre at (9.5, 9.5)."""
    offsets = np.arange(20) - 9.0
    powers = (offsets[None, :] + 1j * offsets[:, None]) ** order
    return (images * powers).sum(axis=(-2, -1)) / images.sum(axis=(-2, -1))


@pytest.mark.parametrize(("shape", "order", "direction"), [(0, 4, 45), (1, 2, 0), (2, 3, 60)], ids=sprites.SHAPES)
def test_sprite_rotation_is_the_phase_of_its_moment(sprite_grid, shape, order, direction):
    """A figure that repeats ``order`` times per turn has its corners, or its long axis, at the phase of that moment.

    At rotation 0 they are at ``direction`` degrees, and half a class is 5.6 degrees: the class can be read from the image.
    """
    moments = complex_moment(sprite_grid[shape, :, :, 4, 4], order)
    degrees = np.rad2deg(np.angle(moments)) / order - direction - 11.25 * np.arange(8)
    period = 360 / order
    assert np.abs((degrees + period / 2) % period - period / 2).max() < 5.6


def test_sprite_shapes_have_the_moments_of_their_names(sprite_grid):
    """The second moments are those of a square, an ellipse and an equilateral triangle of area s².

    Ink counted at pixel centres adds 1/12 to a variance along an axis on average, and takes 1/12 from it where edges and
    pixels coincide: ± 1/6 around the mean per axis, 1/3 for their sum.
    """
    area = np.array([9, 16, 25, 36])
    images = sprite_grid[:, :, :, 4, 4]
    offsets = np.arange(20) - 9.0
    squares = offsets[None, :] ** 2 + offsets[:, None] ** 2
    spread = (images * squares).sum(axis=(-2, -1)) / images.sum(axis=(-2, -1)) - 1 / 6
    elongation = np.abs(complex_moment(images, 2))
    a2, b2 = 2 / math.pi, 0.5 / math.pi  # the squared semi-axes of an ellipse of area 1
    for index, (spread_1, elongation_1) in enumerate([(1 / 6, 0), ((a2 + b2) / 4, (a2 - b2) / 4), (1 / (3 * math.sqrt(3)), 0)]):
        assert np.abs(spread[index] - spread_1 * area[:, None]).max() < 1 / 3 + 1e-6
        assert np.abs(elongation[index] - elongation_1 * area[:, None]).max() < 1 / 3 + 1e-6
