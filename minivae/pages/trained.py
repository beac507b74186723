"""The objective that a model was trained on, in a form that can be checked: at its weights, in float64, with fixed noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, topological_order
from minivae.backend import generator, to_numpy
from minivae.datasets import Dataset
from minivae.models import Model
from minivae.op import Op
from minivae.ops import SURROGATE_GRADIENTS
from minivae.proof.verify import Row, check_objective
from minivae.runs.selection import spread

EXAMPLES = 8  # examples in the batch: enough that every parameter matters, few enough to be quick


@dataclass(frozen=True)
class Objective:
    """A model's loss on a batch, the same number every time."""

    model: Model
    batch: Dataset

    def __call__(self) -> Tensor:
        rows, rng = self.model._rows(self.batch.values, self.batch.y), generator(np, self.model.seed_, "noise")
        x, condition = rows.take(slice(None), rng), rows.condition(slice(None))
        return self.model.loss(self.model.terms(x, rng, condition))

    def ops(self) -> list[Op]:
        """Return every op that gradients of the loss pass through, in the order of the forward pass."""
        return list(dict.fromkeys(tensor.node.op for tensor in topological_order(self()) if tensor.node))

    def surrogates(self) -> list[str]:
        """Return the names of the ops whose backward is on purpose not a derivative, so that finite differences cannot agree."""
        return [op.name for op in self.ops() if op in SURROGATE_GRADIENTS.values()]

    def check(self) -> list[Row]:
        """Return a row for every parameter in this loss: its gradient against finite differences along random directions."""
        within = set(topological_order(self()))
        parameters = [parameter for parameter in self.model.parameters_.parameters.values() if parameter in within]
        return check_objective(type(self.model).__name__, self, parameters, self.model.seed_)


def objective_of(model: Any, test: Dataset) -> Objective:
    """Return the objective of a trained model on a few test examples."""
    twin = type(model)(**(model.record()["params"] | {"dtype": "float64", "device": "cpu"}))
    vars(twin).update({name: getattr(model, name) for name in model.learned})
    twin._build(model.n_features_in_)
    twin.parameters_.load_state({name: to_numpy(array) for name, array in model.parameters_.state().items()}, np)
    return Objective(twin, test.subset(spread(len(test), EXAMPLES)))
