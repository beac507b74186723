"""Every op and every model once more, in PyTorch: written from the definitions, differentiated by PyTorch's own tape.

``OPS`` has a function of tensors for each op, ``LOSSES`` one of a model's settings, weights, data and noise for each model.  Where
PyTorch has the thing by name, its own is taken (``functional``, ``distributions``), so that nothing here repeats our formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence
from torch.nn import functional

# -- ops ------------------------------------------------------------------------------------------------------------------


def gaussian(mean: Tensor, log_var: Tensor) -> Normal:
    return Normal(*torch.broadcast_tensors(mean, (0.5 * log_var).exp()))


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None, transpose: bool = False) -> Tensor:
    return functional.linear(x, weight if transpose else weight.T, bias)


def reduced(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Lift a reduction with PyTorch's names for its options."""
    return lambda x, axis=None, keepdims=False: function(x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)


def take(x: Tensor, index: tuple[Any, ...]) -> Tensor:
    """Index as NumPy does, also backwards, which PyTorch's slices refuse."""
    places = torch.from_numpy(np.ascontiguousarray(np.arange(x.numel()).reshape(x.shape)[index]))
    return x.reshape(-1)[places]


def bernoulli_nll(x: Tensor, logits: Tensor) -> Tensor:
    x, logits = torch.broadcast_tensors(x, logits)
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def sparsity_kl(logits: Tensor, target: float = 0.05) -> Tensor:
    rate, target = torch.sigmoid(logits).mean(0), torch.tensor(target, dtype=logits.dtype)
    return kl_divergence(torch.distributions.Bernoulli(target), torch.distributions.Bernoulli(rate)).sum()


def log_mixture(z: Tensor, mean: Tensor, log_var: Tensor, log_weights: Tensor) -> Tensor:
    """PyTorch's mixtures have weights that add up to 1; ours are theirs times that sum."""
    log_weights = log_weights.expand(len(z), len(mean))
    columns = log_weights.reshape(len(z), *(1,) * (z.ndim - 2), len(mean)).expand(*z.shape[:-1], len(mean))
    parts = Independent(gaussian(mean.movedim(0, -2), log_var.movedim(0, -2)), 1)
    mixture = MixtureSameFamily(Categorical(logits=columns), parts.expand(columns.shape), validate_args=False)
    return mixture.log_prob(z) + columns.logsumexp(-1)


