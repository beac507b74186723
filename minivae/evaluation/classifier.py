"""Classification by softmax: the probabilities, their loss, and the training of a small classifier on fixed features."""

from __future__ import annotations

from minivae.autodiff import Tensor, backward
from minivae.backend import Array, array_module
from minivae.nn import MLP
from minivae.ops import logsumexp, mean, square, sum_
from minivae.optim import Adam

STEPS = 500
LEARNING_RATE = 0.05


def log_softmax(logits: Tensor) -> Tensor:
    """Return log p(y|x) = ℓ_y − log Σ_c e^{ℓ_c} of every class from logits (n, c): (n, c), in nats."""
    return logits - logsumexp(logits, keepdims=True)


def cross_entropy(log_probabilities: Tensor, one_hot: Array) -> Tensor:
    """Return −log p(y|x) of the class that each row of ``one_hot`` (n, c) marks: (n,), in nats; 0 for a row without a class."""
    return -sum_(one_hot * log_probabilities, axis=-1)


def fit_classifier(network: MLP, features: Array, one_hot: Array, weight_decay: float = 0.0) -> None:
    """Train ``network`` in place to predict the classes ``one_hot`` (n, c) from ``features`` (n, k), in full batches.

    loss = mean −log p(y|features) + ½ weight_decay Σ w²        biases are not penalised

    Adam takes 500 steps; its learning rate falls evenly from 0.05 towards 0.

    Without hidden layers this is multinomial logistic regression, whose loss is convex: the result does not depend on the initial
    weights, as long as there is weight decay or the classes overlap.
    """
    xp = array_module(features)
    trained = [(p, Adam(p.data.size, xp, p.dtype, LEARNING_RATE)) for p in network.parameters()]
    weights = [layer.weight for layer in network.layers]
    for step in range(STEPS):
        loss = mean(cross_entropy(log_softmax(network(features)), one_hot))
        loss = loss + 0.5 * weight_decay * sum(sum_(square(weight)) for weight in weights)
        backward(loss)
        for parameter, optimizer in trained:
            gradient: Array = parameter.grad
            optimizer.learning_rate = LEARNING_RATE * (1 - step / STEPS)
            optimizer.step(parameter.data.reshape(-1), gradient.reshape(-1))
