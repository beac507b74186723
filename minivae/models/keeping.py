"""How a model becomes a file, and a file a model again: parameters, settings and history, checked before anything large is made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from minivae.backend import to_numpy
from minivae.checks import check_flag, reject
from minivae.models.manners import Manners
from minivae.nn import Blank, Parameter, ParameterVector
from minivae.training import checkpoint
from minivae.training.keeper import parameters_of
from minivae.training.schema import FINISHED, STATE, compare

Self = TypeVar("Self", bound="Keeping")


class Keeping(Manners):
    """Saving to a file and loading from one."""

    learned: ClassVar[tuple[str, ...]] = ()  # attributes that ``fit`` learns beside the parameters, and that a file has to keep
    history_: dict[str, Any]

    if TYPE_CHECKING:  # this is Model's

        def _require_finite(self) -> None: ...

    def save(self, path: Any, half: bool = False) -> None:
        """Write parameters, settings and history to one safetensors file; the file appears whole or not at all.

        With ``half`` the parameters are stored in float16, which moves each by at most 2⁻¹¹ of itself, or 3e-8 where that is more.
        """
        self._require_finite()
        arrays = {name: to_numpy(array) for name, array in self.parameters_.state().items()}
        if check_flag("half", half):
            with np.errstate(over="ignore"):
                arrays = {name: array.astype(np.float16) for name, array in arrays.items()}
            checkpoint.check_finite(arrays)  # a parameter above 65,504 became infinite
        checkpoint.save(path, arrays, self.record())

    def record(self) -> dict[str, Any]:
        """Return everything needed beside the parameters to build this model again, as values that JSON can hold."""
        return {
            "model": type(self).__name__,
            "params": self.get_params() | {"seed": self.seed_, "random_state": None},
            "n_features": self.n_features_in_,
            "learned": {name: _plain(getattr(self, name)) for name in self.learned},
            "history": self.history_,
        }

    @classmethod
    def announced(cls: type[Self], kept: checkpoint.Kept, device: str | None = None) -> tuple[Self, list[Parameter]]:
        """Return the model that a file announces, and its parameters, for which there is no memory yet.

        The settings in a file may ask for anything, so they are compared with the arrays before anything large is made.
        """
        record = kept.record
        compare("record", record, STATE if "training" in record else FINISHED)
        model = cls.from_record(record["params"])
        model.check_settings()
        model.device = device or model.device
        model._relearn(record["learned"])
        parameters = model._make_parameters(record["n_features"], Blank())
        found = parameters_of(kept.kinds)
        half = "training" not in record and {kind.dtype for kind in found.values()} == {"F16"}
        dtype = np.float16 if half else model.dtype
        checkpoint.check_kinds({parameter.name: checkpoint.kind_of(dtype, parameter.shape) for parameter in parameters}, found)
        widths = {len(row) for row in record["history"].get("kl_per_dimension", ())}
        if max(record["history"].get("active_units", ()), default=0) > model.latent_dim or widths - {model.latent_dim}:
            reject("history", f"figures of {model.latent_dim} latent dimensions", "others")
        most = sum(parameter.data.size for parameter in parameters)
        for name, kind in kept.kinds.items():  # what a training keeps beside the parameters is no larger than all of them
            if math.prod(kind.shape) > most:
                reject(f"array {name}", f"at most {most} numbers", math.prod(kind.shape))
        return model, parameters

    @classmethod
    def restored(cls: type[Self], kept: checkpoint.Kept, device: str) -> Self:
        """Return the model that is kept in a file, on a device."""
        model, parameters = cls.announced(kept, device)
        arrays = parameters_of(kept.arrays())
        checkpoint.check_finite(arrays)
        model.parameters_ = ParameterVector(parameters, model.xp_, model.dtype)
        model.parameters_.load_state(arrays, model.xp_)
        model.history_ = kept.record["history"]
        return model

    def _relearn(self, learned: dict[str, Any]) -> None:
        """Take up what ``record`` says of the learned attributes."""
        if learned.keys() != set(self.learned):
            reject("learned", ", ".join(self.learned) or "nothing", ", ".join(learned)[:80] or "nothing")
        for name, value in learned.items():
            setattr(self, name, np.asarray(value) if isinstance(value, list) else value)


def _plain(value: Any) -> Any:
    """Return a learned attribute as JSON knows it: an array becomes a list, which ``_relearn`` makes an array again."""
    return value.tolist() if isinstance(value, np.ndarray) else value
