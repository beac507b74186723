"""Every differentiable operation: forward, backward and derivation side by side, one file per concept."""

from minivae.op import Op
from minivae.ops.activations import elu, identity, leaky_relu, relu, sigmoid, softplus, tanh
from minivae.ops.arithmetic import add, div, exp, log, mul, neg, square, sub
from minivae.ops.categorical import gumbel_softmax, kl_uniform
from minivae.ops.dense import dense
from minivae.ops.flow import planar, planar_log_det
from minivae.ops.kl import kl_normal, kl_standard_normal
from minivae.ops.likelihood import bernoulli_nll, gaussian_nll
from minivae.ops.matching import covariance, mmd
from minivae.ops.mixture import log_mixture
from minivae.ops.penalty import absolute, quantize, scale_gradient, sparsity_kl, straight_through
from minivae.ops.reduce import logsumexp, mean, sum_
from minivae.ops.sampling import reparameterize, reparameterize_variance
from minivae.ops.shape import concat, repeat, reshape, slice_

ALL_OPS: dict[str, Op] = {
    op.name: op
    for op in (
        *(dense, identity, relu, leaky_relu, elu, tanh, sigmoid, softplus),
        *(add, sub, mul, div, neg, exp, log, square),
        *(sum_, mean, logsumexp, concat, slice_, reshape, repeat),
        *(reparameterize, reparameterize_variance, kl_standard_normal, kl_normal, bernoulli_nll, gaussian_nll),
        *(log_mixture, mmd, covariance),
        *(absolute, sparsity_kl),
        *(planar, planar_log_det),
        *(gumbel_softmax, kl_uniform),
    )
}

# Their backward is on purpose not the derivative of their forward (their docstrings say why), so finite differences must disagree.
SURROGATE_GRADIENTS: dict[str, Op] = {op.name: op for op in (quantize, scale_gradient, straight_through)}

__all__ = [
    "ALL_OPS",
    "SURROGATE_GRADIENTS",
    "absolute",
    "add",
    "bernoulli_nll",
    "concat",
    "covariance",
    "dense",
    "div",
    "elu",
    "exp",
    "gaussian_nll",
    "gumbel_softmax",
    "identity",
    "kl_normal",
    "kl_standard_normal",
    "kl_uniform",
    "leaky_relu",
    "log",
    "log_mixture",
    "logsumexp",
    "mean",
    "mmd",
    "mul",
    "neg",
    "quantize",
    "relu",
    "reparameterize",
    "reparameterize_variance",
    "repeat",
    "reshape",
    "scale_gradient",
    "sigmoid",
    "slice_",
    "softplus",
    "sparsity_kl",
    "square",
    "straight_through",
    "sub",
    "sum_",
    "tanh",
]
