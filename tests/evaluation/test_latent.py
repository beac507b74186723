"""Paths in latent space: where they begin and end, how fast they go, and what happens when there is no arc."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.helpers import complaint

from minivae.backend import array_module, to_device, to_numpy
from minivae.checks import InputError
from minivae.evaluation.latent import PATHS, interpolate, neighbour_accuracy, principal_plane, traverse

ANY = st.integers(0, 10**6)


def points(seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.random.default_rng(seed).standard_normal((2, k)))


@given(ANY, st.sampled_from(PATHS), st.sampled_from(["float32", "float64"]), st.integers(2, 12))
@example(1291, "spherical", "float32", 2)  # 168° apart, where the sine of a rounded angle is not that of the angle
def test_paths_include_both_ends_and_keep_the_dtype(seed, path, dtype, n):
    a, b = (end.astype(dtype) for end in points(seed))
    way = interpolate(np, a, b, n, path)
    assert way.shape == (n, 5)
    assert way.dtype == dtype
    np.testing.assert_array_equal(way[[0, -1]], [a, b])


@given(ANY, st.integers(2, 12))
def test_linear_steps_are_equal(seed, n):  # (G.3)
    a, b = points(seed)
    steps = np.diff(interpolate(np, a, b, n), axis=0)
    np.testing.assert_allclose(steps, np.tile((b - a) / (n - 1), (n - 1, 1)), atol=1e-13)


@given(ANY, st.floats(0.1, 9))
def test_spherical_path_keeps_the_norm_and_an_even_pace(seed, radius):  # (G.3)
    a, b = (radius * end / np.linalg.norm(end) for end in points(seed))
    way = interpolate(np, a, b, 9, "spherical")
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), radius, rtol=1e-9)
    angles = np.arccos(np.clip((way[:-1] * way[1:]).sum(axis=1) / radius**2, -1, 1))
    np.testing.assert_allclose(angles, np.arccos(a @ b / radius**2) / 8, atol=1e-6)  # arccos loses half the digits near 0
    plane = np.linalg.svd(np.stack([a, b, *way]), compute_uv=False)
    np.testing.assert_allclose(plane[2:], 0, atol=1e-12 * radius)


def test_spherical_path_between_different_norms_stays_between_them():
    way = interpolate(np, np.array([2.0, 0, 0]), np.array([0, 3.0, 0]), 5, "spherical")
    np.testing.assert_allclose(way[2], np.array([2, 3, 0]) / math.sqrt(2), rtol=1e-12)
    assert (np.linalg.norm(way, axis=1) >= 2 - 1e-12).all()


def test_spherical_differs_from_linear_by_the_factor_of_geometry():
    a, b = np.array([1.0, 0]), np.array([0, 1.0])
    assert np.linalg.norm(interpolate(np, a, b, 3, "linear")[1]) == pytest.approx(math.sqrt(0.5))
    assert np.linalg.norm(interpolate(np, a, b, 3, "spherical")[1]) == pytest.approx(1)


DEGENERATE = {
    "the same": ([1.0, 2.0], [1.0, 2.0]),
    "parallel": ([1.0, 2.0], [2.0, 4.0]),
    "opposite": ([1.0, 2.0], [-1.0, -2.0]),
    "from the origin": ([0.0, 0.0], [1.0, 2.0]),
    "to the origin": ([1.0, 2.0], [0.0, 0.0]),
    "at the origin": ([0.0, 0.0], [0.0, 0.0]),
    "nearly parallel": ([1.0, 2.0], [1.0, 2.00001]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ends", DEGENERATE.values(), ids=DEGENERATE)
def test_spherical_path_is_the_straight_line_where_there_is_no_arc(xp, ends, dtype):
    a, b = (to_device(xp, np.array(end), dtype) for end in ends)
    spherical = interpolate(xp, a, b, 5, "spherical")
    assert array_module(spherical) is xp
    np.testing.assert_allclose(to_numpy(spherical), to_numpy(interpolate(xp, a, b, 5, "linear")), atol=1e-5)


def test_traversal_sweeps_one_dimension_and_holds_the_others(xp):  # (G.4)
    z = to_device(xp, np.arange(4.0), "float32")
    points = to_numpy(traverse(xp, z, 2, 7, 3.0))
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:, 2], [-3, -2, -1, 0, 1, 2, 3], atol=1e-6)
    np.testing.assert_array_equal(points[:, [0, 1, 3]], np.tile([0, 1, 3], (7, 1)))
    np.testing.assert_array_equal(to_numpy(z), np.arange(4))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda z: interpolate(np, z, z, 1), "n: expected a whole number of at least 2, got 1"),
        (lambda z: interpolate(np, z, z, 2.5), "n: "),
        (lambda z: interpolate(np, z, z, 3, "curved"), "path: expected one of linear, spherical, got 'curved'"),
        (lambda z: traverse(np, z, 4, 3, 1.0), "dim: expected a whole number from 0 to 3, got 4"),
        (lambda z: traverse(np, z, -1, 3, 1.0), "dim: "),
        (lambda z: traverse(np, z, 0, 1, 1.0), "n: "),
        (lambda z: traverse(np, z, 0, 3, math.inf), "span: "),
        (lambda z: traverse(np, z, 0, 3, "wide"), "span: "),
    ],
)
def test_bad_paths(call, words):
    assert words in complaint(InputError, call, np.zeros(4))


def test_two_points_and_a_narrow_span_are_a_path(xp):
    """The least that can be asked for: both ends of a sweep, and one that hardly leaves the origin."""
    points = to_numpy(traverse(xp, to_device(xp, np.ones(3)), 1, 2, 0.5))
    np.testing.assert_array_equal(points, [[1, -0.5, 1], [1, 0.5, 1]])
    assert to_numpy(traverse(xp, to_device(xp, np.ones(3)), 1, 2, 0.0))[:, 1].tolist() == [0, 0]
    for path in PATHS:
        np.testing.assert_allclose(interpolate(np, *np.eye(2), 2, path), np.eye(2), atol=1e-15)


@pytest.mark.parametrize("shape", [(40, 7), (6, 30), (5, 1), (1, 4), (3, 2)])
def test_the_principal_plane_is_that_of_the_singular_vectors(shape):
    x = np.random.default_rng(0).standard_normal(shape) * np.arange(1, shape[1] + 1)
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    expected = np.zeros((shape[0], 2))
    expected[:, : min(2, len(s))] = (u * s)[:, :2]
    np.testing.assert_allclose(np.abs(principal_plane(x)), np.abs(expected), atol=1e-6)  # a component has no sign


def test_nearest_neighbours_are_those_of_a_search_one_by_one():
    rng = np.random.default_rng(1)
    points, labels = rng.standard_normal((50, 3)), rng.integers(0, 3, 50)
    right = 0
    for i in range(50):
        others = [j for j in range(50) if j != i]
        right += labels[i] == labels[min(others, key=lambda j: np.linalg.norm(points[i] - points[j]))]
    assert neighbour_accuracy(points, labels) == right / 50
    assert math.isnan(neighbour_accuracy(points[:1], labels[:1]))


def test_neighbour_accuracy_of_two_or_three_points():
    assert neighbour_accuracy(np.array([[0.0], [5.0]]), np.array([1, 1])) == 1
    assert neighbour_accuracy(np.array([[0.0], [1.0], [5.0]]), np.array([1, 1, 2])) == pytest.approx(2 / 3)
    assert neighbour_accuracy(np.array([[3.0], [4.0], [9.0]]), np.array([1, 1, 2])) == pytest.approx(2 / 3)
    assert type(neighbour_accuracy(np.eye(3), np.arange(3))) is float


def test_principal_plane_of_float32_points_far_from_the_origin_is_exact():
    x = np.random.default_rng(2).integers(-8, 9, (200, 3)) * np.array([1.0, 0.5, 0.25])
    far = (x + 2.0**20).astype("float32")  # exact, but their sum over the rows is not
    np.testing.assert_allclose(np.abs(principal_plane(far)), np.abs(principal_plane(x)), atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_spherical_path_between_parallel_ends_is_straight_in_spite_of_rounding(dtype):
    """The computed cosine of two opposite vectors may be a little below −1, which has no angle, or a little above it."""
    for a in np.random.default_rng(3).standard_normal((200, 5)).astype(dtype):
        for b in (a, -a, 4 * a, -a / 8):
            np.testing.assert_allclose(interpolate(np, a, b, 3, "spherical"), interpolate(np, a, b, 3), atol=1e-6)
