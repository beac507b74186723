"""Classification with few labels and many examples, in the two ways of Kingma, Rezende, Mohamed & Welling 2014 (G.8).

Both take y with -1 for an example without label.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, array_module, as_array, standard_normal, to_device, to_numpy
from minivae.checks import check_real, reject
from minivae.datasets.labels import UNLABELLED, has_label
from minivae.evaluation.classifier import cross_entropy, fit_classifier, log_softmax
from minivae.evaluation.estimators import ImportanceEstimate
from minivae.models.classifying import Classifier
from minivae.models.conditional import ConditionalVAE
from minivae.models.conditions import as_labels, one_hot
from minivae.models.objectives import semi_supervised_loss, warm_up
from minivae.models.settings import check_widths
from minivae.models.vae import VAE
from minivae.nn import MLP
from minivae.ops import exp, kl_standard_normal, reshape, sum_

M1 = TypeVar("M1", bound="VAEClassifier")


@dataclass(kw_only=True, eq=False)
class VAEClassifier(Classifier, VAE):
    """Model M1: a VAE learns features from all examples, and a classifier of the features μ(x) from those with a label.

    (G.8)  first   loss = reconstruction + β KL, the VAE's, over all examples, whatever their label
           then    loss = mean −log p(y|μ(x)) + ½ weight_decay Σ w², over the labelled ones; the VAE stays as it is

    Parameters
    ----------
    classifier_hidden_dims : widths of the classifier's hidden layers; () is multinomial logistic regression.
    weight_decay : of the classifier.

    All other parameters are those of ``VAE``.

    Attributes
    ----------
    classes_ : the labels in order, (c,).
    classifier_ : its network.

    All other attributes are those of ``VAE``.
    """

    classifier_hidden_dims: tuple[int, ...] = ()
    weight_decay: float = 1e-3

    def check_settings(self) -> None:
        super().check_settings()
        check_widths("classifier_hidden_dims", self.classifier_hidden_dims)
        check_real("weight_decay", self.weight_decay, 0)

    def make_layers(self, rng: np.random.Generator) -> tuple[MLP, ...]:
        networks = super().make_layers(rng)
        sizes = (self.latent_dim, *self.classifier_hidden_dims, len(self.classes_))
        self.classifier_ = MLP("classifier", sizes, self.activation, self.init, rng)
        return (*networks, self.classifier_)

    def encode_condition(self, y: Any, n: int, argument: str = "y") -> None:
        """Check the labels, which the VAE itself does not use."""
        one_hot(y, self.classes_, n, argument, partial=True)

    def fit(self: M1, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> M1:
        """Train from scratch as ``Model.fit`` says, with y (n,) class labels, or -1 where there is none."""
        super().fit(x, y, *args, **kwargs)
        x = as_array(x, "x")
        labels = one_hot(y, self.classes_, len(x), partial=True)
        labelled = np.flatnonzero(labels.any(axis=1))
        features = self.encode(x[to_device(array_module(x), labelled)])[0]
        targets = to_device(self.xp_, labels[labelled], self.dtype)
        fit_classifier(self.classifier_, to_device(self.xp_, features, self.dtype), targets, self.weight_decay)  # (G.8)
        return self

    def class_log_probabilities(self, x: Array) -> Tensor:
        return log_softmax(self.classifier_(self.posterior(x)[0]))


@dataclass(kw_only=True, eq=False)
class SemiSupervisedVAE(Classifier, ConditionalVAE):
    """Model M2: the label is a latent variable beside z, seen in some examples and inferred in the others.

    (G.8)  p(x, y, z) = p(x|y, z) p(y) N(z; 0, I),  p(y) = 1/c;    q(y|x) a classifier, q(z|x, y) an encoder
           labelled      log p(x, y) ≥ −L(x, y) = E_q[log p(x|y, z)] + log p(y) − KL(q(z|x, y) ‖ p(z))
           unlabelled    log p(x)    ≥ −U(x)    = −Σ_y q(y|x) L(x, y) + H(q(y|x))
           loss = mean over all examples of L or U + α · mean over labelled examples of −log q(y|x)

    Where y is known, let q(y|x) be certain of it.  Then U equals L, so both are reconstruction + KL of z + KL(q(y|x) ‖ p(y)), the
    first two averaged over q(y|x).  The last term is needed because L does not contain q(y|x): without it, the labels would not
    train the classifier.  The sum over y is exact, so a step costs as much as c steps of a VAE.

    Methods that take x do not need y.  Without it, ``encode`` and ``transform`` use the most probable label, and ``elbo`` and
    ``log_likelihood`` are about log p(x), summed over the labels.  Given y they are about log p(x|y), as in the conditional VAE.

    Parameters
    ----------
    classification_weight : α.  The paper's 0.1 N is for sums; for the means here it is 0.1.  With few labels and many pixels, log
        p(x|y, z) outweighs the labels by far, and a value ten to a hundred times as large works better.

    All other parameters are those of ``VAE``.

    Attributes
    ----------
    history_ : as the VAE's; ``label_kl`` is KL(q(y|x) ‖ p(y)), a part of ``elbo``, and ``classification`` the mean of −log q(y|x)
        where y is known.
    classes_ : the labels in order, (c,).
    classifier_ : the network of q(y|x), with the encoder's hidden layers.

    All other attributes are those of ``VAE``.
    """

    classification_weight: float = 10.0

    def check_settings(self) -> None:
        super().check_settings()
        check_real("classification_weight", self.classification_weight, 0)
        for name, unused in {"free_bits": 0.0, "capacity": 0.0, "n_samples": 1}.items():
            if getattr(self, name) != unused:
                reject(name, f"{unused}: this objective has no use for it", getattr(self, name), "leave it out")

    def make_layers(self, rng: np.random.Generator) -> tuple[MLP, ...]:
        networks = super().make_layers(rng)
        sizes = (self.n_features_in_, *self.hidden_dims, len(self.classes_))
        self.classifier_ = MLP("classifier", sizes, self.activation, self.init, rng)
        return (*networks, self.classifier_)

    def encode_condition(self, y: Any, n: int, argument: str = "y") -> np.ndarray:
        """Return (n, c + 1): the labels, and how much each row counts in the mean over those that have one.

        Then that mean is one over all rows, of a batch as well as of a data set, and a batch without a label takes its part in it.
        """
        labels = one_hot(y, self.classes_, n, argument, partial=True)
        labelled = labels.any(axis=1, keepdims=True)
        return np.hstack([labels, labelled * n / max(1, labelled.sum())])

    def condition_width(self) -> int:
        return len(self.classes_)

    def class_log_probabilities(self, x: Array) -> Tensor:
        return log_softmax(self.classifier_(x))

    def heads(self, x: Array | Tensor, condition: Array = None) -> tuple[Tensor, Tensor]:
        """Return what the encoder says of q(z|x, y), with the most probable y where it is unknown."""
        xp = self.xp_
        condition = condition[:, : len(self.classes_)]
        unknown = ~condition.any(axis=1, keepdims=True)
        guess = xp.eye(len(self.classes_), dtype=self.dtype)[self.class_log_probabilities(x).data.argmax(axis=1)]
        return super().heads(x, condition + unknown * guess)

    def decoder(self, z: Array | Tensor, condition: Array) -> Tensor:
        condition = condition[:, : len(self.classes_)]
        if not condition.any(axis=1).all():
            reject("y", "a class label for every row that is decoded", "none", "pass y, the label you want or predict(x)")
        return super().decoder(z, condition)

    def terms(self, x: Array, rng: Any, condition: Array = None) -> dict[str, Tensor]:
        """Return the averages over q(y|x) of −log p(x|y, z) and KL(q(z|x, y) ‖ p(z)), KL(q(y|x) ‖ p(y)), and −log q(y|x)."""
        xp, n, c = self.xp_, len(x), len(self.classes_)
        condition, counts = condition[:, :c], condition[:, c]
        known = condition.any(axis=1)
        log_q = self.class_log_probabilities(x)
        q = condition + ~known[:, None] * exp(log_q)  # certain where y is known
        each_x, each_y = xp.repeat(x, c, axis=0), xp.tile(xp.eye(c, dtype=x.dtype), (n, 1))  # (n c, d) and (n c, c)
        mean, raw = super().heads(each_x, each_y)
        noise = standard_normal(rng, (c, n, self.latent_dim), mean.dtype).swapaxes(0, 1).reshape(mean.shape)
        z = self.draw(mean, raw, noise)
        nll = reshape(self.likelihood_.nll(each_x, super().decoder(z, each_y)), shape=(n, c))
        kl = reshape(kl_standard_normal(mean, self.log_variance(raw)), shape=(n, c))
        return {
            "reconstruction": sum_(q * nll, axis=1),
            "kl": sum_(q * kl, axis=1),
            "label_kl": math.log(c) + ~known * sum_(exp(log_q) * log_q, axis=1),
            "classification": counts * cross_entropy(log_q, condition),
        }

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        beta = self.beta * warm_up(epochs_done, self.warm_up_epochs)
        return semi_supervised_loss(terms, beta, self.classification_weight)  # (G.8)

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        return terms | {"elbo": -(terms["reconstruction"] + terms["kl"] + terms["label_kl"])}

    def fill_labels(self, x: Any, y: Any) -> Any:
        """Return ``y`` with the most probable label in the place of each that is missing; of one row the label alone."""
        n = len(as_array(x, "x"))
        labels = as_labels(UNLABELLED if y is None else y, n)
        if UNLABELLED in labels:
            guesses = self.predict(x).tolist()
            labels = [guess if label == UNLABELLED else label for label, guess in zip(labels, guesses)]
        return labels[0] if n == 1 else labels

    def _by_label(self, compute: Callable[[Any, Any], Any], x: Any, y: Any) -> list[Array]:
        """Return the arrays, (n,) each, of ``compute(rows, labels)`` for rows with a label, ``compute(rows, None)`` for others."""
        x, labels = as_array(x, "x"), as_labels(y, len(x))
        known, xp = has_label(labels), array_module(x)
        places = [np.flatnonzero(known), np.flatnonzero(~known)]
        parts = [
            [to_numpy(part) for part in compute(x[to_device(xp, index)], given)]
            for index, given in zip(places, ([labels[i] for i in places[0]], None))
            if len(index)
        ]
        order = np.argsort(np.concatenate(places))
        return [to_device(xp, np.concatenate(columns)[order]) for columns in zip(*parts)]

    def elbo(self, x: Any, n_samples: int = 1, seed: int | None = None, y: Any = None) -> Array:
        """Return the bound on log p(x|y) of each row, or without y that on log p(x), −U(x): (n,) in nats."""
        if y is not None and UNLABELLED in as_labels(y):
            return self._by_label(lambda x, y: [self.elbo(x, n_samples, seed, y)], x, y)[0]
        if y is not None:
            return super().elbo(x, n_samples, seed, y)
        log_q = self.predict_log_proba(x)
        xp = array_module(log_q)
        given_y = xp.stack([super(SemiSupervisedVAE, self).elbo(x, n_samples, seed, label) for label in self.classes_], axis=1)
        with np.errstate(invalid="ignore"):  # a class that is out of the question, for a row that is far out
            bound = (xp.exp(log_q) * (given_y - log_q)).sum(axis=1) - math.log(len(self.classes_))
        return self._or_minus_infinity(bound)

    def importance_estimate(self, x: Any, n_samples: int = 100, seed: int | None = None, y: Any = None) -> ImportanceEstimate:
        """Return log p(x|y) of each row, or without y log p(x) = log Σ_y p(x|y) / c, from ``n_samples`` for each y.

        The estimates for all y share their noise.  Without y, the standard error is therefore the weighted sum of theirs, an upper
        bound, and the effective sample size is the lower bound that corresponds to it.
        """
        if y is not None and UNLABELLED in as_labels(y):
            log_p, error, size = self._by_label(lambda x, y: self.importance_estimate(x, n_samples, seed, y)[:3], x, y)
            return ImportanceEstimate(log_p, error, size, n_samples)
        if y is not None:
            return super().importance_estimate(x, n_samples, seed, y)
        self._require_fit()
        parts = [super(SemiSupervisedVAE, self).importance_estimate(x, n_samples, seed, label) for label in self.classes_]
        xp = array_module(x)
        log_p, error, size = (xp.stack(column) for column in list(zip(*parts))[:3])  # (c, n)
        top = log_p.max(axis=0)
        p = xp.exp(log_p - xp.where(xp.isfinite(top), top, 0.0))
        with np.errstate(invalid="ignore", divide="ignore"):  # of a row that is far out no weight is left
            share = p / p.sum(axis=0)
            log_likelihood = self._or_minus_infinity(top + xp.log(p.mean(axis=0)))
            size = 1 / (share / xp.sqrt(size)).sum(axis=0) ** 2
        return ImportanceEstimate(log_likelihood, (share * error).sum(axis=0), size, n_samples)
