"""The conditional VAE (Sohn, Lee & Yan 2015): a VAE that is given something about each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minivae.backend import Array
from minivae.checks import reject
from minivae.models.conditions import as_vectors, classes_of, one_hot
from minivae.models.vae import VAE


@dataclass(kw_only=True, eq=False)
class ConditionalVAE(VAE):
    """VAE of x given y: y is an input of both encoder and decoder, so z only has to hold what y does not say.

    (A.6)  log p(x|y) ≥ ELBO(x|y) = E_q[log p(x|z, y)] − KL(q(z|x, y) ‖ p(z)),    z ~ N(0, I) whatever y is
           loss = reconstruction + β KL, as the VAE's

    ``fit`` takes for y either class labels, (n,) whole numbers or strings, or any condition, an (n, c) matrix of numbers.  All
    other methods take one y for each row, or a single one for all: ``sample(16, y=3)``, ``encode(x, y)``, ``decode(z, y)``.  Every
    likelihood and bound is of x given y.

    All parameters are those of ``VAE``.

    Attributes
    ----------
    classes_ : the labels in order, (c,); empty when y is a matrix.
    condition_width_ : c.

    All other attributes are those of ``VAE``.
    """

    learned: ClassVar[tuple[str, ...]] = ("classes_", "condition_width_")

    def change_condition(self, x: Any, y: Any, new_y: Any) -> Array:
        """Return the examples (n, d) as they would be under another condition; what z holds, the style, stays the same.

        x is encoded under ``y``, and the posterior mean is decoded under ``new_y``.
        """
        return self.decode(self.encode(x, y)[0], new_y)

    def learn_condition(self, y: Any) -> None:
        vectors = np.ndim(y) == 2
        self.classes_ = np.empty(0) if vectors else classes_of(y)
        self.condition_width_ = np.shape(y)[1] if vectors else len(self.classes_)

    def _relearn(self, learned: dict[str, Any]) -> None:
        super()._relearn(learned)
        if "condition_width_" in learned and len(self.classes_) not in (0, self.condition_width_):
            reject("condition_width_", f"{len(self.classes_)}, one for each class", self.condition_width_)

    def encode_condition(self, y: Any, n: int, argument: str = "y") -> np.ndarray | None:
        if len(self.classes_):
            return one_hot(y, self.classes_, n, argument)
        return as_vectors(y, self.condition_width_, n, argument)

    def condition_width(self) -> int:
        return self.condition_width_
