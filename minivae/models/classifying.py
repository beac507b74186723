"""What models that give class probabilities can do."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from minivae.autodiff import Tensor
from minivae.backend import Array, array_module, to_numpy
from minivae.checks import reject
from minivae.models.conditions import classes_of, one_hot
from minivae.models.generative import Generative


class Classifier(Generative):
    """Prediction of class labels, as in scikit-learn; ``classes_`` are the labels in order, (c,).

    Labels are whole numbers or strings; -1 stands for an example without one.
    """

    learned: ClassVar[tuple[str, ...]] = ("classes_",)
    classes_: np.ndarray

    def class_log_probabilities(self, x: Array) -> Tensor:
        """Return log p(y|x) of every class for a batch (n, d): (n, c), in nats."""
        raise NotImplementedError

    def predict_log_proba(self, x: Any) -> Array:
        """Return log p(y|x) of every class, (n, c)."""
        self._require_fit()
        return self._map(lambda x, _: self.class_log_probabilities(x).data, x, None, "x", self.n_features_in_)

    def predict_proba(self, x: Any) -> Array:
        """Return p(y|x) of every class, (n, c)."""
        log_p = self.predict_log_proba(x)
        return array_module(log_p).exp(log_p)

    def predict(self, x: Any) -> np.ndarray:
        """Return the most probable label of each row, (n,)."""
        best = to_numpy(self.predict_log_proba(x)).argmax(axis=1)
        return self.classes_[best]

    def score(self, x: Any, y: Any = None) -> float:
        """Return the accuracy: the share of correct predictions among the rows with a label."""
        predicted = self.predict(x)
        truth = one_hot(y, self.classes_, len(predicted), partial=True)
        labelled = truth.any(axis=1)
        if not labelled.any():
            reject("y", "a label for at least one row", "none")
        return float((predicted == self.classes_[truth.argmax(axis=1)])[labelled].mean())

    def learn_condition(self, y: Any) -> None:
        self.classes_ = classes_of(y, partial=True)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags  # only scikit-learn asks, so it is there

        tags = super().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags, tags.target_tags.required = "classifier", ClassifierTags(), True
        return tags
