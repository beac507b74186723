"""The data of a run: whole, without some classes, or with few labels; and found again from its record."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.helpers import complaint

from minivae.checks import InputError
from minivae.runs.source import SOURCE, Source
from minivae.training.schema import compare


def test_excluded_classes_are_in_neither_part():
    train, test = Source("digits", exclude_class=("0", "7")).load()
    whole, _ = Source("digits").load()
    assert set(train.y) == set(test.y) == set(range(10)) - {0, 7}
    np.testing.assert_array_equal(train.values, whole.values[(whole.y != 0) & (whole.y != 7)])


@pytest.mark.parametrize("n", [10, 47, 100, 1437])
def test_labels_are_kept_evenly_over_the_classes(n):
    train, test = Source("digits", labels=n).load()
    whole, whole_test = Source("digits").load()
    kept = train.y != -1
    assert kept.sum() == n
    np.testing.assert_array_equal(train.y[kept], whole.y[kept])
    np.testing.assert_array_equal(test.y, whole_test.y)
    counts = np.bincount(train.y[kept], minlength=10)
    if n <= 1000:  # beyond, a class may run out
        assert counts.max() - counts.min() <= 1


def test_the_seed_chooses_which_labels_are_kept():
    one, same, other = (Source("digits", labels=50, seed=seed).load()[0].y for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("source", [Source("digits"), Source("digits", exclude_class=("3",), labels=20, seed=4)], ids=str)
def test_a_record_brings_the_same_data_back(source):
    again = Source.of(json.loads(json.dumps(source.record())))
    for part, expected in zip(again.load(), source.load()):
        np.testing.assert_array_equal(part.values, expected.values)
        np.testing.assert_array_equal(part.y, expected.y)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (Source("digits", exclude_class=("11",)), "--exclude-class: expected a class of digits (0, 1, 2, 3, 4, 5, 6"),
        (Source("digits", exclude_class=tuple("0123456789")), "--exclude-class: expected some class to be left"),
        (Source("digits", labels=3), "--labels: expected a whole number from 10 to 1437, got 3"),
        (Source("digits", labels=1438), "--labels: expected a whole number from 10 to 1437"),
    ],
)
def test_parts_that_cannot_be_had_are_refused(source, words):
    assert words in complaint(InputError, source.load)


def test_data_without_labels_have_no_classes_to_exclude(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10, 3)))
    for parts in ({"exclude_class": ("0",)}, {"labels": 2}):
        complaint(InputError, Source(str(tmp_path / "x.npy"), **parts).load)


@pytest.mark.parametrize("part", [{"source": 3}, {"labels": "many"}, {"exclude_class": 3}, {"seed": -1}], ids=str)
def test_a_record_of_something_else_is_told_apart(part):
    compare("data", Source("digits", None, ("3",), 20, 4).record(), SOURCE)
    assert f"data.{next(iter(part))}: expected" in complaint(InputError, compare, "data", Source("digits").record() | part, SOURCE)
