"""One training step of a VAE so small that every number of it can be followed by hand: two inputs, two hidden units, one latent.

The step is a table in which each row computes one quantity from earlier ones.  From top to bottom it is the forward pass.  From
bottom to top, with the backward of each op, it is the chain rule.  With one number changed a little, it is a finite difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.autodiff import Tensor, backward
from minivae.models import VAE
from minivae.models.objectives import negative_elbo
from minivae.ops import bernoulli_nll, dense, kl_standard_normal, reparameterize, tanh
from minivae.proof.finite_differences import central_difference

LEARNING_RATE = 0.1
STEP = 2.0**-10  # of the finite difference
EXAMPLE = {"x": [[0.9, 0.2]], "noise": [[0.7]]}  # what is given, and needs no gradient

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Link:
    """One row of the forward pass: ``name`` = ``function`` of the quantities that ``rules`` names.

    A rule is what the function's backward computes from g = ∂loss/∂name: the contribution of this link to the quantity's gradient.
    """

    name: str
    equation: str
    function: Callable[..., Tensor]
    rules: dict[str, str]


def _affine(name: str, x: str, layer: str) -> Link:
    return Link(name, f"{x} · weight + bias", dense, {x: "g weightᵀ", f"{layer}.weight": f"{x}ᵀ g", f"{layer}.bias": "Σ g"})


FORWARD = (
    _affine("a", "x", "encoder.0"),
    Link("h", "tanh a", tanh, {"a": "g (1 − h²)"}),
    _affine("heads", "h", "encoder.1"),
    Link("mean", "μ, the heads' first half", lambda heads: heads[:, :1], {"heads": "(g, 0)"}),
    Link("log_var", "log σ², their second half", lambda heads: heads[:, 1:], {"heads": "(0, g)"}),
    Link("z", "μ + exp(½ log σ²) ε  (R.1)", reparameterize, {"mean": "g", "log_var": "½ g σ ε (R.2)", "noise": "g σ"}),
    _affine("b", "z", "decoder.0"),
    Link("d", "tanh b", tanh, {"b": "g (1 − d²)"}),
    _affine("logits", "d", "decoder.1"),
    Link("reconstruction", "Σ softplus(ℓ) − x ℓ  (L.1)", bernoulli_nll, {"x": "−g ℓ", "logits": "g (sigmoid ℓ − x)"}),
    Link("kl", "−½ Σ (1 + log σ² − μ² − σ²)  (K.1)", kl_standard_normal, {"mean": "g μ", "log_var": "½ g (σ² − 1) (K.2)"}),
    Link("loss", "reconstruction + KL  (M.4)", negative_elbo, {"reconstruction": "g", "kl": "g"}),
)


@dataclass(frozen=True)
class Gradient:
    """∂loss/∂ one entry of one quantity: from the backward pass, link by link and in total, and by finite differences."""

    name: str
    index: tuple[int, ...]
    value: float
    through: dict[str, float]  # the contribution of each link that uses the quantity; the gradient is their sum
    gradient: float
    slope: float  # by finite differences

    @property
    def after(self) -> float:
        """The value after one step of gradient descent."""
        return self.value - LEARNING_RATE * self.gradient


@dataclass(frozen=True)
class Trace:
    """The step: the values of the forward pass by name, and the gradients in the order in which they are found."""

    values: Values
    gradients: tuple[Gradient, ...]
    parameters: tuple[str, ...]


def trace() -> Trace:
    """Return the step for the weights of ``tiny_vae()``."""
    parameters = {name: array.copy() for name, array in tiny_vae().parameters_.state().items()}
    values = run_forward({name: np.array(array) for name, array in EXAMPLE.items()} | parameters)
    gradients = []
    for name, parts in run_backward(values).items():
        for index, value in np.ndenumerate(values[name]):
            entry = {link: float(part[index]) for link, part in parts.items()}
            gradients.append(Gradient(name, index, float(value), entry, sum(entry.values()), slope(values, name, index)))
    return Trace(values, tuple(gradients), tuple(parameters))


def tiny_vae() -> VAE:
    """Return the untrained VAE, its weights rounded to two decimals, so that the step can be checked on paper."""
    training: Any = {"optimizer": "sgd", "learning_rate": LEARNING_RATE, "batch_size": 1}
    model = VAE(latent_dim=1, hidden_dims=(2,), activation="tanh", dtype="float64", device="cpu", **training)
    model._build(2)
    values = model.parameters_.values
    values[...] = np.random.default_rng(0).uniform(-1, 1, values.shape).round(2)
    return model


def run_forward(values: Values, held: str = "") -> Values:
    """Return ``values`` with all quantities recomputed, except the one that is ``held``."""
    values = dict(values)
    for link in FORWARD:
        if link.name != held:
            values[link.name] = np.asarray(link.function(*(Tensor(values[name]) for name in link.rules)).data)
    return values


def run_backward(values: Values) -> dict[str, dict[str, np.ndarray]]:
    """Return quantity → link that uses it → the contribution of that link's backward; the gradient is the sum.

    A quantity comes after all those from which its gradient is computed.
    """
    through: dict[str, dict[str, np.ndarray]] = {"loss": {"loss": np.ones(())}}
    for link in reversed(FORWARD):
        through[link.name] = through.pop(link.name)  # it is complete now
        leaves = {name: Tensor(values[name], requires_grad=name not in EXAMPLE) for name in link.rules}
        g = sum(through[link.name].values())
        backward(link.function(*leaves.values()), np.asarray(g))
        for name, leaf in leaves.items():
            if leaf.requires_grad:
                through.setdefault(name, {})[link.name] = np.asarray(leaf.grad)
    return through


def slope(values: Values, name: str, index: tuple[int, ...]) -> float:
    """Return ∂loss/∂ one entry by finite differences: change it, hold it, and recompute everything after it."""

    def loss(step: float) -> float:
        moved = np.array(values[name])
        moved[index] += step
        return float(run_forward(values | {name: moved}, held=name)["loss"])

    return central_difference(loss, STEP)[0]


# As text ------------------------------------------------------------------------------------------------------------------------


def tables(it: Trace) -> Iterator[tuple[str, Iterator[tuple[str, ...]], tuple[str, ...]]]:
    """Yield the trace as tables: title, rows and header of each."""
    yield "Forward, from x to the loss", _forward_rows(it), ("quantity", "is", "value")
    title = "Backward, from the loss to x; g is the gradient of the link's own result, found further up"
    yield title, _backward_rows(it), ("∂loss/∂", "entry", "link: its rule", "backward", "finite difference")
    title = f"One step of gradient descent: parameter − {LEARNING_RATE:g} · gradient"
    yield title, _update_rows(it), ("parameter", "entry", "before", "gradient", "after")


def _forward_rows(it: Trace) -> Iterator[tuple[str, ...]]:
    equations = dict.fromkeys(EXAMPLE, "given") | dict.fromkeys(it.parameters, "parameter")
    equations |= {link.name: link.equation for link in FORWARD}
    for name, equation in equations.items():
        yield name, equation, "  ".join(f"{value:.6g}" for value in it.values[name].flat)


def _backward_rows(it: Trace) -> Iterator[tuple[str, ...]]:
    for row in it.gradients:
        rules = {link.name: link.rules.get(row.name, "1") for link in FORWARD if link.name in row.through}
        parts = [f"{name}: {rule}" + f" = {row.through[name]:.6f}" * (len(rules) > 1) for name, rule in rules.items()]
        yield row.name, _entry(row), " + ".join(parts), f"{row.gradient:.9f}", f"{row.slope:.9f}"


def _update_rows(it: Trace) -> Iterator[tuple[str, ...]]:
    for row in it.gradients:
        if row.name in it.parameters:
            yield row.name, _entry(row), f"{row.value:.6f}", f"{row.gradient:.6f}", f"{row.after:.6f}"


def _entry(row: Gradient) -> str:
    return ", ".join(map(str, row.index))
