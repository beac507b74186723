"""The data of a run: where they come from, and which part of them a training takes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae import datasets
from minivae.checks import check_int, reject
from minivae.datasets import Dataset
from minivae.datasets.arrays import SUFFIXES
from minivae.datasets.labels import UNLABELLED, classes_in, has_label
from minivae.training.schema import Schema, maybe, text, whole


def known(name: str, value: Any) -> None:
    """Accept what can be a data set's name or path; whether the file is there is seen when it is read."""
    text(name, value)
    if value not in datasets.NAMES and not value.endswith(SUFFIXES):
        reject(name, "the name of a data set, or the path of a .npy or .npz file", repr(value)[:80])


SOURCE: Schema = {
    "source": known,
    "data_dir": maybe(text),
    "exclude_class?": [text],
    "labels?": whole(1),
    "seed?": whole(0),
    "image_shape?": maybe([whole(1)]),
}


@dataclass(frozen=True)
class Source:
    """A data set, and what of it is used.

    Attributes
    ----------
    source : a name, or the path of a file; data_dir : the folder of MNIST's files, or None.
    exclude_class : classes whose examples are left out, of the training set and of the test set.
    labels : how many training examples keep their label, as many of each class as possible, or None for all of them.
    seed : of the choice which ones.
    image_shape : (height, width) of examples that are stored as plain rows, or None.
    """

    source: str
    data_dir: str | None = None
    exclude_class: tuple[str, ...] = ()
    labels: int | None = None
    seed: int = 0
    image_shape: tuple[int, ...] | None = None

    def load(self) -> tuple[Dataset, Dataset]:
        """Return (train, test)."""
        train, test = (without(part, self.exclude_class) for part in datasets.load(self.source, self.data_dir))
        if self.image_shape:
            train, test = (as_images(part, self.image_shape) for part in (train, test))
        return (train if self.labels is None else few_labels(train, self.labels, self.seed)), test

    def record(self) -> dict[str, Any]:
        """Return what it takes to load the same data again from any working directory, JSON-able."""
        path = self.source if self.source in datasets.NAMES else os.path.abspath(self.source)
        record: dict[str, Any] = {"source": path, "data_dir": self.data_dir and os.path.abspath(self.data_dir)}
        if self.exclude_class:
            record["exclude_class"] = list(self.exclude_class)
        if self.image_shape:
            record["image_shape"] = list(self.image_shape)
        if self.labels is not None:
            record |= {"labels": self.labels, "seed": self.seed}
        return record

    @classmethod
    def of(cls, record: dict[str, Any]) -> Source:
        """Return the source that a record of the schema ``SOURCE`` tells of."""
        known = {field.name: record[field.name] for field in dataclasses.fields(cls) if field.name in record}
        shape = record.get("image_shape")
        return cls(**known | {"exclude_class": tuple(record.get("exclude_class", ())), "image_shape": shape and tuple(shape)})


def as_images(data: Dataset, image_shape: tuple[int, ...]) -> Dataset:
    """Return the examples as images of a shape (height, width)."""
    d = data.values.shape[1]
    if len(image_shape) != 2 or image_shape[0] * image_shape[1] != d:
        reject("--image-shape", f"a height and a width whose product is the {d} features of {data.name}", image_shape)
    return dataclasses.replace(data, image_shape=(image_shape[0], image_shape[1]))


def of_class(data: Dataset, label: str, argument: str) -> np.ndarray:
    """Return which examples are of a class, (n,) of bool, by the label as it is written; refuse one that no example has."""
    found = np.zeros(len(data), dtype=bool) if data.y is None else (data.y.astype(str) == label) & has_label(data.y)
    if not found.any():
        known = "none" if data.y is None else ", ".join(map(str, classes_in(data.y)[:20]))
        reject(argument, f"a class of {data.name} ({known})", repr(label))
    return found


def without(data: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Return the examples of all other classes."""
    if not classes:
        return data
    left_out = np.any([of_class(data, label, "--exclude-class") for label in classes], axis=0)
    if left_out.all():
        reject("--exclude-class", "some class to be left", " ".join(classes))
    return data.subset(~left_out)


def few_labels(data: Dataset, n: int, seed: int) -> Dataset:
    """Return the examples with all labels but ``n`` replaced by the mark that there is none."""
    if data.y is None:
        reject("--labels", "data with labels", f"{data.name}, which has none")
    labelled, classes = has_label(data.y), classes_in(data.y)
    numbers = np.where(labelled, np.searchsorted(classes, data.y), -1)
    check_int("--labels", n, len(classes), int(labelled.sum()))
    mixed = np.random.default_rng(seed).permutation(len(data))
    rank = np.full(len(data), len(data))  # of each example among those of its class, in the mixed order; those without come last
    for k in range(len(classes)):
        rank[mixed[numbers[mixed] == k]] = np.arange((numbers == k).sum())
    kept = mixed[np.argsort(rank[mixed], kind="stable")][:n]  # the first of each class, then the second of each, …
    if data.y.dtype.kind not in "iu":
        reject("--labels", "labels that are whole numbers", f"{data.y.dtype}", "number the classes")
    y = np.full(len(data), UNLABELLED)
    y[kept] = data.y[kept]
    return dataclasses.replace(data, y=y)
