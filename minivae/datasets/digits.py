"""The UCI handwritten digits: 1797 images of 8 × 8 pixels, embedded in the package.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, licensed under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).
``digits.npz`` holds that data set's test part, the selection that scikit-learn's ``load_digits`` serves, stored as 8-bit
whole numbers; nothing else was changed.  Each pixel counts the ink in a 4 × 4 block of a 32 × 32 bitmap, so it is 0 … 16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minivae.datasets.arrays import read_npz
from minivae.datasets.dataset import Dataset


def load() -> tuple[Dataset, Dataset]:
    """Return (train, test): 1437 and 360 images in [0, 1], pixel counts over 16.

    The test set is every fifth example after a stable sort by class, so it has a fifth of each class, up to
    one example, and does not depend on a random stream that could change.  Both parts keep the file's order.  (Every fifth example
    of the file itself would not be balanced, since parts of it repeat the digits 0 … 9, and five divides ten.)  Writers occur in
    both parts.
    """
    arrays = read_npz(Path(__file__).with_name("digits.npz"), ("x", "y"))
    counts, labels = arrays["x"], arrays["y"]
    digits = Dataset(counts / np.float32(16), labels.astype(np.int64), (8, 8), "digits")
    is_test = np.zeros(len(digits), dtype=bool)
    is_test[np.argsort(labels, kind="stable")[::5]] = True
    return digits.subset(~is_test), digits.subset(is_test)
