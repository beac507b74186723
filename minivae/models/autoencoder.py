"""The autoencoder and its relatives: one deterministic code h(x), and the ways to keep it from merely copying x.

Each class states its objective; the terms are weighted and averaged over the batch in ``minivae.models.objectives.penalized``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, standard_normal
from minivae.checks import check_choice, check_flag, check_int, check_real, reject
from minivae.models.generative import Generative
from minivae.models.likelihoods import LIKELIHOODS
from minivae.models.objectives import l1_norm, l2_norm_squared, penalized
from minivae.nn import ACTIVATIONS, MLP
from minivae.ops import absolute, quantize, sparsity_kl, sum_


@dataclass(kw_only=True, eq=False)
class Autoencoder(Generative):
    """Autoencoder: a code h = e(x) from which a decoder has to rebuild x.

    (A.1)  loss = −log p(x | h),  h = e(x)            any likelihood; "gaussian_fixed" is the squared error
    (A.3)       + l1 Σ |w| + l2 Σ w²                  over the weights, not the biases
    (A.8)  tied: the decoder's matrices are the encoder's, transposed
    (A.9)  with hidden_dims=() and "gaussian_fixed" the code spans the subspace of the leading principal components

    An autoencoder has no prior, so ``score_samples``, ``score`` and ``anomaly_score`` measure how well x is rebuilt:
    log p(x|h(x)).  Methods that need a posterior take q(z|x) = N(h(x), s²) with s = ``posterior_std``.  For any q, ``elbo`` and
    ``log_likelihood`` are lower bounds on log p(x) = log ∫ p(x|z) N(z; 0, I) dz (M.3, M.6), but loose ones, since training does
    not draw the codes towards N(0, I).  ``reconstruct`` with a temperature τ decodes h(x) + τ s ε.

    Parameters
    ----------
    code_activation : activation that is applied to the code, with the same choices as ``activation``.
    tied : whether the decoder shares the encoder's weights.
    l1, l2 : strengths of the penalties on the weights.
    posterior_std : the s above; training does not use it.

    All other parameters are those of ``minivae.models.settings.Settings``.

    Attributes
    ----------
    history_ : name → one value per epoch: train_ and test_ ``reconstruction``, the penalties before they are weighted, and
        ``loss``; ``active_units`` and ``seconds``.
    encoder_, decoder_, likelihood_, parameters_ : the network.
    """

    code_activation: str = "identity"
    tied: bool = False
    l1: float = 0.0
    l2: float = 0.0
    posterior_std: float = 0.1

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("code_activation", self.code_activation, ACTIVATIONS)
        check_flag("tied", self.tied)
        if self.tied and LIKELIHOODS[self.likelihood].outputs_per_feature > 1:
            mend = "choose gaussian_shared or gaussian_fixed"
            reject("likelihood", "one decoder output per feature for tied weights", repr(self.likelihood), mend)
        check_real("l1", self.l1, 0)
        check_real("l2", self.l2, 0)
        check_real("posterior_std", self.posterior_std, 0, open_low=True)

    def code_width(self) -> int:
        return self.latent_dim

    def make_layers(self, rng: np.random.Generator) -> tuple[MLP, ...]:
        networks = super().make_layers(rng)
        if self.tied:
            self.decoder_.mirror(self.encoder_)  # (A.8)
        return networks

    def code(self, outputs: Tensor) -> Tensor:
        """Return the code h (n, latent_dim), computed from outputs of the encoder of the same shape."""
        return ACTIVATIONS[self.code_activation](outputs)

    def posterior(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return h(x) and log s², two (n, latent_dim) tensors."""
        code = self.code(self.encoder(x, condition))
        return code, Tensor(self.xp_.full(code.shape, 2 * math.log(self.posterior_std), dtype=code.dtype))

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return −log p(x|h) (n,) at the code of the encoder's input, and the penalties."""
        outputs = self.encoder(self.encoder_input(x, rng), condition)
        code = self.code(outputs)
        nll = self.likelihood_.nll(x, self.decoder(code, condition))  # (A.1)
        return {"reconstruction": nll} | self.penalties(x, outputs, code)

    def encoder_input(self, x: Array, rng: Any) -> Array:
        """Return the encoder's input for a batch ``x`` in training."""
        return x

    def penalties(self, x: Array, outputs: Tensor, code: Tensor) -> dict[str, Tensor]:
        """Return the penalties before they are weighted: (n,), or () for one of the whole batch."""
        weights = [parameter for name, parameter in self.parameters_.parameters.items() if name.endswith(".weight")]
        norms = (("l1", self.l1, l1_norm), ("l2", self.l2, l2_norm_squared))  # (A.3)
        return {name: norm(weights) for name, strength, norm in norms if strength}

    def strengths(self) -> dict[str, float]:
        """Return the weight of each penalty."""
        return {name: strength for name, strength in (("l1", self.l1), ("l2", self.l2)) if strength}

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        return penalized(terms, self.strengths())

    def score_samples(self, x: Any, y: Any = None) -> Array:
        """Return log p(x|h(x)) of each row, (n,) in nats: how well it is rebuilt."""

        def rebuilt(x: Array, condition: Array | None, _: Any) -> Array:
            return -self.likelihood_.nll(x, self.decoder(self.posterior(x, condition)[0], condition)).data

        return self._or_minus_infinity(self._score(rebuilt, x, y, None))


