"""Activation functions, elementwise.  None of them uses ``where``, which takes ten times as long as the arithmetic it saves."""

from __future__ import annotations

from minivae.checks import check_real
from minivae.op import Op


def identity_forward(xp, x):
    """The linear activation.

    out = x                ∂out/∂x = 1

    Why: the function changes nothing, so the cotangent passes unchanged.
    Shapes: any.  Saved: nothing.  The result is x itself, not a copy.
    Source: definition.
    """
    return x, ()


def identity_backward(xp, saved, g, needs):
    return (g,)


def relu_forward(xp, x):
    """Rectified linear unit.

    out = max(x, 0)        ∂out/∂x = 1 for x > 0, else 0

    Why: the function is x on one side and 0 on the other.  At the kink x = 0 any slope in [0, 1] is a subgradient; we take 0.
    Shapes: any.  Saved: the result, whose sign tells the side.
    Tuned: comparing with a row of zeros instead of the number 0 takes NumPy half to a third of the time.
    Source: Nair & Hinton 2010.
    """
    out = xp.maximum(x, xp.zeros(x.shape[-1:], dtype=x.dtype))
    return out, (out,)


def relu_backward(xp, saved, g, needs):
    (out,) = saved
    return (g * (out > 0),)


def leaky_relu_forward(xp, x, slope=0.01):
    """Rectified linear unit with a small slope a on the negative side.

    out = max(x, a x)      ∂out/∂x = 1 for x > 0, else a

    Why: with 0 ≤ a ≤ 1 the larger of x and a x is x exactly where x > 0.
    Shapes: any.  Saved: x and the slope.
    Errors: InputError unless slope is a number in [0, 1].
    Source: Maas, Hannun & Ng 2013.
    """
    slope = check_real("leaky_relu: slope", slope, 0, 1)
    return xp.maximum(x, slope * x), (x, slope)


def leaky_relu_backward(xp, saved, g, needs):
    x, slope = saved
    positive = x > 0
    return (g * positive + slope * g * ~positive,)


def elu_forward(xp, x, alpha=1.0):
    """Exponential linear unit.

    out = x for x > 0, else α (eˣ − 1)        ∂out/∂x = 1 for x > 0, else α eˣ

    Why: written as max(x, 0) + α (e^min(x, 0) − 1), of which one term vanishes on either side.
    Shapes: any.  Saved: x and α.
    Numerics: expm1 keeps full precision near 0; min(x, 0) keeps the exponential from overflowing on the unused side.
    Errors: InputError unless alpha is a positive number.
    Source: Clevert, Unterthiner & Hochreiter 2016.
    """
    alpha = check_real("elu: alpha", alpha, 0, open_low=True)
    return xp.maximum(x, 0) + alpha * xp.expm1(xp.minimum(x, 0)), (x, alpha)


def elu_backward(xp, saved, g, needs):
    x, alpha = saved
    positive = x > 0
    return (g * positive + alpha * g * xp.exp(xp.minimum(x, 0)) * ~positive,)


def tanh_forward(xp, x):
    """Hyperbolic tangent.

    out = tanh x           ∂out/∂x = 1 − tanh² x = 1 − out²

    Why: tanh = sinh/cosh; the quotient rule gives (cosh² − sinh²)/cosh² = 1 − tanh².
    Shapes: any.  Saved: the result.
    Numerics: (1 − out)(1 + out) instead of 1 − out², which would cancel twice where |out| is near 1.  There the slope still has
    the rounding error of the saved result: one unit in the last place of 1, not of the slope.
    Source: quotient rule.
    """
    out = xp.tanh(x)
    return out, (out,)


def tanh_backward(xp, saved, g, needs):
    (out,) = saved
    return (g * ((1 - out) * (1 + out)),)


def sigmoid_forward(xp, x):
    """Logistic sigmoid.

    out = 1 / (1 + e⁻ˣ)    ∂out/∂x = out (1 − out) = u / (1 + u)²   with u = e^−|x|

    Why: d(1 + e⁻ˣ)⁻¹ = e⁻ˣ (1 + e⁻ˣ)⁻² dx; multiplying by e²ˣ/e²ˣ shows the slope is the same at x and −x, so u serves both.
    Shapes: any.  Saved: u.
    Numerics: u ≤ 1 never overflows.  The value is 1/(1 + u) for x > 0 and u/(1 + u) else: the numerator is max(u, [x > 0]).
    Both keep full relative precision in the tails, where out (1 − out) and ½ + ½ tanh(½ x) cancel to zero.
    Source: Verhulst's logistic function.
    """
    u = xp.exp(-xp.abs(x))
    return xp.maximum(u, x > 0) / (1 + u), (u,)


def sigmoid_backward(xp, saved, g, needs):
    (u,) = saved
    return (g * (u / ((1 + u) * (1 + u))),)


def softplus_forward(xp, x):
    """Softplus, the smooth maximum of x and 0.

    out = log(1 + eˣ) = max(x, 0) + log(1 + u)   with u = e^−|x|        ∂out/∂x = sigmoid(x)

    Why: for x > 0 take eˣ out of the logarithm, log(1 + eˣ) = x + log(1 + e⁻ˣ); the slope is eˣ/(1 + eˣ).
    Shapes: any.  Saved: u and the side [x > 0].
    Numerics: both terms are non-negative, nothing cancels; log1p keeps the tail e⁻ˣ that log(1 + u) would round away.
    Source: Dugas et al. 2001.
    """
    u = xp.exp(-xp.abs(x))
    return xp.maximum(x, 0) + xp.log1p(u), (u, x > 0)


def softplus_backward(xp, saved, g, needs):
    u, positive = saved
    return (g * (xp.maximum(u, positive) / (1 + u)),)


identity = Op("identity", identity_forward, identity_backward, args=("x",))
relu = Op("relu", relu_forward, relu_backward, args=("x",))
leaky_relu = Op("leaky_relu", leaky_relu_forward, leaky_relu_backward, args=("x",))
elu = Op("elu", elu_forward, elu_backward, args=("x",))
tanh = Op("tanh", tanh_forward, tanh_backward, args=("x",))
sigmoid = Op("sigmoid", sigmoid_forward, sigmoid_backward, args=("x",))
softplus = Op("softplus", softplus_forward, softplus_backward, args=("x",))
