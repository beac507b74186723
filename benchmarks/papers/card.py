"""What a card is: a readable record of a published experiment, of what is done, and of what counts as a reproduction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Stage = tuple[int, float]  # epochs, learning rate


@dataclass(frozen=True)
class Card:
    """One published experiment and how it is repeated.

    The first attributes are for the reader.  The others do what they say: ``stages`` are run one after the other; after each the
    test set is scored with ``samples`` importance samples, after the last with ``final_samples``.  ``adam`` overrides attributes
    of the optimiser, whose second moment begins at ``second_moment``.  ``validation`` rows of the training set are held out, and
    the best epoch by them is kept.  A figure from ``low`` to ``high`` reproduces the published one; where the claim is that it
    differs from the figure of the card ``beside``, this is said of the difference.
    """

    name: str
    source: str
    published: str
    low: float
    high: float
    data: str
    architecture: str
    optimisation: str
    evaluation: str
    settings: dict[str, Any]
    stages: tuple[Stage, ...]
    seeds: tuple[int, ...] = (0,)
    model: str = "VAE"
    dataset: str = "mnist"
    validation: int = 0
    samples: int = 500
    final_samples: int = 5000
    measure: str = "NLL"
    adam: dict[str, float] = field(default_factory=dict)
    second_moment: float = 0.0
    note: str = ""
    beside: str = ""

    @property
    def pixels(self) -> str:
        """Return how grey pixels become what the model is trained and scored on, without which a figure says little."""
        treatments = {"none": "grey", "fixed": "drawn once", "dynamic": "drawn at every visit"}
        return "drawn once (public file)" if self.dataset == "static-mnist" else treatments[self.settings.get("binarize", "none")]

    def verdict(self, stage: int, figure: float, other: float | None = None) -> str:
        """Return what a figure after a stage says; ``other`` is that of the card ``beside`` after the same stage, if any."""
        if stage < len(self.stages):
            so_far = "" if other is None else f", so far {figure - other:+.2f} from {self.beside}"
            return f"unfinished: stage {stage} of {len(self.stages)}{so_far}"
        if self.beside and other is None:
            return f"finished, but {self.beside} is not"
        found = figure if other is None else round(figure - other, 2)
        if self.low <= found <= self.high:
            return "reproduced"
        return f"not reproduced: below {self.low}" if found < self.low else f"not reproduced: above {self.high}"
