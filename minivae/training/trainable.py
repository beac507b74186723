"""What a trainer knows of a model, so that training needs to import none."""

from __future__ import annotations

import math
from typing import Any, Protocol

from minivae.autodiff import Tensor
from minivae.backend import Array
from minivae.nn import ParameterVector
from minivae.training.batches import Rows


class Trainable(Protocol):
    """All that a trainer knows of a model: its settings, its parameters, and its loss with the terms that it consists of."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str
    clip_norm: float | None
    patience: int | None
    noise: str
    dtype: str
    latent_dim: int
    xp_: Any
    parameters_: ParameterVector

    @property
    def seed_(self) -> int: ...

    def check_settings(self) -> None: ...

    @classmethod
    def from_record(cls, params: dict[str, Any]) -> Trainable: ...

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...

    def record(self) -> dict[str, Any]: ...

    def terms(self, x: Array, rng: Any, condition: Array | None = None) -> dict[str, Tensor]: ...

    def begin_epoch(self, epoch: int) -> None: ...

    def end_step(self) -> None: ...

    def loss(self, terms: dict[str, Tensor], epochs_done: float = math.inf) -> Tensor: ...

    def summarize(self, terms: dict[str, float]) -> dict[str, float]: ...

    def evaluate(self, rows: Rows) -> tuple[dict[str, float], dict[str, Any]]: ...

    def whole_obstacle(self) -> str: ...

    def couples_examples(self) -> str: ...
