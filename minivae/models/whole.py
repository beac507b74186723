"""The figures of a whole data set.  A mean of the batches' figures would be another number wherever a term couples examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.autodiff import Tensor, no_grad
from minivae.backend import Array
from minivae.training.batches import Rows

if TYPE_CHECKING:
    from minivae.models.base import Model


def evaluate(model: Model, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]:
    """Do what ``Model.evaluate`` says: the rows are taken chunk by chunk, and their terms joined before any of them is averaged."""
    xp, chunks = model.xp_, []
    with no_grad(), np.errstate(over="ignore", invalid="ignore"):  # ``check_finite`` says which row it is
        for x, condition, noise in rows.evaluation(model.seed):
            mean, log_var = model.posterior(x, condition)
            made = {"_mean": mean, "_log_var": log_var} | model.terms(x, noise, condition)
            chunks.append({name: term.data for name, term in made.items()})
            if model.couples_examples():
                chunks[-1]["_order"] = noise.order()
        joined = {name: join(xp, [chunk[name] for chunk in chunks]) for name in chunks[0]}
        rows.check_finite({name: values for name, values in joined.items() if not name.startswith("_")})
        codes = joined["_mean"], joined["_log_var"]
        if "_order" in joined:  # the rows that are compared with each other must not depend on the order they came in
            order = xp.argsort(joined.pop("_order"))
            joined = {name: values[order] if values.ndim else values for name, values in joined.items()}
        terms = {name: Tensor(values) for name, values in joined.items()}
        terms |= model.pool(terms)
        terms["loss"] = model.loss(terms)
    averages = {name: float(term.data.mean(dtype="float64")) for name, term in terms.items() if not name.startswith("_")}
    return averages, model.code_statistics(*codes)


def join(xp: Any, parts: list[Array]) -> Array:
    """Return what the chunks of a data set have given as one array; of numbers for whole chunks the mean."""
    return xp.concatenate(parts) if parts[0].ndim else sum(parts) / len(parts)
