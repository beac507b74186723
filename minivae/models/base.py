"""What all models share: ``fit`` builds and trains an encoder, a decoder and a likelihood."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, generator, resolve_device
from minivae.checks import NonFiniteError, NotFittedError, reject
from minivae.evaluation.estimators import active_units
from minivae.models import whole
from minivae.models.keeping import Keeping
from minivae.models.likelihoods import LIKELIHOODS
from minivae.models.priors import Prior, StandardNormal
from minivae.models.size import check_size
from minivae.nn import MLP, Parameter, ParameterVector
from minivae.ops import concat, reshape
from minivae.training.batches import Rows
from minivae.training.health import warn_of_dead_code
from minivae.training.narration import telling
from minivae.training.trainer import Hook, Trainer

Self = TypeVar("Self", bound="Model")


class Model(Keeping):
    """Behaviour that all models share.  The name of everything that ``fit`` learns ends in an underscore.

    A model of your own overrides methods of the first section below, most often ``terms`` and ``loss`` of an existing model.
    """

    # What a kind of model decides: to be overridden ---------------------------------------------------------------------------

    def code_width(self) -> int:
        """Return how many numbers per example the encoder puts out."""
        raise NotImplementedError

    def latent_width(self) -> int:
        """Return how many numbers a latent vector z has: ``latent_dim``, unless each dimension is itself a vector."""
        return self.latent_dim

    def posterior(self, x: Array | Tensor, condition: Array | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), two (n, latent_dim) tensors, for a batch (n, d)."""
        raise NotImplementedError

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms of the objective for a batch (n, d): (n,) in nats per example, or () where a term is of the whole batch.

        ``rng`` is the generator of the noise.  A name that begins with an underscore is no term but input of ``pool``, (n, …).
        """
        raise NotImplementedError

    def terms_of_test(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]:
        """Return the terms to report for data that are only looked at; a model trained on a stand-in for its objective differs."""
        return self.terms(x, rng, condition)

    def pool(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms that couple examples, from those that ``terms`` has returned: of a batch, or of a whole data set."""
        return {}

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        """Return the scalar that training minimises, from the terms and the number of epochs done so far (a fraction)."""
        raise NotImplementedError

    def begin_epoch(self, epoch: int) -> None:
        """Prepare the epoch of this number, for settings that change from one epoch to the next."""

    def end_step(self) -> None:
        """Update, after the optimiser's step, what follows a rule of its own."""

    def whole_obstacle(self) -> str:
        """Return why many steps of this model cannot be made in a launch (``kernels.whole``); "" where they can."""
        return f"{type(self).__name__} is not the VAE whose loss it knows"

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        """Return the figures to report, from the terms averaged over examples."""
        return terms

    def code_statistics(self, mean: Array, log_var: Array) -> dict[str, Any]:
        """Return the figures to report on the posteriors of a data set, given their means and log-variances (n, latent_dim)."""
        return {"active_units": active_units(mean.reshape(len(mean), self.latent_dim, -1))}

    def couples_examples(self) -> str:
        """Return the name of a setting through which the loss of an example depends on the others in its batch, or ""."""
        return ""

    def learn_condition(self, y: Any) -> None:
        """Learn, at the start of ``fit``, what kinds of ``y`` there are; a model that does not use ``y`` learns nothing."""

    def encode_condition(self, y: Any, n: int, argument: str = "y") -> np.ndarray | None:
        """Return ``y``, labels or numbers, as the (n, c) array that goes with ``n`` examples; None if the model ignores ``y``."""
        return None

    def condition_width(self) -> int:
        """Return how many numbers go with each example into the encoder and the decoder."""
        return 0

    def make_layers(self, rng: np.random.Generator) -> tuple[MLP, ...]:
        """Make ``encoder_``, ``decoder_`` and what other networks the model needs, with initial weights, and return them all."""
        hidden, c = tuple(self.hidden_dims), self.condition_width()
        n_inputs, n_outputs = self.n_features_in_ + c, self.likelihood_.outputs_per_feature * self.n_features_in_
        self.encoder_ = MLP("encoder", (n_inputs, *hidden, self.code_width()), self.activation, self.init, rng)
        self.decoder_ = MLP("decoder", (self.latent_width() + c, *hidden[::-1], n_outputs), self.activation, self.init, rng)
        return self.encoder_, self.decoder_

    def make_prior(self, rng: np.random.Generator) -> Prior:
        """Make the prior p(z), with initial weights where it has some."""
        return StandardNormal(self.latent_dim, self.xp_, self.dtype)

    # Learning -----------------------------------------------------------------------------------------------------------------

    def fit(
        self: Self,
        x: Any,
        y: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        on_step: Hook | None = None,
        on_epoch: Hook | None = None,
        on_start: Hook | None = None,
    ) -> Self:
        """Train from scratch on the rows of ``x`` and return self.

        Parameters
        ----------
        x : (n, d) real numbers; 8-bit unsigned integers are pixels and stand for value/255.  May be mapped from a file.
        y : labels or condition of a conditional model; others ignore it.
        x_test, y_test : rows on which the loss is monitored; they are never trained on.
        on_step, on_epoch : called with the ``Trainer`` after each step and epoch; on_start : called before the first step.
            On a GPU a hook marked with ``training.at_once.only_watches`` is called after each launch of several steps.

        Raises
        ------
        InputError : for settings or data that cannot be used; the model is then unchanged.
        NonFiniteError : when the loss stops being a finite number.

        Warns
        -----
        DeadCodeWarning : when no unit of the code varies with x in the end.
        SlowStepsWarning : when the threads of BLAS hold one another up.
        """
        before = vars(self).copy()
        self.__dict__.pop("_calls", None)  # samples begin anew
        try:
            self.check_settings()
            self._use_python_numbers()
            self._seed = self._choose_seed()
            self.learn_condition(y)
            train = self._rows(x, y)
            test = None if x_test is None else self._rows(x_test, y_test, "x_test", train.n_features)
            if self.batch_size > len(train):
                rows = "1, since there is 1 row of data" if len(train) == 1 else f"at most the {len(train)} rows of the data"
                reject("batch_size", rows, self.batch_size, "lower it")
            check_size(self, train.n_features)
            mean = train.mean() if self.output_bias == "data" else None
        except Exception:
            self.__dict__ = before
            raise
        self.n_data_ = len(train)
        self._build(train.n_features, mean)
        self.prior_.start(train)
        trainer = Trainer(self, train, test)
        self.history_ = trainer.history
        if on_start:
            on_start(trainer)
        trainer.run(self.epochs, on_step, telling(on_epoch) if self.verbose else on_epoch)
        warn_of_dead_code(trainer)
        return self

    def _build(self, n_features: int, data_mean: np.ndarray | None = None) -> None:
        """Make the layers on the device, with their first weights from the seed."""
        parameters = self._make_parameters(n_features, generator(np, self.seed_, "init"))
        if data_mean is not None:
            self.decoder_.layers[-1].bias.data = self.likelihood_.output_bias(data_mean)
        self.parameters_ = ParameterVector(parameters, self.xp_, self.dtype)

    def _make_parameters(self, n_features: int, rng: Any) -> list[Parameter]:
        """Make the layers, with their first weights from ``rng``; they have no memory in common yet."""
        self.xp_ = resolve_device(self.device)
        self.n_features_in_ = n_features  # scikit-learn's name
        self.likelihood_ = LIKELIHOODS[self.likelihood](self.variance, self.variance_floor, self.xp_, self.dtype)
        networks = self.make_layers(rng)
        self.prior_ = self.make_prior(rng)
        weights = [parameter for network in networks for parameter in network.parameters()]
        return [*weights, *self.likelihood_.parameters, *self.prior_.parameters]

    def _rows(self, x: Any, y: Any = None, argument: str = "x", n_features: int | None = None) -> Rows:
        """Return data for training or scoring: on the device, checked, and binarised according to the settings."""
        unit_interval = LIKELIHOODS[self.likelihood].unit_interval
        rows = Rows(x, resolve_device(self.device), self.dtype, self.binarize, unit_interval, self.seed_, n_features, argument)
        rows.attach(self.encode_condition(y, len(rows), argument.replace("x", "y")))
        return rows

    def encoder(self, x: Array | Tensor, condition: Array | None) -> Tensor:
        """Return the outputs of the encoder for a batch and its condition (A.6)."""
        return self.encoder_(x if condition is None else concat(x, condition))  # (A.6)

    def decoder(self, z: Array | Tensor, condition: Array | None) -> Tensor:
        """Return the outputs of the decoder for latent vectors, (n, latent_dim) or (s, n, latent_dim) with s samples each.

        The condition of an example (A.6) is used for each of its samples.
        """
        *samples, n, k = z.shape
        if samples:
            flat = self.decoder(reshape(z, shape=(-1, k)), None if condition is None else self.xp_.tile(condition, (samples[0], 1)))
            return reshape(flat, shape=(*samples, n, flat.shape[-1]))
        return self.decoder_(z if condition is None else concat(z, condition))  # (A.6)

    def evaluate(self, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]:
        """Return the terms and the loss of all rows as of one batch, and what there is to say of the latent code.

        All of it is a function of the rows, the model and its seed, whatever the order of the rows.

        Raises ``NonFiniteError`` for a row of which a term is not finite.
        """
        return whole.evaluate(self, rows)

    def _require_fit(self) -> None:
        if not hasattr(self, "parameters_"):
            reject(type(self).__name__, "a fitted model", "one without parameters", "call fit or mv.load first", NotFittedError)

    def _require_finite(self) -> None:
        """Refuse a model without parameters, or with NaN or ±inf among them, of which no figure says anything."""
        self._require_fit()
        if not self.xp_.isfinite(self.parameters_.values).all():
            reject(type(self).__name__, "finite parameters", "some others", "train with a lower learning_rate", NonFiniteError)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "parameters_")
