"""The twins of ``dense``, alone or with an activation whose slope can be computed from its result (``ops.layer``).

For a small product, one kernel computes the whole layer and a second one all of its gradients.  For a large one, cuBLAS computes
the product with bias and ReLU; tanh is one more kernel.
"""

from __future__ import annotations

from minivae import kernels
from minivae.kernels import cublas, library
from minivae.kernels.twin import Twin, dense_like, is_dense
from minivae.op import Op

ACTIVATIONS = ("identity", "relu", "tanh")  # in the order of their numbers in ``dense.cu``


def _layer(name: str, kind: int) -> Op:
    def forward(xp, x, weight, bias=None, transpose=False):
        n, m = len(x), weight.shape[0 if transpose else 1]
        small = bias is not None and not transpose and kernels.is_small(n, x.shape[1], m)
        if small:
            y = xp.empty((n, m), dtype=x.dtype)
            library(xp).by_tiles("layer", _tiles(n, m), x, weight, bias, y, n, m, x.shape[1], kind)
        else:
            y = cublas.cublas(xp).matmul(x, weight.T if transpose else weight, bias=bias, relu=ACTIVATIONS[kind] == "relu")
            if ACTIVATIONS[kind] == "tanh":
                library(xp).by_fours("tanh_forward", y.size, y, y, y.size)
        return y, (x, weight, transpose, y, small)

    def backward(xp, saved, g, needs, into=(None, None, None)):
        x, weight, transpose, y, small = saved
        g, (n, m), d = dense_like(xp, g, x), y.shape, x.shape[1]
        count, needs, into = len(needs), (*needs, False)[:3], (*into, None)[:3]
        small = small and needs[1] and needs[2]
        dx = xp.empty((n, d), dtype=g.dtype) if needs[0] and small else None
        dw = xp.empty(weight.shape, dtype=g.dtype) if needs[1] and into[1] is None else into[1]
        db = xp.empty(m, dtype=g.dtype) if into[2] is None else into[2]
        if small:
            if kind:
                g, outer = xp.empty_like(g), g
                library(xp).by_fours(f"{ACTIVATIONS[kind]}_backward", g.size, y, outer, g, g.size)
            tiles = _tiles(n, d) * bool(needs[0]) + _tiles(d + 1, m)
            outputs = (g if dx is None else dx, dw, db)
            library(xp).by_tiles("layer_backward", tiles, x, weight, g, *outputs, n, m, d, int(needs[0]))
            return dx, dw, db
        if needs[2] or kind:
            chunks = min(max(n // 512, 1), 32)
            arguments = (db, xp.empty(chunks * m), library(xp).tickets, n, m, chunks)
            blocks = -(-m // 32) * chunks
            if kind:
                g, outer = xp.empty_like(g), g
                library(xp).by_blocks("activation_backward_sum", blocks, y, outer, g, *arguments, kind)
            else:
                library(xp).by_blocks("column_sum", blocks, g, *arguments)
        product = cublas.cublas(xp).matmul
        dx = product(g, weight if transpose else weight.T) if needs[0] else None
        dw = product(*((g.T, x) if transpose else (x.T, g)), out=dw) if needs[1] else None
        return (dx, dw, db if needs[2] else None)[:count]

    return Op(name, forward, backward, ("x", "weight", "bias"), writes_into=True)


def _tiles(n: int, m: int) -> int:
    """Return how many tiles an (n, m) product has in ``product.cu``."""
    return -(-n // 16) * -(-m // 32)


def _layer_covers(xp, x, weight, bias=None, transpose=False):
    if not (is_dense(x) and is_dense(weight) and x.ndim == weight.ndim == 2):
        return False
    n_in, n_out = weight.shape[::-1] if transpose else weight.shape
    fits = x.shape[1] == n_in and (bias is None or (is_dense(bias) and bias.shape == (n_out,)))
    return fits and n_out <= 32 * kernels.MOST_STRIPS and len(x) * n_out < kernels.LARGEST and cublas.usable(xp)


LAYER_TWINS = [Twin(_layer(f"dense_{name}" if kind else "dense", kind), _layer_covers) for kind, name in enumerate(ACTIVATIONS)]
