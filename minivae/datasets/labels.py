"""What a label is: a whole number or a string that names the class of an example; −1 means that the example has none."""

from __future__ import annotations

from typing import Any

import numpy as np

UNLABELLED = -1


def has_label(y: Any) -> np.ndarray:
    """Return which entries of ``y`` (n,) are labels, (n,) of bool; in an array of strings "-1" means no label too."""
    return np.asarray(y).astype(str) != str(UNLABELLED)


def classes_in(y: Any) -> np.ndarray:
    """Return the different labels in ``y`` (n,), in order."""
    y = np.asarray(y)
    return np.unique(y[has_label(y)])


def name_of(label: Any) -> str:
    """Return the text to show for an entry of ``y``."""
    return "no label" if str(label) == str(UNLABELLED) else str(label)
