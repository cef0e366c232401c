"""Train students that are linear in their weights, on one data set, by solving for the weights.

What students share is computed once: the inputs, the features or the kernel of a student, and its
factorization at a penalty, however many labels and penalties there are. What is left is done
student by student, so that the bits of one never depend on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsframe.measures.classes import class_measures
from tsframe.measures.errors import is_interpolated
from tsframe.samples import Labels, Samples
from tsframe.solving.kernel_ridge import Gram
from tsframe.solving.least_norm import column_norms, LeastNorm
from tsframe.students.kernel import Kernel
from tsframe.students.linear import Linear
from tsframe.students.random_features import RandomFeatures
from tsframe.tasks import draw_tasks, Task
from tsframe.training.losses import Objective
from tsframe.training.ridge import Ridge

__all__ = [
    "EXACT_MEASURES",
    "ExactTask",
    "Solvable",
    "check_solvable",
    "solve_students",
]

Floats = NDArray[np.float64]
Solvable = Linear | RandomFeatures | Kernel

EXACT_MEASURES = (
    *("train_error", "test_error", "train_loss", "test_loss"),
    *("interpolated", "weight_norm", "rank", "condition"),
)


class ExactTask(Task, Protocol):
    """A task whose student is solved for."""

    @property
    def student(self) -> Solvable: ...  # noqa: D102 - described by Trial
    @property
    def training(self) -> Ridge: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Solved:
    """One student: its outputs and what it took to find it."""

    train: Floats  # (n_train, outputs)
    test: Floats  # (n_test, outputs)
    norm: float
    rank: int
    condition: float


def solve_students(
    tasks: Sequence[ExactTask], interrupted: Callable[[], bool]
) -> dict[str, NDArray[np.float64] | NDArray[np.bool_]]:
    """Solve for the students of one data set: tasks of equal `sharing_key`.

    Parameters
    ----------
    tasks : sequence of ExactTask
        One student each.
    interrupted : callable
        Asked before every student; InterruptedError is raised once it says so.

    Returns
    -------
    dict of ndarray, shapes (tasks,)
        The measures by name, and ``diverged``: whether numbers ran out of range.

    Raises
    ------
    InterruptedError
        When `interrupted` says so.
    """
    samples = draw_tasks(tasks)
    students = list(dict.fromkeys(task.student for task in tasks))
    found: dict[int, Solved] = {}
    for student in students:
        here = [k for k, task in enumerate(tasks) if task.student == student]
        data: _OnKernel | _OnFeatures
        if isinstance(student, Kernel):
            data = _OnKernel(student, samples[0])
        else:
            data = _OnFeatures(student, samples[0], tasks[0].seed)
        for k in sorted(here, key=lambda k: tasks[k].training.penalty):
            if interrupted():
                raise InterruptedError("training was interrupted before all students were solved")
            labels = _targets(samples[k].y_train, tasks[k].objective)
            found[k] = data.solve(labels, tasks[k].training.penalty)
    rows: dict[str, list[float]] = {name: [] for name in EXACT_MEASURES}
    for k, (task, sample) in enumerate(zip(tasks, samples, strict=True)):
        one = found[k]
        train_error, train_loss = _errors(one.train, sample.y_train, task.objective)
        test_error, test_loss = _errors(one.test, sample.y_test, task.objective)
        fits = is_interpolated(np.array([train_error]), sample.y_train[None], task.objective)
        values = (train_error, test_error, train_loss, test_loss)
        for name, value in zip(
            EXACT_MEASURES, (*values, fits[0], one.norm, one.rank, one.condition), strict=True
        ):
            rows[name].append(float(value))
    measured: dict[str, NDArray[np.float64] | NDArray[np.bool_]] = {
        name: np.array(values) for name, values in rows.items()
    }
    if tasks[0].objective.classes is not None:
        measured |= class_measures(samples)
    measured["diverged"] = ~np.isfinite(rows["train_loss"]) | ~np.isfinite(rows["test_loss"])
    return measured


def check_solvable(
    student: object,
    training: object,
    loss: str,
    precision: str,
    curve_steps: Sequence[int],
) -> None:
    """Refuse what cannot be solved exactly, e.g. while a trial is built.

    Parameters
    ----------
    student, training : object
        Specs of a student and of its training.
    loss, precision, curve_steps
        As in `tsframe.trial.Trial`.

    Raises
    ------
    TypeError
        If student and training do not go together.
    ValueError
        If the loss, the precision or the steps are none of `Ridge`.
    """
    solvable = isinstance(student, Solvable)
    if not isinstance(training, Ridge):
        if solvable:
            instead = {
                Linear: "or take steps with MLP(width=1, depth=0)",
                RandomFeatures: "or train both layers of an MLP",
                Kernel: "or train a wide MLP",
            }[type(student)]
            raise TypeError(
                f"{type(student).__name__} takes no steps; got training={training!r}. Solve it by "
                f"Ridge(penalty), {instead}."
            )
        return
    if not solvable:
        raise TypeError(
            f"Ridge solves students that are linear in their weights: Linear(), RandomFeatures(), "
            f"Kernel(); got student={student!r}. Train an MLP by SGD or Adam."
        )
    if loss != "mse":
        raise ValueError(
            f"Ridge minimizes squares, of one-hot labels for classes; got loss={loss!r}. Leave the "
            "loss out, or take an MLP."
        )
    if precision != "float64":
        raise ValueError(
            f"Ridge is solved in float64 only; got precision={precision!r}. Leave it out."
        )
    if curve_steps:
        raise ValueError(
            f"curve_steps are steps of training, and Ridge takes none; got {curve_steps!r}. Leave "
            "them out, or take an MLP."
        )


class _OnFeatures:
    """The features of one student on one data set, factored at the penalty asked for last."""

    def __init__(self, student: Linear | RandomFeatures, samples: Samples, seed: int) -> None:
        self.train, self.test = samples.x_train, samples.x_test
        if isinstance(student, RandomFeatures):
            self.train = student.features(self.train, seed)
            self.test = student.features(self.test, seed)
        self._factored: tuple[float, LeastNorm] | None = None

    def solve(self, labels: Floats, penalty: float) -> Solved:
        """Solve for labels of shape (n_train, outputs)."""
        if self._factored is None or self._factored[0] != penalty:
            self._factored = (penalty, LeastNorm.factor(self.train, penalty))
        system = self._factored[1]
        w = system.solve(labels)
        norm = float(column_norms(w.reshape(-1, 1))[0])
        return Solved(self.train @ w, self.test @ w, norm, system.rank, system.condition)


class _OnKernel:
    """The kernel of one student on one data set, decomposed once for all penalties."""

    def __init__(self, student: Kernel, samples: Samples) -> None:
        self.train = _pairs(student, samples.x_train, samples.x_train)
        self.test = _pairs(student, samples.x_test, samples.x_train)
        self.gram = Gram.decompose(self.train)

    def solve(self, labels: Floats, penalty: float) -> Solved:
        """Solve for labels of shape (n_train, outputs)."""
        a, norm = self.gram.solve(labels, penalty)
        condition = self.gram.condition(penalty)
        return Solved(self.train @ a, self.test @ a, norm, self.gram.rank, condition)


def _pairs(student: Kernel, x1: Floats, x2: Floats) -> Floats:
    pairs = np.asarray(student.kernel(x1, x2), np.float64)
    if pairs.shape != (len(x1), len(x2)):
        raise ValueError(
            f"kernel must give one number a pair of inputs, shape ({len(x1)}, {len(x2)}); got "
            f"shape {pairs.shape} from {student!r}."
        )
    return pairs


def _targets(y: Labels, objective: Objective) -> Floats:
    """Give what is regressed on, shape (n, outputs): numbers, or one-hot classes."""
    if objective.classes is None:
        return np.asarray(y, np.float64)[:, None]
    return np.eye(objective.classes)[y]


def _errors(outputs: Floats, y: Labels, objective: Objective) -> tuple[float, float]:
    """Mean error and mean loss, as `Objective` defines them, of outputs of shape (n, outputs)."""
    loss = float(np.square(outputs - _targets(y, objective)).sum(axis=1).mean())
    if objective.classes is None:
        return loss, loss
    lost = np.isnan(outputs).any(axis=1)
    return float(((outputs.argmax(axis=1) != y) | lost).mean()), loss
