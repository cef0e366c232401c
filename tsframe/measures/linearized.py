"""How far a trained student is from its linearization, and from its limit of infinite width.

The linearized student is solved in closed form: gradient descent with the tangent kernel of the
initialization, for as many steps of the same rate. The limit is the same with the kernel of the
infinitely wide network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import whole
from tsframe.measures.asking import Measure, Names
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, students
from tsframe.measures.tangent import tangent_kernel
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.kernel import WIDE
from tsframe.theory.gradient_flow import kernel_descent
from tsframe.training.schedules import Constant
from tsframe.training.sgd import SGD

__all__ = ["Linearization", "WideLimit"]


@dataclass(frozen=True)
class _BesideDescent(Measure):
    """What is held against closed forms of plain gradient descent on a regression.

    Parameters
    ----------
    probe : int
        Test rows on which functions are compared, the first ones, >= 1; at most all are taken.
    """

    probe: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "probe", whole("probe", self.probe, 1))

    def check(self, trial: object) -> None:
        """Refuse all but full batches of plain gradient descent.

        Raises
        ------
        ValueError
            If the trial trains otherwise.
        """
        training = getattr(trial, "training", None)
        plain = isinstance(training, SGD) and (
            training.batch_size is None
            and training.momentum == training.weight_decay == 0.0
            and training.schedule == Constant()
        )
        if not plain:
            raise ValueError(
                f"{type(self).__name__} is measured beside plain gradient descent in closed form: "
                "full batches of SGD at a constant rate, without momentum and weight decay; got "
                f"training={training!r}. Use SGD(lr, max_steps=...)."
            )
        student = getattr(trial, "student", None)
        dropout = getattr(student, "dropout", 0.0)
        normalized = getattr(student, "normalized", False)
        augmentation = getattr(trial, "augmentation", None)
        if dropout or normalized or augmentation is not None:
            raise ValueError(
                f"{type(self).__name__} is measured beside gradient descent on the training rows "
                f"as they are; got dropout={dropout!r}, batch_norm={normalized!r} and "
                f"augmentation={augmentation!r}. Leave all out."
            )

    def flops(self, shape: StudentShape) -> float:
        """Predict the work: Gram matrices of all rows, and the eigenvalues of those of training."""
        rows = shape.n_train + min(self.probe, shape.n_test)
        grams = 2.0 * rows**2 * (2 * sum(shape.sizes) + len(shape.sizes))
        passes = 6.0 * rows * shape.parameters
        return 10.0 * (2 * grams + passes + 20.0 * shape.n_train**3)

    def bytes(self, shape: StudentShape) -> float:
        """Predict the working memory."""
        rows = shape.n_train + min(self.probe, shape.n_test)
        return 8.0 * (4 * rows**2 + 4 * rows * sum(shape.sizes) + 2 * shape.parameters)

    def _names(self, shape: StudentShape, names: Sequence[str]) -> Names:
        if shape.classes is not None or shape.outputs != 1:
            raise ValueError(
                f"{type(self).__name__} compares functions with one output; got outputs="
                f"{shape.outputs}. Use a LinearTeacher, or labels that are numbers."
            )
        return {name: {} for name in names}

    def _gather(self, learned: Learned, one: Any) -> dict[str, np.ndarray]:
        pairs = zip(students(learned.weights), students(learned.initial), strict=True)
        found = [
            one(_Student(learned, k, self.probe, now, start))
            for k, (now, start) in enumerate(pairs)
        ]
        return {name: np.array([values[name] for values in found]) for name in found[0]}


class _Student:
    """One student now and at its start, on its training rows and on some test rows."""

    def __init__(
        self, learned: Learned, k: int, probe: int, now: list[Tensor], start: list[Tensor]
    ) -> None:
        sample, self.task = learned.samples[k], learned.tasks[k]
        x = np.concatenate([sample.x_train, sample.x_test[:probe]])
        self.x, self.n = x, len(sample.x_train)
        self.y, self.y_test = sample.y_train, sample.y_test[:probe]
        rows = torch.as_tensor(x, device=now[0].device)
        self._activation, self._rows, self._start = learned.activation, rows, start
        spec: Any = self.task
        self.rates = spec.student.rates(x.shape[1], 1)
        self.student, self.lr, self.steps = spec.student, spec.training.lr, learned.steps[k]
        self.now, self._weights = forward(now, learned.activation, rows).outputs[:, 0], now
        self.fitted = self.now.cpu().numpy()
        self.kernel, outputs = self.tangent(start)
        self.begun = outputs[:, 0]

    def tangent(
        self, weights: Sequence[Tensor], layers: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give the kernel and the outputs on all rows."""
        return tangent_kernel(weights, self._activation, self._rows, self.rates, layers)

    def tangent_now(self) -> np.ndarray:
        """Give the kernel of the weights as they are now, on the training rows."""
        rows = self._rows[: self.n]
        return tangent_kernel(self._weights, self._activation, rows, self.rates)[0]

    def readout_kernel(self) -> np.ndarray:
        """Give the part of the kernel that the readout has, on the training rows."""
        rows, last = self._rows[: self.n], len(self._start) - 1
        return tangent_kernel(self._start, self._activation, rows, self.rates, [last])[0]

    def descend(self, kernel: np.ndarray) -> np.ndarray:
        """Give the outputs on the test rows, had the student descended in a fixed kernel."""
        n, rate = self.n, 2.0 * self.lr  # its loss is the mean square, without factor 1/2
        moved = kernel_descent(
            kernel[n:, :n], kernel[:n, :n], self.y - self.begun[:n], rate, [self.steps]
        )
        return np.asarray(self.begun[n:] + moved[0])


