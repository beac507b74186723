"""The dense layer: the one op that is limited by arithmetic, not by memory."""

from __future__ import annotations

from minivae.checks import reject
from minivae.op import Op
from minivae.ops.broadcast import add_up

FEW_ROWS = 100


def dense_forward(xp, x, weight, bias=None, transpose=False):
    """Affine map of every row, y = x W + b, or y = x Wᵀ + b for tied weights (A.8).

    y_ij = Σ_k x_ik W_kj + b_j

    ∂L/∂x = g Wᵀ        ∂L/∂W = xᵀ g        ∂L/∂b = Σ_i g_i        with g = ∂L/∂y

    Why: dL = Σ_ij g_ij dy_ij.  Put in dy_ij = Σ_k (dx_ik W_kj + x_ik dW_kj) + db_j and collect what multiplies each
    differential: dx_ik has Σ_j g_ij W_kj = (g Wᵀ)_ik, dW_kj has Σ_i x_ik g_ij = (xᵀ g)_kj, db_j has Σ_i g_ij, the sum over the
    batch because one bias serves every row.  With Wᵀ in place of W the same lines give ∂L/∂x = g W and ∂L/∂W = gᵀ x.

    Shapes: x (n, d), weight (d, m) or (m, d) with ``transpose``, bias (m,), y (n, m).
    Saved: x, weight, and the flag.
    Numerics: three matrix products by BLAS; the bias is added in place to the product.
    Tuned: the gradient of the weight is written straight ``into`` the flat gradient vector, which saves a copy of each matrix.
    For few rows ∂L/∂x is computed as (W gᵀ)ᵀ.  It is the same product, but OpenBLAS then reads W in memory order, and for few rows
    reading W is most of the work: with AVX-512 it takes less than half the time at 20 rows and 784 × 400 weights
    (``benchmarks ops``).  For many rows the transposed layout of the result would slow the next op by more than that.
    Errors: InputError when x is not a matrix, the inner sizes differ, or the bias is not one number per unit.
    Source: the chain rule for a matrix product.
    """
    matrix = weight.T if transpose else weight
    if x.ndim != 2:
        reject("dense: x", "shape (n, d)", f"shape {x.shape}", "flatten leading axes with reshape")
    if matrix.ndim != 2 or x.shape[1] != matrix.shape[0]:
        reject("dense: weight", f"shape ({x.shape[1]}, m), one row per feature of x {x.shape}", f"shape {matrix.shape}")
    y = x @ matrix
    if bias is not None:
        if bias.shape != y.shape[1:]:
            reject("dense: bias", f"shape {y.shape[1:]}, one number per unit", f"shape {bias.shape}")
        y += bias
    return y, (x, weight, transpose)


def dense_backward(xp, saved, g, needs, into=(None, None, None)):
    x, weight, transpose = saved
    matrix = weight.T if transpose else weight
    dx = None
    if needs[0]:
        dx = (matrix @ g.T).T if len(g) < FEW_ROWS else g @ matrix.T
    dw = xp.matmul(*((g.T, x) if transpose else (x.T, g)), out=into[1]) if needs[1] else None
    db = add_up(g, 0) if len(needs) > 2 and needs[2] else None
    return (dx, dw, db)[: len(needs)]


dense = Op("dense", dense_forward, dense_backward, args=("x", "weight", "bias"), writes_into=True)
