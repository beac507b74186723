"""The contractive autoencoder (Rifai et al. 2011), with the exact Jacobian of an encoder of any depth and activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minivae.autodiff import Tensor
from minivae.backend import Array, array_module
from minivae.checks import check_real, reject
from minivae.models.autoencoder import Autoencoder
from minivae.nn import ACTIVATIONS, Dense
from minivae.op import Op
from minivae.ops import dense, elu, exp, identity, leaky_relu, neg, relu, reshape, sigmoid, softplus, square, sum_, tanh

# The slope of each activation at its argument, made of ops, so that the tape can differentiate the slope in turn.
# A rectifier's slope is piecewise constant, so it is a plain array, through which no gradient flows.
SLOPES: dict[Op, Callable[[Tensor], Tensor | Array | float]] = {
    identity: lambda a: 1.0,
    relu: lambda a: (a.data > 0).astype(a.dtype),
    leaky_relu: lambda a: 0.01 + 0.99 * (a.data > 0).astype(a.dtype),
    elu: lambda a: exp(neg(relu(neg(a)))),  # e^min(a, 0)
    tanh: lambda a: 1.0 - square(tanh(a)),
    sigmoid: lambda a: sigmoid(a) * sigmoid(neg(a)),
    softplus: sigmoid,
}


def squared_jacobian_norm(layers: Sequence[Dense], activations: Sequence[Op], x: Array) -> Tensor:
    """Return ‖∂h/∂x‖² = Σ_jk (∂h_j/∂x_k)² of each row of x (n, d): (n,).

    (A.5)  λ Σ_j ‖∇_x h_j‖² = λ ‖∂h/∂x‖²,   here without the strength λ, for a code h = h_L of L layers
           a_l = h_{l−1} W_l + b_l,   h_l = φ_l(a_l),   h_0 = x
           ∂h_L/∂x = diag φ_L'(a_L) W_Lᵀ · diag φ_{L−1}'(a_{L−1}) W_{L−1}ᵀ · … · diag φ_1'(a_1) W_1ᵀ

    Why: the chain rule, one factor per layer.  The product is formed from the left: its k rows, one for each entry of the code, are
    fewer than its d columns.  For one sigmoid layer it is Rifai's Σ_j [h_j (1 − h_j)]² Σ_k W_kj².  The gradient of the norm needs
    the second derivatives of the φ; the tape finds them, since the slopes are made of ops.

    ``layers`` and ``activations``, one for each layer, in order.
    """
    n, k = len(x), layers[-1].bias.shape[0]
    hidden: Array | Tensor = x
    slopes = []
    for layer, activation in zip(layers, activations):
        a = layer(hidden)
        hidden = activation(a)
        slopes.append(SLOPES[activation](a))
    first_row_of_each = array_module(x).eye(k, dtype=x.dtype)
    rows: Array | Tensor = first_row_of_each[None].repeat(n, axis=0)  # (n, k, k), and then (n, k, width of the layer below)
    for layer, slope in zip(reversed(layers), reversed(slopes)):
        if not isinstance(slope, float):
            rows = rows * slope[:, None, :]
        flat = reshape(rows, shape=(n * k, rows.shape[-1]))
        rows = reshape(dense(flat, layer.weight, transpose=not layer.transpose), shape=(n, k, -1))
    return sum_(square(rows), axis=(1, 2))


@dataclass(kw_only=True, eq=False)
class ContractiveAutoencoder(Autoencoder):
    """Autoencoder whose code changes little when x does.

    (A.5)  loss = −log p(x|h) + λ Σ_j ‖∇_x h_j‖²              the squared Frobenius norm of the encoder's Jacobian, exactly

    A network could lower the penalty simply by making the code small and magnifying it again in the decoder.  Tied weights, or a
    code activation that saturates, prevent this.

    Parameters
    ----------
    contraction : the strength λ.

    All other parameters are those of ``Autoencoder``.
    """

    code_activation: str = "sigmoid"
    contraction: float = 0.1

    def check_settings(self) -> None:
        super().check_settings()
        check_real("contraction", self.contraction, 0)
        for setting in ("activation", "code_activation"):
            name = getattr(self, setting)
            if ACTIVATIONS[name] not in SLOPES:
                reject(setting, "an activation whose slope is known", repr(name), "add it to minivae.models.contractive.SLOPES")

    def penalties(self, x: Array, outputs: Tensor, code: Tensor) -> dict[str, Tensor]:
        encoder = self.encoder_
        activations = [encoder.activation] * (len(encoder.layers) - 1) + [ACTIVATIONS[self.code_activation]]
        contraction = squared_jacobian_norm(encoder.layers, activations, x)  # (A.5)
        return super().penalties(x, outputs, code) | {"contraction": contraction}

    def strengths(self) -> dict[str, float]:
        return super().strengths() | {"contraction": self.contraction}