@dataclass(frozen=True)
class Linearization(_BesideDescent):
    """Distance of a student from the one that is linear in its weights, at the same start.

    ``linearized_distance``: root mean square over test rows of the difference between the outputs
    of the student and of its linearization, after equal numbers of steps. ``linearized_error``:
    test error of the latter, on these rows. ``kernel_drift``: |K_t - K_0| / |K_0| (Frobenius) of
    the tangent kernel on the training inputs. Lazy training is where the first and last are small
    (Chizat, Oyallon & Bach 2019). For regression by full batches of plain gradient descent.

    Parameters
    ----------
    probe : int
        Test rows on which functions are compared, the first ones, >= 1; at most all are taken.
    """

    def declare(self, shape: StudentShape) -> Names:
        """Name the three measures; see `Measure.declare`."""
        return self._names(shape, ("linearized_distance", "linearized_error", "kernel_drift"))

    def __call__(self, learned: Learned) -> dict[str, np.ndarray]:
        """Measure students; see `Measure`."""

        def one(student: _Student) -> dict[str, float]:
            n = student.n
            linear = student.descend(student.kernel)
            begun = student.kernel[:n, :n]
            moved = np.linalg.norm(student.tangent_now() - begun) / np.linalg.norm(begun)
            return {
                "linearized_distance": root_mean_square(student.fitted[n:] - linear),
                "linearized_error": root_mean_square(linear - student.y_test) ** 2,
                "kernel_drift": float(moved),
            }

        return self._gather(learned, one)


@dataclass(frozen=True)
class WideLimit(_BesideDescent):
    """Distance of a student from the infinitely wide one.

    ``limit_distance``: root mean square over test rows of the difference between the outputs of the
    student and of one that starts as the same function and descends in the limit kernel.
    ``ntk_distance`` and ``nngp_distance``: |K - K_limit| / |K_limit| (Frobenius, training inputs)
    of the tangent kernel at initialization, and of the part of it that the readout has, whose limit
    is the covariance of the outputs. For students that begin as `Jacot2018` says, with ReLU or erf
    units; regression by full batches of plain gradient descent.

    Parameters
    ----------
    probe : int
        Test rows on which functions are compared, the first ones, >= 1; at most all are taken.
    """

    def declare(self, shape: StudentShape) -> Names:
        """Name the three measures; see `Measure.declare`."""
        return self._names(shape, ("limit_distance", "ntk_distance", "nngp_distance"))

    def check(self, trial: object) -> None:
        """Refuse students without a limit in closed form.

        Raises
        ------
        ValueError
            If the trial trains otherwise, or its student has no such limit.
        """
        super().check(trial)
        student = getattr(trial, "student", None)
        law = getattr(student, "initialization", None)
        activation = getattr(student, "activation", None)
        if not isinstance(law, Jacot2018) or activation not in WIDE:
            raise ValueError(
                "WideLimit needs a student whose kernel has a limit in closed form: "
                f"MLP(..., activation={' or '.join(map(repr, WIDE))}, initialization=Jacot2018()); "
                f"got student={student!r}."
            )

    def __call__(self, learned: Learned) -> dict[str, np.ndarray]:
        """Measure students; see `Measure`."""

        def one(student: _Student) -> dict[str, float]:
            n, law = student.n, student.student.initialization
            kernels = WIDE[student.student.activation](
                student.x,
                student.x,
                student.student.depth,
                law.weight_variance,
                law.bias_variance,
            )
            nngp = kernels.nngp[:n, :n]
            ntk = kernels.ntk[:n, :n]
            away = student.fitted[n:] - student.descend(kernels.ntk)
            return {
                "limit_distance": root_mean_square(away),
                "ntk_distance": relative(student.kernel[:n, :n], ntk),
                "nngp_distance": relative(student.readout_kernel(), nngp),
            }

        return self._gather(learned, one)


def relative(matrix: np.ndarray, other: np.ndarray) -> float:
    """Distance of two matrices in units of the second, by the Frobenius norm."""
    return float(np.linalg.norm(matrix - other) / np.linalg.norm(other))


def root_mean_square(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
