"""The figures of a whole data set.  Where a term couples examples, they differ from the mean of the figures of batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minivae.autodiff import Tensor, no_grad
from minivae.backend import Array, to_numpy
from minivae.checks import NonFiniteError, reject
from minivae.training.batches import Rows

if TYPE_CHECKING:
    from minivae.models.base import Model


def evaluate(model: Model, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]:
    """Compute what ``Model.evaluate`` returns: chunk by chunk, with the terms of all chunks joined before any is averaged."""
    xp, chunks = model.xp_, []
    sizes: list[int] = []
    with no_grad(), np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused, by row where it is of a row
        for x, condition, noise in rows.evaluation(model.seed_):
            mean, log_var = model.posterior(x, condition)
            made = {"_mean": mean, "_log_var": log_var} | model.terms_of_test(x, noise, condition)
            chunks.append({name: term.data for name, term in made.items()})
            sizes.append(len(x))
            if model.couples_examples():
                chunks[-1]["_order"] = noise.order()
        joined = {name: join(xp, [chunk[name] for chunk in chunks], sizes) for name in chunks[0]}
        of_rows = {name: values for name, values in joined.items() if values.ndim}
        rows.check_finite({name.lstrip("_"): of_rows[name] for name in sorted(of_rows, key=lambda name: name.startswith("_"))})
        codes = joined["_mean"], joined["_log_var"]
        if "_order" in joined:  # which rows are compared with each other must not depend on their order in the data
            order = xp.argsort(joined.pop("_order"))
            joined = {name: values[order] if values.ndim else values for name, values in joined.items()}
        terms = {name: Tensor(values) for name, values in joined.items()}
        terms |= model.pool(terms)
        terms["loss"] = model.loss(terms)
        averages = {name: float(term.data.mean(dtype="float64")) for name, term in terms.items() if not name.startswith("_")}
        statistics = model.code_statistics(*codes)
    for name, figure in (averages | statistics).items():
        if not np.isfinite(figure).all():
            row, extreme = farthest(*map(to_numpy, codes))
            got = f"{name} = {figure}; the code that is farthest out, {extreme:.3g}, is that of row {row}"
            mend = "leave such rows out, scale the data, or lower learning_rate"
            reject(type(model).__name__, "finite figures of a data set", got, mend, NonFiniteError)
    return averages, statistics


def farthest(mean: np.ndarray, log_var: np.ndarray) -> tuple[int, float]:
    """Return the row with the largest number in its code (n, k), of either sign, and that number."""
    code = np.hstack([mean, log_var])
    row, column = np.unravel_index(np.abs(code).argmax(), code.shape)
    return int(row), float(code[row, column])


def join(xp: Any, parts: list[Array], sizes: list[int]) -> Array:
    """Return the results of chunks of so many rows as one array, or their mean over rows where each is a single number."""
    if parts[0].ndim:
        return xp.concatenate(parts)
    return sum(size * part for size, part in zip(sizes, parts, strict=True)) / sum(sizes)
