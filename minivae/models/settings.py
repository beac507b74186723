"""The settings of every model, by scikit-learn's conventions.

They are dataclass fields: the constructor only stores them, and ``get_params`` lists them.  So ``clone``, ``Pipeline`` and
``GridSearchCV`` work, although scikit-learn is not required.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from minivae.backend import DEVICES
from minivae.checks import check_choice, check_int, check_real, reject
from minivae.kernels.counter_noise import NOISES
from minivae.models.likelihoods import LIKELIHOODS
from minivae.nn import ACTIVATIONS, INITIALISERS
from minivae.optim import OPTIMIZERS
from minivae.training.batches import BINARIZE

Self = TypeVar("Self", bound="Settings")

GENERATORS = (np.random.RandomState, np.random.Generator)
FOR_PYTHON = ("random_state", "verbose")  # settings for which the command line has other ways: --seed and --quiet
GONE = ("processes",)  # settings that older files have, and that a model is the same without


@dataclass(kw_only=True, eq=False)
class Settings:
    """The settings of a model and of its training.

    Parameters
    ----------
    latent_dim : number of latent dimensions k.
    hidden_dims : widths of the encoder's hidden layers; the decoder has the same in reverse order.  () makes both affine.
    activation : "relu", "leaky_relu", "elu", "tanh", "sigmoid", "softplus" or "identity".
    likelihood : "bernoulli" (L.1); "gaussian", a variance per example and feature (L.2); "gaussian_fixed", σ² = ``variance`` (L.3);
        "gaussian_shared", one learned σ² that starts at ``variance`` (L.4).
    variance : σ² of the "gaussian_fixed" likelihood, and the initial σ² of "gaussian_shared".
    variance_floor : smallest σ² of the "gaussian" likelihood.
    init : how the weights are initialised, "glorot" or "he".  output_bias : how the bias of the decoder is initialised: "data", at
        the mean of the data, so that training need not first learn that most pixels are black, which can switch the code off; or
        "zeros".
    binarize : how grey pixels become binary: "none" leaves them, "fixed" draws them once, "dynamic" anew at every visit
        in training; the draw of "fixed", and of an evaluation, depends on the row and the seed alone.
    epochs : passes over the data.  batch_size : examples per step.  optimizer : "adam" or "sgd".  learning_rate : its step size.
    clip_norm : largest norm of the gradient, or None for no limit.
    patience : stop after this many epochs without a better loss (on the test set if there is one) and keep the best; None never
        stops.
    seed : seed of all random numbers.  The same seed on the same machine gives the same history to the last bit.
    random_state : scikit-learn's name for the seed; where it is not None, it takes the place of ``seed``.  A whole number is the
        seed; a NumPy RandomState or Generator gives every ``fit`` another one, which is then found in ``seed_`` and in the file.
    verbose : what ``fit`` prints: 0 nothing, 1 a line for every epoch.
    noise : where the random numbers of training come from: "generator", the array module's own, which is fast; or "counter", a
        function of seed and position, which gives the same numbers on every device and lets a GPU replay its steps
        (``minivae.kernels.counter_noise``).  Evaluation draws by row (``minivae.kernels.row_noise``).
    device : "cpu", "cuda" or "auto".  dtype : "float32" or "float64".
    """

    latent_dim: int = 20
    hidden_dims: tuple[int, ...] = (400,)
    activation: str = "relu"
    likelihood: str = "bernoulli"
    variance: float = 1.0
    variance_floor: float = 1e-4
    init: str = "glorot"
    output_bias: str = "data"
    binarize: str = "none"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    clip_norm: float | None = None
    patience: int | None = None
    seed: int = 0
    random_state: int | np.random.RandomState | np.random.Generator | None = None
    verbose: int = 0
    noise: str = "generator"
    device: str = "auto"
    dtype: str = "float32"

    def check_settings(self) -> None:
        """Refuse settings that cannot be used; ``fit`` calls this before anything else."""
        check_int("latent_dim", self.latent_dim, 1)
        check_widths("hidden_dims", self.hidden_dims)
        check_choice("activation", self.activation, ACTIVATIONS, "one of your own has to be in minivae.ACTIVATIONS first")
        check_choice("likelihood", self.likelihood, LIKELIHOODS, "one of your own has to be in minivae.LIKELIHOODS first")
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
        if self.random_state is not None and not isinstance(self.random_state, GENERATORS):
            check_int("random_state", self.random_state, 0, mend="or pass None, a RandomState or a Generator")
        check_int("verbose", int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, 0)
        check_choice("noise", self.noise, NOISES)
        check_choice("device", self.device, DEVICES)
        check_choice("dtype", self.dtype, ("float32", "float64"))

    @property
    def seed_(self) -> int:
        """The seed that the last ``fit`` used."""
        return getattr(self, "_seed", self.seed)

    def _choose_seed(self) -> int:
        """Return the seed for a ``fit``; a generator given as ``random_state`` moves on."""
        state = self.random_state
        if isinstance(state, np.random.RandomState):
            return state.randint(2**31)
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**31))
        return self.seed if state is None else state

    def _use_python_numbers(self) -> None:
        """Turn NumPy numbers among the settings, as from a grid, into Python's: a float64 would make float32 arrays float64."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):
                setattr(self, field.name, value.item())
            elif isinstance(value, (tuple, list)) and any(isinstance(number, np.generic) for number in value):
                setattr(self, field.name, type(value)(np.asarray(value).tolist()))

    @classmethod
    def from_record(cls: type[Self], params: dict[str, Any]) -> Self:
        """Return a model with the settings of a record, which has lists for tuples; a setting that came later has its default."""
        names = {field.name for field in dataclasses.fields(cls)}
        for name in sorted(params.keys() - names - {*GONE}):
            mend = f"take the version of {cls.__name__} that wrote it"
            reject("params", f"settings of {cls.__name__}", repr(name)[:80], mend)
        settings: dict[str, Any] = {name: params[name] for name in names & params.keys()}
        settings |= {name: tuple(value) for name, value in settings.items() if isinstance(value, list)}
        return cls(**settings)

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

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags  # only scikit-learn asks, so it is there

        keeps = TransformerTags(preserves_dtype=[])  # what comes out has the dtype of the model
        takes = InputTags(sparse=True)
        return Tags(estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=keeps, input_tags=takes)


def check_widths(argument: str, widths: Any) -> None:
    """Refuse anything but a tuple of layer widths; () means no layer."""
    if not isinstance(widths, (tuple, list)):
        reject(argument, "a tuple of widths", repr(widths), "write (400,) for one layer")
    for width in widths:
        check_int(argument, width, 1)
