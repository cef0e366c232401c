"""Effective dimension of trained students, to be asked for in a Trial."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tsframe.checks import real_number, whole
from tsframe.measures.asking import Measure, Names
from tsframe.measures.eigen import eigenvalues
from tsframe.measures.gram import gram, parameter_gram
from tsframe.measures.landscape import one_by_one, rows_of
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.start_rows import every_output, fisher_factor
from tsframe.theory.effective_dimension import effective_dimension, effective_dimensionality

__all__ = ["EffectiveDimension"]


@dataclass(frozen=True)
class EffectiveDimension(Measure):
    """How many directions of the weights the training data decide, by the Gauss-Newton matrix.

    With the eigenvalues h_i of the Gauss-Newton matrix of the mean training loss (for cross-entropy
    the Fisher matrix with exact labels) gives ``effective_dimension``, the sum of n h_i / (n h_i +
    eps), and ``effective_dimensionality``, the number of h_i >= eps / (2 (n - 1)); see
    `tsframe.theory.effective_dimension` and `effective_dimensionality`.

    Parameters
    ----------
    precision : float
        eps, the inverse variance of the prior of every weight, > 0.
    probe : int
        The matrix is averaged over so many training rows at most, the first ones, >= 1; n remains
        the number of all.
    """

    precision: float = 1.0
    probe: int = 1000

    def __post_init__(self) -> None:
        sentence = f"precision must be a number > 0; got precision={self.precision!r}."
        object.__setattr__(self, "precision", real_number(self.precision, sentence, strict=True))
        object.__setattr__(self, "probe", whole("probe", self.probe, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name the two dimensions; see `Measure.declare`."""
        if shape.n_train < 2:
            raise ValueError(
                f"an effective dimension needs two training rows; got n_train={shape.n_train}."
            )
        return {"effective_dimension": {}, "effective_dimensionality": {}}

    def flops(self, shape: StudentShape) -> float:
        """Count the matrix on its smaller side, and its eigenvalues."""
        rows = min(self.probe, shape.n_train) * max(1, shape.outputs - 1)
        side = float(min(rows, shape.parameters))
        return 2.0 * rows * side * (side + sum(shape.sizes)) + 4.0 / 3.0 * side**3

    def bytes(self, shape: StudentShape) -> float:
        """Count some copies of the matrix."""
        side = min(min(self.probe, shape.n_train) * shape.outputs, shape.parameters)
        return 8.0 * 4.0 * side**2

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        n = learned.shape.n_train
        found = {name: np.empty(len(learned.tasks)) for name in self.declare(learned.shape)}
        for some, weights, _ in one_by_one(learned):
            rows = rows_of(learned, some)
            for k, place in enumerate(range(*some.indices(len(learned.tasks)))):
                x = rows.x[k, : self.probe, :-1].contiguous()
                passed = forward([layer[k] for layer in weights], learned.activation, x)
                if learned.objective.loss == "cross_entropy":
                    start = fisher_factor(passed.outputs)
                else:  # the loss is a sum of squares without a factor 1/2
                    start = 2.0**0.5 * every_output(passed.outputs)
                deltas = sensitivities(passed, start)
                by_weights = sum(passed.parameters) <= len(x) * start.shape[1]
                matrix = (parameter_gram if by_weights else gram)(passed, deltas) / len(x)
                h = eigenvalues(matrix).values
                floor = len(h) * np.finfo(np.float64).eps * h.max(initial=0.0)
                h = np.where(h > floor, h, 0.0)  # what lies below is rounding, of either sign
                dimension = effective_dimension(h, n, self.precision)
                found["effective_dimension"][place] = float(dimension)
                count = effective_dimensionality(h, n, self.precision)
                found["effective_dimensionality"][place] = float(count)
        return found