@dataclass(kw_only=True, eq=False)
class SparseAutoencoder(Autoencoder):
    """Autoencoder whose code has few active units at a time.

    (A.2)  loss = −log p(x|h) + λ Ω(h)
           Ω = Σ_j |h_ij|                             penalty "l1", of each example
           Ω = Σ_j KL(ρ ‖ mean_i h_ij)                penalty "kl", of the batch, for units in (0, 1)

    Parameters
    ----------
    penalty : "l1" or "kl"; "kl" needs the code activation "sigmoid".
    sparsity : the strength λ.
    target : the mean activity ρ towards which "kl" draws every unit.

    All other parameters are those of ``Autoencoder``.
    """

    code_activation: str = "sigmoid"
    penalty: str = "l1"
    sparsity: float = 0.1
    target: float = 0.05

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("penalty", self.penalty, ("l1", "kl"))
        check_real("sparsity", self.sparsity, 0)
        check_real("target", self.target, 0, 1, open_low=True)
        if self.target == 1:
            reject("target", "a number below 1", self.target)
        if self.penalty == "kl" and self.code_activation != "sigmoid":
            reject("code_activation", "sigmoid for the penalty 'kl'", repr(self.code_activation))

    def couples_examples(self) -> str:
        return "penalty" if self.penalty == "kl" else ""

    def penalties(self, x: Array, outputs: Tensor, code: Tensor) -> dict[str, Tensor]:
        terms = super().penalties(x, outputs, code)
        if self.penalty == "l1":
            return terms | {"sparsity": sum_(absolute(code), axis=-1)}  # (A.2)
        return terms | self.pool({"_logits": outputs}) | {"_logits": outputs}

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {} if self.penalty == "l1" else {"sparsity": sparsity_kl(terms["_logits"], target=self.target)}  # (A.2)

    def strengths(self) -> dict[str, float]:
        return super().strengths() | {"sparsity": self.sparsity}


CORRUPTIONS = ("gaussian", "masking", "salt_and_pepper")


@dataclass(kw_only=True, eq=False)
class DenoisingAutoencoder(Autoencoder):
    """Autoencoder that is shown a corrupted x̃ and has to rebuild the clean x (Vincent et al. 2008, 2010).

    (A.4)  loss = −log p(x | h(x̃)),   x̃ = x + amount · ε          "gaussian", ε ~ N(0, I)
                                       x̃_j = 0                     "masking", for the share ``amount`` of the features
                                       x̃_j = 0 or 1, at even odds  "salt_and_pepper", for that share; for features in [0, 1]

    In training an example is corrupted anew at every visit; for the test losses in the history it is corrupted too.  A trained
    model does not corrupt its input: ``reconstruct(model.corrupt(x))`` restores corrupted examples, ``reconstruct(x)`` rebuilds
    clean ones, and the scores encode clean ones.

    Parameters
    ----------
    corruption : "gaussian", "masking" or "salt_and_pepper".
    amount : the noise's standard deviation, or the share of features that are replaced.

    All other parameters are those of ``Autoencoder``.
    """

    corruption: str = "masking"
    amount: float = 0.3

    def check_settings(self) -> None:
        super().check_settings()
        check_choice("corruption", self.corruption, CORRUPTIONS)
        check_real("amount", self.amount, 0, math.inf if self.corruption == "gaussian" else 1)

    def encoder_input(self, x: Array, rng: Any) -> Array:
        if self.corruption == "gaussian":
            return x + self.amount * standard_normal(rng, x.shape, x.dtype)  # (A.4)
        u = rng.random(x.shape, dtype=x.dtype)
        kept = x * (u >= self.amount)  # (A.4)
        return kept if self.corruption == "masking" else kept + (u < self.amount / 2)  # (A.4)

    def corrupt(self, x: Any, seed: int | None = None) -> Array:
        """Return corrupted copies (n, d) of the rows of ``x``, as in training."""
        rng = self._generator("noise", seed)
        return self._map(lambda x, _: self.encoder_input(x, rng), x, None, "x", self.n_features_in_)


@dataclass(kw_only=True, eq=False)
class QuantizedAutoencoder(Autoencoder):
    """Autoencoder whose code is rounded: a bottleneck by precision, of latent_dim · log₂ ``levels`` bits.

    (A.7)  loss = −log p(x | h),  h = round(tanh e(x)) to ``levels`` evenly spaced values from −1 to 1
           The gradient passes straight through the rounding, see ``minivae.ops.quantize``.

    Parameters
    ----------
    levels : number of values that an entry of the code can take.

    All other parameters are those of ``Autoencoder``; the code activation has to be "tanh".
    """

    code_activation: str = "tanh"
    levels: int = 5

    def check_settings(self) -> None:
        super().check_settings()
        check_int("levels", self.levels, 2)
        if self.code_activation != "tanh":
            reject("code_activation", "tanh, whose range the levels divide", repr(self.code_activation))

    def code(self, outputs: Tensor) -> Tensor:
        return quantize(super().code(outputs), levels=self.levels)  # (A.7)
