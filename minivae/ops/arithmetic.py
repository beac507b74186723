"""Elementwise arithmetic with broadcasting.  Every argument may be an array or a Python number."""

from __future__ import annotations

from minivae.autodiff import Tensor
from minivae.op import Op
from minivae.ops.broadcast import shape_of, unbroadcast


def add_forward(xp, x, y):
    """Sum of two arrays.

    out = x + y            ∂out/∂x = 1        ∂out/∂y = 1

    Why: the result changes by as much as either argument does, so both receive the cotangent unchanged.
    Shapes: any two that broadcast; each gradient is summed back to its argument's shape.
    Saved: the two shapes.
    Source: the sum rule.
    """
    return x + y, (shape_of(x), shape_of(y))


def add_backward(xp, saved, g, needs):
    return tuple(unbroadcast(g, shape) if need else None for shape, need in zip(saved, needs, strict=True))


def sub_forward(xp, x, y):
    """Difference of two arrays.

    out = x − y            ∂out/∂x = 1        ∂out/∂y = −1

    Why: as the sum of x and −y.
    Shapes: any two that broadcast.  Saved: the two shapes.
    Source: the sum rule.
    """
    return x - y, (shape_of(x), shape_of(y))


def sub_backward(xp, saved, g, needs):
    x_shape, y_shape = saved
    return unbroadcast(g, x_shape) if needs[0] else None, unbroadcast(-g, y_shape) if needs[1] else None


def mul_forward(xp, x, y):
    """Elementwise product.

    out = x y              ∂out/∂x = y        ∂out/∂y = x

    Why: (x + dx)(y + dy) = x y + y dx + x dy + dx dy, and the last term is of second order.
    Shapes: any two that broadcast.  Saved: both arguments.
    Source: the product rule.
    """
    return x * y, (x, y)


def mul_backward(xp, saved, g, needs):
    x, y = saved
    return (unbroadcast(g * y, shape_of(x)) if needs[0] else None, unbroadcast(g * x, shape_of(y)) if needs[1] else None)


def div_forward(xp, x, y):
    """Elementwise quotient.

    out = x / y            ∂out/∂x = 1 / y    ∂out/∂y = −x / y² = −out / y

    Why: x = out · y, so dx = y d(out) + out dy; solve for d(out).
    Shapes: any two that broadcast.  Saved: the quotient, y, and the shape of x.
    Numerics: −out / y never squares y, so it does not overflow before the result does.
    Errors: none; a zero divisor gives ±inf or NaN, as IEEE 754 prescribes.
    Source: the quotient rule.
    """
    out = x / y
    return out, (out, y, shape_of(x))


def div_backward(xp, saved, g, needs):
    out, y, x_shape = saved
    dx = g / y
    return (unbroadcast(dx, x_shape) if needs[0] else None, unbroadcast(-dx * out, shape_of(y)) if needs[1] else None)


def neg_forward(xp, x):
    """Change of sign.

    out = −x               ∂out/∂x = −1

    Why: the product rule with the constant −1.  Shapes: any.  Saved: nothing.
    Source: the product rule.
    """
    return -x, ()


def neg_backward(xp, saved, g, needs):
    return (-g,)


def exp_forward(xp, x):
    """Exponential.

    out = eˣ               ∂out/∂x = eˣ = out

    Why: the exponential is its own derivative.
    Shapes: any.  Saved: the result, which is the derivative too.
    Numerics: overflows to inf above 88.7 in float32 and 709.7 in float64, underflows to 0 below −103.9 and −745.1.
    Source: definition of e.
    """
    out = xp.exp(x)
    return out, (out,)


def exp_backward(xp, saved, g, needs):
    (out,) = saved
    return (g * out,)


def log_forward(xp, x):
    """Natural logarithm.

    out = log x            ∂out/∂x = 1 / x

    Why: x = exp(out), so dx = exp(out) d(out) = x d(out).
    Shapes: any.  Saved: x.  Numerics: the domain is x > 0; log 0 = −inf and log of a negative number is NaN.
    Source: the derivative of an inverse function.
    """
    return xp.log(x), (x,)


def log_backward(xp, saved, g, needs):
    (x,) = saved
    return (g / x,)


def square_forward(xp, x):
    """Elementwise square.

    out = x²               ∂out/∂x = 2 x

    Why: the product rule with both factors the same.  Shapes: any.  Saved: x.
    Source: the product rule.
    """
    return x * x, (x,)


def square_backward(xp, saved, g, needs):
    (x,) = saved
    return (2 * g * x,)


add = Op("add", add_forward, add_backward, args=("x", "y"))
sub = Op("sub", sub_forward, sub_backward, args=("x", "y"))
mul = Op("mul", mul_forward, mul_backward, args=("x", "y"))
div = Op("div", div_forward, div_backward, args=("x", "y"))
neg = Op("neg", neg_forward, neg_backward, args=("x",))
exp = Op("exp", exp_forward, exp_backward, args=("x",))
log = Op("log", log_forward, log_backward, args=("x",))
square = Op("square", square_forward, square_backward, args=("x",))

# The operators +, −, ·, / between tensors are these ops.
Tensor.__add__ = lambda x, y: add(x, y)
Tensor.__radd__ = lambda x, y: add(y, x)
Tensor.__sub__ = lambda x, y: sub(x, y)
Tensor.__rsub__ = lambda x, y: sub(y, x)
Tensor.__mul__ = lambda x, y: mul(x, y)
Tensor.__rmul__ = lambda x, y: mul(y, x)
Tensor.__truediv__ = lambda x, y: div(x, y)
Tensor.__rtruediv__ = lambda x, y: div(y, x)
Tensor.__neg__ = lambda x: neg(x)
