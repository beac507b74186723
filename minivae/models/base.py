"""What every model is: an encoder, a decoder, a likelihood, settings, and scikit-learn's manners.

The settings are dataclass fields, so the constructor only stores them, ``get_params`` can list them, and ``clone``,
``Pipeline`` and ``GridSearchCV`` work although scikit-learn is not needed.  What ``fit`` learns ends in an underscore.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from minivae import checkpoint
from minivae.autodiff import Tensor, no_grad
from minivae.backend import DEVICES, Array, array_module, generator, resolve_device, to_device, to_numpy
from minivae.batches import BINARIZE, Rows, chunks
from minivae.checks import NotFittedError, check_choice, check_int, check_matrix, check_real, check_values, reject
from minivae.latent import interpolate, traverse
from minivae.likelihoods import LIKELIHOODS, make_likelihood
from minivae.nn import ACTIVATIONS, INITIALISERS, MLP, ParameterVector
from minivae.optim import OPTIMIZERS
from minivae.training import Hook, Trainer

Self = TypeVar("Self", bound="Model")


@dataclass(kw_only=True, eq=False)
class Model:
    """Settings and behaviour that all models share.

    Parameters
    ----------
    latent_dim : number of latent dimensions k.
    hidden_dims : widths of the encoder's hidden layers; the decoder has the same, reversed.  () makes both affine.
    activation : "relu", "leaky_relu", "elu", "tanh", "sigmoid", "softplus" or "identity".
    likelihood : "bernoulli" (L.1); "gaussian", a variance per example and feature (L.2); "gaussian_fixed", σ² = ``variance`` (L.3);
        "gaussian_shared", one learned σ² that begins at ``variance`` (L.4).
    variance_floor : least σ² of the "gaussian" likelihood.
    init : "glorot" or "he".  output_bias : "zeros", or "data" to begin at the data's mean.
    binarize : "none", "fixed" or "dynamic", see ``minivae.batches.Rows``.
    epochs, batch_size, learning_rate, optimizer : the training; "adam" or "sgd".
    clip_norm : greatest norm of the gradient, or None.
    patience : stop after so many epochs without a better loss (on the test set if there is one) and keep the best, or None.
    seed : of everything random.  The same seed on the same machine gives the same history to the last bit.
    device : "cpu", "cuda" or "auto".  dtype : "float32" or "float64".
    """

    latent_dim: int = 20
    hidden_dims: tuple[int, ...] = (400,)
    activation: str = "relu"
    likelihood: str = "bernoulli"
    variance: float = 1.0
    variance_floor: float = 1e-4
    init: str = "glorot"
    output_bias: str = "zeros"
    binarize: str = "none"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    clip_norm: float | None = None
    patience: int | None = None
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"

    # What a kind of model has to say ------------------------------------------------------------------------------------------

    def _code_width(self) -> int:
        """Numbers per example that the encoder puts out."""
        raise NotImplementedError

    def terms(self, x: Array, rng: Any) -> dict[str, Tensor]:
        """Return the terms of the objective for a batch (n, d), each (n,) in nats per example; ``rng`` gives the noise."""
        raise NotImplementedError

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor:
        """Return the number that training lowers, from the terms and the (fractional) epochs behind it."""
        raise NotImplementedError

    def summarize(self, terms: dict[str, float]) -> dict[str, float]:
        """Return what to report of terms averaged over examples."""
        raise NotImplementedError

    def evaluate(self, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]:
        """Return terms averaged over all rows, and what there is to say of the latent code."""
        raise NotImplementedError

    def transform(self, x: Any) -> Array:
        """Return the features of each row, (n, latent_dim)."""
        raise NotImplementedError

    # Learning -----------------------------------------------------------------------------------------------------------------

    def fit(
        self: Self,
        x: Any,
        y: Any = None,
        x_test: Any = None,
        on_step: Hook | None = None,
        on_epoch: Hook | None = None,
    ) -> Self:
        """Train from scratch on the rows of ``x`` and return self.

        Parameters
        ----------
        x : (n, d) real numbers; 8-bit unsigned integers are pixels and mean value/255.  May be mapped from a file.
        y : ignored, scikit-learn passes it.
        x_test : rows to watch the training by; they are never trained on.
        on_step, on_epoch : called with the ``Trainer`` after each.

        Raises
        ------
        InputError : for settings or data that cannot be used; nothing has changed then.
        NonFiniteError : when the loss stops being a finite number.
        """
        self._check_settings()
        train = self._rows(x)
        test = None if x_test is None else self._rows(x_test, "x_test", train.n_features)
        if self.batch_size > len(train):
            reject("batch_size", f"at most the {len(train)} rows of the data", self.batch_size, "lower it")
        self._build(train.n_features, train.mean() if self.output_bias == "data" else None)
        trainer = Trainer(self, train, test)
        self.history_ = trainer.history
        trainer.run(self.epochs, on_step, on_epoch)
        return self

    def _build(self, n_features: int, data_mean: np.ndarray | None = None) -> None:
        """Make the layers, with their first weights, on the device."""
        self.xp_ = resolve_device(self.device)
        self.n_features_in_ = n_features  # scikit-learn's name
        self.likelihood_ = make_likelihood(self.likelihood, self.variance, self.variance_floor, self.xp_, self.dtype)
        rng = generator(np, self.seed, "init")
        n_outputs = self.likelihood_.outputs_per_feature * n_features
        hidden = tuple(self.hidden_dims)
        self.encoder_ = MLP("encoder", (n_features, *hidden, self._code_width()), self.activation, self.init, rng)
        self.decoder_ = MLP("decoder", (self.latent_dim, *hidden[::-1], n_outputs), self.activation, self.init, rng)
        if data_mean is not None:
            self.decoder_.layers[-1].bias.data = self.likelihood_.output_bias(data_mean)
        layers = (*self.encoder_.parameters(), *self.decoder_.parameters(), *self.likelihood_.parameters)
        self.parameters_ = ParameterVector(layers, self.xp_, self.dtype)

    def _check_settings(self) -> None:
        check_int("latent_dim", self.latent_dim, 1)
        if not isinstance(self.hidden_dims, (tuple, list)):
            reject("hidden_dims", "a tuple of widths", repr(self.hidden_dims), "write (400,) for one layer")
        for width in self.hidden_dims:
            check_int("hidden_dims", width, 1)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("likelihood", self.likelihood, LIKELIHOODS)
        check_real("variance", self.variance, 0, open_low=True)
        check_real("variance_floor", self.variance_floor, 0, open_low=True)
        check_choice("init", self.init, INITIALISERS)
        check_choice("output_bias", self.output_bias, ("zeros", "data"))
        check_choice("binarize", self.binarize, BINARIZE)
        check_int("epochs", self.epochs, 1)
        check_int("batch_size", self.batch_size, 1)
        check_real("learning_rate", self.learning_rate, 0, open_low=True)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if self.clip_norm is not None:
            check_real("clip_norm", self.clip_norm, 0, open_low=True)
        if self.patience is not None:
            check_int("patience", self.patience, 1)
        check_int("seed", self.seed, 0)
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, ("float32", "float64"))

    # Using --------------------------------------------------------------------------------------------------------------------

    def decode(self, z: Any) -> Array:
        """Return the expected features E[x|z] (n, d) of latent vectors (n, latent_dim)."""
        return self._map(lambda part: self.likelihood_.mean(self.xp_, self.decoder_(part).data), z, "z", self.latent_dim)

    def inverse_transform(self, z: Any) -> Array:
        """Return ``decode(z)``, under scikit-learn's name."""
        return self.decode(z)

    def interpolate(self, a: Any, b: Any, n: int = 9, path: Literal["linear", "spherical"] = "linear") -> Array:
        """Return ``n`` decoded points (n, d) on the way from example ``a`` (d,) to example ``b`` (d,) (G.3)."""
        ends = self.transform(np.stack([to_numpy(a).reshape(-1), to_numpy(b).reshape(-1)]))
        return self.decode(interpolate(array_module(ends), ends[0], ends[1], n, path))

    def traverse(self, x: Any, dim: int, n: int = 9, span: float = 3.0) -> Array:
        """Return ``n`` decodings (n, d) of example ``x`` (d,) while latent ``dim`` runs from −span to span (G.4)."""
        z = self.transform(to_numpy(x).reshape(1, -1))[0]
        return self.decode(traverse(array_module(z), z, dim, n, span))

    def _map(self, function: Callable[[Array], Array], x: Any, argument: str, width: int) -> Array:
        """Apply a row-wise function chunk by chunk, without recording; what came in as NumPy goes out as NumPy."""
        self._require_fit()
        check_matrix(argument, x, width)
        dtype, parts = np.dtype(self.dtype), []
        with no_grad():
            for part in chunks(len(x)):
                check_values(argument, x[part], first_row=part.start)
                scaled = x[part] / 255 if x.dtype == np.uint8 else x[part]
                parts.append(function(to_device(self.xp_, scaled, dtype)))
        result = self.xp_.concatenate(parts)
        return to_device(array_module(x), result)

    def _rows(self, x: Any, argument: str = "x", n_features: int | None = None) -> Rows:
        """Return data to be learned from or scored: on the device, checked, and binarised as the settings say."""
        unit_interval = self.likelihood == "bernoulli"
        return Rows(x, resolve_device(self.device), self.dtype, self.binarize, unit_interval, self.seed, n_features, argument)

    def _require_fit(self) -> None:
        if not hasattr(self, "parameters_"):
            mend = "call fit or minivae.load first"
            reject(type(self).__name__, "a fitted model", "one without parameters", mend, NotFittedError)

    # Keeping ------------------------------------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Write parameters, settings and history to one safetensors file; the file appears whole or not at all."""
        self._require_fit()
        arrays = {name: to_numpy(array) for name, array in self.parameters_.state().items()}
        record = {
            "model": type(self).__name__,
            "params": self.get_params(),
            "n_features": self.n_features_in_,
            "history": self.history_,
        }
        checkpoint.save(path, arrays, record)

    def _restore(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        self._check_settings()
        self._build(check_int("n_features", record["n_features"], 1))
        self.parameters_.load_state(arrays, self.xp_)
        self.history_ = record["history"]

    # scikit-learn's protocol --------------------------------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self: Self, **params: Any) -> Self:
        """Change settings by name and return self; they take effect at the next ``fit``."""
        names = [field.name for field in dataclasses.fields(self)]
        for name in params:
            check_choice(f"{type(self).__name__} parameter", name, names)
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def fit_transform(self, x: Any, y: Any = None, **fit_params: Any) -> Array:
        """Return ``fit(x).transform(x)``."""
        return self.fit(x, y, **fit_params).transform(x)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags  # only scikit-learn asks, so it is there

        return Tags(
            estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=TransformerTags(), input_tags=InputTags()
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "parameters_")
