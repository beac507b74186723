"""A card of a plain VAE repeated in PyTorch, with only the pixels from minivae: is a figure due to the protocol or to us?

Layers, their first weights, Adam, the schedule and the noise are PyTorch's own; the estimate of log p(x) is written out here.  That
of minivae is then made of the same parameters, so that the two estimators are compared on one model, image by image.
"""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import numpy as np

import minivae as mv
from benchmarks.papers.card import Card
from benchmarks.report import Table, machine, say
from minivae.backend import to_numpy

REPORTS = 10  # lines printed during training


def run(card: Card, folder: Path, *pixels: np.ndarray) -> None:
    """Train as the card says; print the test set's negative log-likelihood, of the last epoch and of the best, and write it down.

    ``pixels`` are the rows (n, d) to train, to validate and to test on, already binary.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    torch.set_num_threads(1)
    learned, held_out, scored = (torch.from_numpy(np.asarray(part, np.float32)) for part in pixels)
    features, k, batch = learned.shape[1], card.settings["latent_dim"], card.settings["batch_size"]
    sizes = (features, *card.settings["hidden_dims"])
    encoder = _mlp(torch, (*sizes, 2 * k))
    decoder = _mlp(torch, (k, *sizes[::-1]))
    both = torch.nn.ModuleList([encoder, decoder])
    optimizer = torch.optim.Adam(both.parameters(), lr=1.0, fused=True)

    def negative_elbo(x):
        mean, log_var = encoder(x).split(k, dim=1)
        logits = decoder(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
        nll = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
        return nll - 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)

    def negative_log_likelihood(x):
        mean, log_var = (half[:, None] for half in encoder(x).split(k, dim=1))
        noise = torch.randn(len(x), card.final_samples, k)
        z = mean + torch.exp(0.5 * log_var) * noise
        logits = decoder(z.flatten(0, 1)).view(len(x), card.final_samples, features)
        log_p_x = -functional.binary_cross_entropy_with_logits(logits, x[:, None].expand_as(logits), reduction="none").sum(2)
        log_ratio = -0.5 * (z**2).sum(2) + 0.5 * (log_var + noise**2).sum(2)  # log p(z) - log q(z|x)
        return math.log(card.final_samples) - torch.logsumexp(log_p_x + log_ratio, 1)

    table = Table("papers_in_torch", ("parameters", "estimate", "NLL", "± s.e.", "samples"), machine(), folder)

    def score(name):
        with torch.no_grad():
            theirs = torch.cat([negative_log_likelihood(x) for x in scored.split(50)]).numpy()
        ours = to_numpy(-_in_minivae(card, both, features).log_likelihood(scored.numpy(), n_samples=card.final_samples))
        for estimate, values in (("PyTorch", theirs), ("minivae", ours), ("minivae less PyTorch", ours - theirs)):
            error = float(values.std(ddof=1)) / math.sqrt(len(values))
            table.add(name, estimate, f"{values.mean(dtype=float):.4f}", f"{error:.4f}", card.final_samples)

    best, best_epoch, kept_state = math.inf, 0, None
    rates = [rate for epochs, rate in card.stages for _ in range(epochs)]
    for epoch, rate in enumerate(rates, start=1):
        optimizer.param_groups[0]["lr"] = rate
        total = 0.0
        for index in torch.randperm(len(learned)).split(batch):
            loss = negative_elbo(learned[index])
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            total += float(loss.detach().sum())
        with torch.no_grad():
            found = float(torch.cat([negative_elbo(x) for x in held_out.split(1000)]).mean())
        if found < best:
            best, best_epoch, kept_state = found, epoch, copy.deepcopy(both.state_dict())
        if epoch == 1 or epoch % max(1, len(rates) // REPORTS) == 0:
            say(f"epoch {epoch}: loss {total / len(learned):.2f}, validation {found:.2f}")
    score("last epoch")
    both.load_state_dict(kept_state)
    score(f"best epoch by validation, {best_epoch}")
    table.finish()


def _mlp(torch, sizes):
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (torch.nn.Linear(*pair), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers[:-1])


def _in_minivae(card, networks, features):
    """Return the VAE of minivae with the parameters of encoder and decoder in PyTorch, which keeps its matrices transposed."""
    vae = mv.VAE(**card.settings)
    vae._build(features)
    theirs = (tensor.detach().numpy().T for tensor in networks.parameters())
    vae.parameters_.load_state(dict(zip(vae.parameters_.state(), theirs)), np)
    return vae
