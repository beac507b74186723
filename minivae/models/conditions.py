"""The condition of an example: class labels as one-hot rows, or vectors of numbers, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import check_int, check_matrix, check_values, reject
from minivae.datasets.labels import UNLABELLED

Label = int | str
TWO_CLASSES = f"{UNLABELLED} means that there is no label: number two classes 0 and 1"


def classes_of(y: Any, partial: bool = False) -> np.ndarray:
    """Return the different labels in ``y``, in order; with ``partial`` some rows may have none, but there must be two classes."""
    given = as_labels(y)
    labels = set(given) - {UNLABELLED}
    if len(labels) < len(set(given)) and not partial:
        row = given.index(UNLABELLED)
        mend = f"leave such rows out, or choose a model that learns from few labels; {TWO_CLASSES}"
        reject("y", "a label for each row", f"{UNLABELLED} at row {row}", mend)
    if len({type(label) for label in labels}) != 1:
        kinds = " and ".join(sorted({type(label).__name__ for label in labels})) or "no label"
        reject("y", "class labels of one kind, whole numbers or strings", kinds)
    if partial and len(labels) < 2:
        reject("y", "at least two classes", f"only {labels.pop()!r}", TWO_CLASSES)
    return np.array(sorted(labels))


def one_hot(y: Any, classes: np.ndarray, n: int, argument: str = "y", partial: bool = False) -> np.ndarray:
    """Return (n, c), 1 in the column of each label's class and else 0; one label alone stands for all ``n`` examples.

    With ``partial`` the mark ``UNLABELLED`` may stand for a label, and its row is all 0; so are all rows where ``y`` is None.
    """
    labels = [UNLABELLED] * n if partial and y is None else as_labels(y, n, argument)
    if len(labels) != n:
        reject(argument, f"{n} labels, one for each row", len(labels))
    columns = {label: column for column, label in enumerate(classes.tolist())}
    unknown = [label for label in labels if label not in columns and not (partial and label == UNLABELLED)]
    if unknown:
        known = ", ".join(map(repr, columns)) + (f", or {UNLABELLED} where there is none" if partial else "")
        reject(argument, f"labels among {known}", repr(unknown[0]), "" if unknown[0] != UNLABELLED else "leave such rows out")
    rows = np.zeros((n, len(columns)))
    for row, label in zip(rows, labels):
        if label in columns:
            row[columns[label]] = 1
    return rows


def as_labels(y: Any, n: int = 1, argument: str = "y") -> list[Label]:
    """Return class labels as Python's own ints or strings; one label alone ``n`` times."""
    if y is None:
        reject(argument, "a class label for each row", "none", "pass the labels that go with the data")
    if hasattr(y, "__array__") and not hasattr(y, "tolist"):  # a column of a file, say
        y = np.asarray(y)
    y = y.tolist() if hasattr(y, "tolist") else y
    if isinstance(y, (int, str)):
        return [y] * n
    labels = [label.item() if isinstance(label, np.generic) else label for label in (y if isinstance(y, (list, tuple)) else [y])]
    strange = [label for label in labels if not isinstance(label, (int, str))]
    if strange and isinstance(strange[0], (list, tuple)):
        rows = f"rows such as {strange[0]!r}"[:60]
        reject(argument, "one label for each row, of shape (n,)", rows, "pass one column, such as y.ravel()")
    if strange:
        missing = strange[0] is None or str(strange[0]) in ("nan", "<NA>", "NaT")
        mend = "use .astype(int) for labels, or y.reshape(-1, 1) for a condition of one number"
        mend = f"write {UNLABELLED} where there is no label" if missing else mend
        reject(argument, "class labels, whole numbers or strings", repr(strange[0])[:40], mend)
    for label in labels:
        if isinstance(label, int):
            check_int(f"{argument}: a label", int(label), -(2**63), 2**63 - 1)  # others could not be kept in a file
    return [UNLABELLED if label == str(UNLABELLED) else label for label in labels]


def as_vectors(y: Any, width: int | None, n: int, argument: str = "y") -> np.ndarray:
    """Return conditions as an (n, width) array of finite numbers; one vector alone stands for all ``n`` examples."""
    if y is None:
        reject(argument, "a condition for each row", "none", "pass what goes with the data")
    y = to_numpy(y)
    if y.ndim == 1:
        y = np.repeat(y[None], n, axis=0)
    check_matrix(argument, y, width)
    check_values(argument, y)
    if len(y) != n:
        reject(argument, f"{n} conditions, one for each row", len(y))
    return y