def mmd(x: Tensor, y: Tensor, kernel: str = "gaussian", scale: float = 1.0) -> Tensor:
    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        u = (a[:, None] - b).square().sum(-1) / (2 * scale)
        k = torch.exp(-u) if kernel == "gaussian" else 1 / (1 + u)
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1)) if a is b else k.mean()

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def planar_log_det(z: Tensor, u: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """By the determinant of the whole Jacobian, for each point."""
    slope = ((z * w).sum(-1) + b).cosh() ** -2
    outer = u[..., :, None] * w[..., None, :]
    return torch.linalg.slogdet(torch.eye(z.shape[-1], dtype=z.dtype) + slope[..., None, None] * outer)[1]


def quantize(x: Tensor, levels: int) -> Tensor:
    grid = torch.linspace(-1, 1, levels, dtype=x.dtype)
    return x + (grid[(x[..., None] - grid).abs().argmin(-1)] - x).detach()


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    return x + (value - x).detach()


def kl_uniform(logits: Tensor) -> Tensor:
    return kl_divergence(Categorical(logits=logits), Categorical(logits=torch.zeros_like(logits)))


def scale_gradient(x: Tensor, scale: Tensor) -> Tensor:
    out = x + 0
    out.register_hook(lambda g: g * scale)
    return out


OPS: dict[str, Callable[..., Tensor]] = {
    "dense": dense,
    "identity": lambda x: x + 0,
    "relu": functional.relu,
    "leaky_relu": lambda x, slope=0.01: functional.leaky_relu(x, slope),
    "elu": lambda x, alpha=1.0: functional.elu(x, alpha),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: functional.softplus(x, threshold=1e9),  # else it is the identity from 20 on
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "exp": torch.exp,
    "log": torch.log,
    "square": torch.square,
    "sum": reduced(torch.sum),
    "mean": reduced(torch.mean),
    "logsumexp": lambda x, axis=-1, keepdims=False: torch.logsumexp(x, axis, keepdims),
    "concat": lambda *parts, axis=-1: torch.cat(parts, axis),
    "slice": take,
    "reshape": lambda x, shape: x.reshape(shape),
    "repeat": lambda x, repeats, axis=0: torch.repeat_interleave(x, repeats, axis),
    "reparameterize": lambda mean, log_var, noise: mean + (0.5 * log_var).exp() * noise,
    "reparameterize_variance": lambda mean, raw, noise: mean + functional.softplus(raw, threshold=1e9).sqrt() * noise,
    "kl_standard_normal": lambda mean, log_var: kl_divergence(gaussian(mean, log_var), Normal(0.0, 1.0)).sum(-1),
    "kl_normal": lambda mean, log_var, m, v: kl_divergence(gaussian(mean, log_var), gaussian(m, v)).sum(-1),
    "bernoulli_nll": bernoulli_nll,
    "gaussian_nll": lambda x, mean, log_var: -gaussian(mean, log_var).log_prob(x).sum(-1),
    "planar": lambda z, u, w, b: z + u * torch.tanh((z * w).sum(-1) + b)[..., None],
    "planar_log_det": planar_log_det,
    "log_mixture": log_mixture,
    "mmd": mmd,
    "covariance": lambda x: torch.cov(x.T, correction=0),
    "gumbel_softmax": lambda logits, noise, temperature=1.0: ((logits + noise) / temperature).softmax(-1),
    "kl_uniform": kl_uniform,
    "absolute": torch.abs,
    "sparsity_kl": sparsity_kl,
    "quantize": quantize,
    "scale_gradient": scale_gradient,
    "straight_through": straight_through,
}

# -- models ---------------------------------------------------------------------------------------------------------------

State = dict[str, Tensor]


class Case(SimpleNamespace):
    """A model's settings ``m``, its weights ``p``, a batch ``x``, what goes with it ``y``, and a generator ``rng`` of its noise."""

    def network(self, name: str, x: Tensor) -> Tensor:
        depth = sum(key.startswith(f"{name}.") and key.endswith(".bias") for key in self.p)
        for i in range(depth):
            weight = self.p.get(f"{name}.{i}.weight")
            if weight is None:  # tied: the encoder's, from its end, transposed
                weight = self.p[f"encoder.{depth - 1 - i}.weight"].T
            x = x @ weight + self.p[f"{name}.{i}.bias"]
            x = OPS[self.m.activation](x) if i < depth - 1 else x
        return x

    def beside(self, x: Tensor) -> Tensor:
        """Put the condition beside each row, also of each sample."""
        return x if self.y is None else torch.cat([x, self.y.expand(*x.shape[:-1], -1)], -1)

    def nll(self, outputs: Tensor, x: Tensor | None = None) -> Tensor:
        x = self.x if x is None else x
        if self.m.likelihood == "bernoulli":
            return bernoulli_nll(x, outputs)
        log_var = self.p.get("likelihood.log_var", torch.tensor(math.log(self.m.variance), dtype=x.dtype))
        if self.m.likelihood == "gaussian":
            outputs, raw = outputs.chunk(2, -1)
            log_var = (self.m.variance_floor + raw.exp()).log()  # floor + softplus(raw − floor), in logarithms
        return -gaussian(outputs, log_var).log_prob(x).sum(-1)

    def normal(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.rng.standard_normal(shape))

    def heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and log-variance of the posterior, and what else the encoder puts out."""
        k = self.m.latent_dim
        mean, raw, rest = self.network("encoder", self.beside(self.x)).tensor_split((k, 2 * k), -1)
        return mean, raw if self.m.posterior_variance == "exp" else OPS["softplus"](raw).log(), rest

    def posterior(self) -> tuple[Tensor, Tensor]:
        return self.heads()[:2]

    def sampled(self, *samples: int) -> tuple[Normal, Tensor, Tensor]:
        """Return q(z|x), z of the shape (*samples, n, k), and −log p(x|z)."""
        mean, log_var = self.posterior()
        z = mean + (0.5 * log_var).exp() * self.normal(*samples, *mean.shape)
        return gaussian(mean, log_var), z, self.nll(self.network("decoder", self.beside(z)))


PRIOR = Normal(0.0, 1.0)


def kl(q: Normal) -> Tensor:
    return kl_divergence(q, PRIOR).sum(-1)


def autoencoder(c: Case) -> Tensor:
    m, x = c.m, c.x
    seen = x
    if hasattr(m, "corruption") and m.corruption == "gaussian":
        seen = x + m.amount * c.normal(*x.shape)
    elif hasattr(m, "corruption"):
        u = torch.from_numpy(c.rng.random(tuple(x.shape)))
        seen = torch.where(u < m.amount, (u < m.amount / 2) * (m.corruption == "salt_and_pepper"), x)
    seen.requires_grad_()
    logits = c.network("encoder", seen)
    code = OPS[m.code_activation](logits)
    slopes = [torch.autograd.grad(column.sum(), seen, create_graph=True)[0] for column in code.unbind(-1)]  # Jacobian, row by row
    code = quantize(code, m.levels) if hasattr(m, "levels") else code
    loss = c.nll(c.network("decoder", code)).mean()
    weights = torch.cat([w.reshape(-1) for name, w in c.p.items() if name.endswith("weight")])
    loss = loss + m.l1 * weights.abs().sum() + m.l2 * weights.square().sum()
    if hasattr(m, "sparsity"):
        loss = loss + m.sparsity * (code.abs().sum(-1).mean() if m.penalty == "l1" else sparsity_kl(logits, m.target))
    if hasattr(m, "contraction"):
        loss = loss + m.contraction * sum(slope.square().sum(-1).mean() for slope in slopes)
    return loss


def vae(c: Case) -> Tensor:
    m = c.m
    q, _, nll = c.sampled(*(m.n_samples,) if m.n_samples > 1 else ())
    if m.capacity:
        return nll.mean() + m.beta * (kl(q).mean() - m.capacity).abs()
    if m.free_bits:
        return nll.mean() + m.beta * kl_divergence(q, PRIOR).mean(0).clamp(min=m.free_bits).sum()
    return (nll + m.beta * kl(q)).mean()


def flow_vae(c: Case) -> Tensor:
    m, k = c.m, c.m.latent_dim
    *q, rest = c.heads()
    q = gaussian(*q)
    z = start = q.loc + q.scale * c.normal(m.n_samples, *q.loc.shape)
    growth = torch.zeros(())
    for step in rest.split(2 * k + 1, 1):
        u, w, b = step.split((k, k, 1), 1)
        inner = (u * w).sum(-1, keepdim=True)
        u = u + (OPS["softplus"](inner + math.log(math.e - 1)) - 1 - inner) * w / (w.square().sum(-1, keepdim=True) + 1e-6)
        growth = growth + planar_log_det(z, u, w, b[:, 0])
        z = OPS["planar"](z, u, w, b[:, 0])
    bend = (PRIOR.log_prob(start) - PRIOR.log_prob(z)).sum(-1) - growth
    return (c.nll(c.network("decoder", c.beside(z))).mean(0) + m.beta * (kl(q) + bend.mean(0))).mean()


def categorical_vae(c: Case) -> Tensor:
    m, shape = c.m, (len(c.x), c.m.latent_dim, c.m.n_categories)
    logits = c.network("encoder", c.x).reshape(shape)
    gumbel = -(-torch.from_numpy(c.rng.random((m.n_samples, shape[0], shape[1] * shape[2]))).log()).log()
    perturbed = logits + gumbel.reshape(m.n_samples, *shape)
    q, drawn = Categorical(logits=logits), perturbed.argmax(-1)
    hard = functional.one_hot(drawn, m.n_categories).to(c.x.dtype)
    relaxed = (perturbed / (m.temperature if m.annealing_epochs else m.final_temperature)).softmax(-1)
    z = {"gumbel_softmax": relaxed, "straight_through": straight_through(relaxed, hard), "score_function": hard}[m.gradient]
    loss = nll = c.nll(c.network("decoder", z.flatten(-2)))
    if m.gradient == "score_function":
        f = nll.detach()
        baseline = (f.sum(0) - f) / (m.n_samples - 1) if m.n_samples > 1 else torch.zeros(())
        surrogate = (f - baseline) * q.log_prob(drawn).sum(-1)
        loss = nll + surrogate - surrogate.detach()
    return (loss.mean(0) + m.beta * kl_uniform(logits).sum(-1)).mean()


def vq_vae(c: Case) -> Tensor:
    """Van den Oord et al. 2017, equation 3; with moving averages the codebook has no gradient."""
    m, e = c.m, c.p["codebook.vectors"]
    z = OPS[m.code_activation](c.network("encoder", c.x))
    nearest = torch.cdist(z.reshape(-1, m.code_dim), e).argmin(-1)
    chosen = e[nearest].reshape(z.shape)
    loss = c.nll(c.network("decoder", straight_through(z, chosen))) + m.commitment * (z - chosen.detach()).square().sum(-1)
    if m.codebook == "gradient":
        loss = loss + (z.detach() - chosen).square().sum(-1)
    weights = torch.cat([w.reshape(-1) for name, w in c.p.items() if name.endswith("weight")])
    nothing = 0 * (e.sum() + c.p["codebook.counts"].sum())
    return loss.mean() + m.l1 * weights.abs().sum() + m.l2 * weights.square().sum() + nothing


def learned_prior_vae(c: Case) -> Tensor:
    q, z, nll = c.sampled(*(c.m.n_samples,) if c.m.n_samples > 1 else ())
    if c.m.prior == "vamp":
        means, log_vars = Case(**vars(c) | {"x": c.p["prior.pseudo_inputs"]}).posterior()
    else:
        means, log_vars = c.p["prior.means"], c.p["prior.log_vars"]
    mixture = MixtureSameFamily(Categorical(torch.ones(len(means), dtype=z.dtype)), Independent(gaussian(means, log_vars), 1))
    return (nll + c.m.beta * (q.log_prob(z).sum(-1) - mixture.log_prob(z))).mean()


def second_layer(c: Case, z: Tensor) -> Tensor:
    """Return log p(z₁|z₂) + log p(z₂) − log q(z₂|z₁)."""
    mean, log_var = c.network("prior.encoder", z).chunk(2, -1)
    q = gaussian(mean, log_var)
    second = q.loc + q.scale * c.normal(*q.loc.shape)
    p = gaussian(*c.network("prior.decoder", second).chunk(2, -1))
    return p.log_prob(z).sum(-1) + PRIOR.log_prob(second).sum(-1) - q.log_prob(second).sum(-1)


def two_layer_vae(c: Case) -> Tensor:
    q, z, nll = c.sampled(*(c.m.n_samples,) if c.m.n_samples > 1 else ())
    return (nll + c.m.beta * (q.log_prob(z).sum(-1) - second_layer(c, z))).mean()


def two_layer_iwae(c: Case) -> Tensor:
    q, z, nll = c.sampled(c.m.n_importance_samples)
    log_w = second_layer(c, z) - nll - q.log_prob(z).sum(-1)
    return -(log_w.logsumexp(0) - math.log(len(log_w))).mean()


def iwae(c: Case) -> Tensor:
    """Tucker et al.: in log q the posterior's numbers are constants, and what reaches z is scaled by its weight once more."""
    q, z, nll = c.sampled(c.m.n_importance_samples)
    doubly = c.m.gradient == "doubly_reparameterized"
    q = Normal(q.loc.detach(), q.scale.detach()) if doubly else q
    log_w = PRIOR.log_prob(z).sum(-1) - nll - q.log_prob(z).sum(-1)
    if doubly:
        share = log_w.detach().softmax(0)[..., None]
        z.register_hook(lambda g: g * share)
    return -(log_w.logsumexp(0) - math.log(len(log_w))).mean()


def beta_tc(c: Case) -> Tensor:
    """Chen et al. 2018: all terms but the reconstruction by log densities of the samples, and the KL exactly."""
    m, (q, z, nll) = c.m, c.sampled()
    n, total = len(z), m.n_data_
    weights = torch.full((n, n), 1 / (n * total), dtype=z.dtype)
    if m.estimator == "stratified":
        weights[...] = 1 / total if n == total else math.nan  # the test's batch is all there is
    each = q.log_prob(z[:, None]) + weights.log()[..., None]  # (n, n', k)
    joint = (q.log_prob(z[:, None]).sum(-1) + weights.log()).logsumexp(1)
    product, prior = each.logsumexp(1).sum(-1), PRIOR.log_prob(z).sum(-1)
    index_code = kl(q) - (joint - prior)
    return (nll + m.alpha * index_code + m.beta * (joint - product) + m.gamma * (product - prior)).mean()


def info_vae(c: Case) -> Tensor:
    q, z, nll = c.sampled()
    distance = mmd(z, c.normal(*z.shape), c.m.kernel, c.m.latent_dim)
    return (nll + c.m.kl_weight * kl(q)).mean() + c.m.mmd_weight * distance


def dip_vae(c: Case) -> Tensor:
    q, _, nll = c.sampled()
    moments = torch.cov(q.loc.T, correction=0)
    moments = moments + q.scale.square().mean(0).diag() if c.m.moments == "samples" else moments
    off, on = moments - moments.diagonal().diag(), moments.diagonal() - 1
    return (nll + kl(q)).mean() + c.m.off_diagonal * off.square().sum() + c.m.diagonal * on.square().sum()


def semi_supervised(c: Case) -> Tensor:
    """Kingma et al. 2014, equations 6 to 9, example by example: for every label that an example may have its bound."""
    m, x, classes = c.m, c.x, len(c.m.classes_)
    y = c.y[:, :classes]  # what stands beside it says how to average over part of the labelled examples: here are all of them
    known, noise = y.bool().any(-1), c.normal(classes, len(x), m.latent_dim)
    bounds = []
    for label in range(classes):
        given = Case(**vars(c) | {"y": torch.eye(classes, dtype=x.dtype)[label].expand(len(x), -1)})
        mean, log_var = given.posterior()
        z = mean + (0.5 * log_var).exp() * noise[label]
        nll = given.nll(given.network("decoder", given.beside(z)))
        bounds.append(nll + m.beta * kl(gaussian(mean, log_var)) + math.log(classes))
    each, guess = torch.stack(bounds, 1), Categorical(logits=c.network("classifier", x))
    labelled = (each * y).sum(-1)
    unlabelled = (guess.probs * each).sum(-1) - guess.entropy()
    classification = -guess.log_prob(y.argmax(-1))[known].sum() / max(1, int(known.sum()))
    return torch.where(known, labelled, unlabelled).mean() + m.classification_weight * classification


LOSSES: dict[str, Callable[[Case], Tensor]] = {
    **dict.fromkeys(("Autoencoder", "SparseAutoencoder", "DenoisingAutoencoder"), autoencoder),
    **dict.fromkeys(("ContractiveAutoencoder", "QuantizedAutoencoder"), autoencoder),
    **dict.fromkeys(("VAE", "ConditionalVAE"), vae),
    "VAEClassifier": lambda c: vae(Case(**vars(c) | {"y": None})),
    "IWAE": iwae,
    "FlowVAE": flow_vae,
    "CategoricalVAE": categorical_vae,
    "VQVAE": vq_vae,
    "LearnedPriorVAE": learned_prior_vae,
    "TwoLayerVAE": two_layer_vae,
    "TwoLayerIWAE": two_layer_iwae,
    "BetaTCVAE": beta_tc,
    "InfoVAE": info_vae,
    "DIPVAE": dip_vae,
    "SemiSupervisedVAE": semi_supervised,
}
