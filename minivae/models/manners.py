"""What Python and scikit-learn expect of any model: that it can be copied and pickled, and that it names its output columns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from minivae.backend import Array, to_numpy
from minivae.checks import check_choice
from minivae.models.settings import Settings
from minivae.nn import Blank, Parameter, ParameterVector

if TYPE_CHECKING:
    import numpy.typing as npt

Self = TypeVar("Self", bound="Manners")

OUTPUTS = ("default", "pandas", "polars")


class Manners(Settings):
    """Copying, pickling, and output as tables with named columns."""

    parameters_: ParameterVector
    n_features_in_: int
    xp_: Any

    if TYPE_CHECKING:  # these are Model's

        def latent_width(self) -> int: ...

        def _make_parameters(self, n_features: int, rng: Any) -> list[Parameter]: ...

        def _require_fit(self) -> None: ...

    # Copies -------------------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle contains: all attributes, with arrays in place of the networks.

        The parameters are views of one vector, and copying them one by one would separate them from it.
        """
        state = vars(self).copy()
        if "parameters_" in state:
            state["parameters_"] = {name: to_numpy(array) for name, array in self.parameters_.state().items()}
            twin = object.__new__(type(self))
            twin.__dict__.update(vars(self))
            twin._make_parameters(self.n_features_in_, Blank())
            made = {name for name, value in vars(twin).items() if value is not vars(self).get(name)}
            state = {name: value for name, value in state.items() if name != "xp_" and name not in made}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        parameters = state.pop("parameters_", None)
        self.__dict__.update(state)
        if parameters is not None:
            self.parameters_ = ParameterVector(self._make_parameters(self.n_features_in_, Blank()), self.xp_, self.dtype)
            self.parameters_.load_state(parameters, self.xp_)

    # Names --------------------------------------------------------------------------------------------------------------------

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the names of the columns of ``transform``: "vae0", "vae1", …"""
        self._require_fit()
        return np.array([f"{type(self).__name__.lower()}{j}" for j in range(self.latent_width())], dtype=object)

    def set_output(self: Self, *, transform: str | None = None) -> Self:
        """Choose what ``transform`` returns: "default", an array; "pandas" or "polars", a table with named columns."""
        if transform is not None:
            self._output = check_choice("transform", transform, OUTPUTS)
        return self

    def _as_asked(self, features: Array, x: Any) -> Any:
        """Return the features (n, latent_dim) of ``x`` in the form that ``set_output`` or scikit-learn's configuration asks for."""
        sklearn = sys.modules.get("sklearn")
        output = getattr(self, "_output", None) or (sklearn.get_config()["transform_output"] if sklearn else "default")
        if output == "pandas":
            import pandas

            index = x.index if hasattr(x, "iloc") else None
            return pandas.DataFrame(to_numpy(features), columns=self.get_feature_names_out(), index=index)
        if output == "polars":
            import polars

            return polars.DataFrame(to_numpy(features), schema=list(self.get_feature_names_out()))
        return features
