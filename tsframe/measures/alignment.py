"""Alignment of what a student has learned with the labels, with its past and with its teacher.

Its tangent kernel is compared with that of the labels and with its own at initialization; the
directions of the inputs that its first layer and its gradients see, with those of the teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsframe.arrays import OwnLabels
from tsframe.checks import whole
from tsframe.measures.asking import Measure, Names
from tsframe.measures.eigen import eigenvectors, EPS
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, ForwardPass, sensitivities
from tsframe.measures.start_rows import every_output
from tsframe.measures.subspaces import overlaps, random_overlaps
from tsframe.students.activations import ACTIVATIONS
from tsframe.tasks import Task
from tsframe.teachers import Teacher
from tsframe.training.losses import Objective

__all__ = [
    "NTKAlignment",
    "TeacherAlignment",
    "centered",
    "cosine",
    "cosine_distance",
    "gradient_matrix",
    "label_kernel",
    "mean_tangent_kernel",
    "subspace",
    "teacher_gradient_matrix",
]


def mean_tangent_kernel(
    passed: ForwardPass, rates: Sequence[tuple[float, float]] | None = None
) -> Tensor:
    """Give the empirical neural tangent kernel of one student, averaged over its outputs.

    K_ij = (1/outputs) sum_a sum_w rate_w df_a(x_i)/dw df_a(x_j)/dw, over all weights and biases.
    Source: Jacot, Gabriel & Hongler 2018; in wide networks the blocks of two different outputs
    vanish, and each of equal ones is this kernel. `tsframe.measures.tangent` has all blocks.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    rates : sequence of (float, float), optional
        Factors on the learning rate, of the weights and the biases of every layer, as `MLP.rates`
        gives them. By default all are one.

    Returns
    -------
    Tensor, shape (n, n)
    """
    deltas = sensitivities(passed, every_output(passed.outputs))
    kernel = passed.outputs.new_zeros(passed.n, passed.n)
    for layer, (h, delta) in enumerate(zip(passed.inputs, deltas, strict=True)):
        flat, of_weights, of_biases = delta.flatten(1), *(rates[layer] if rates else (1.0, 1.0))
        inputs = of_weights * (h[:, :-1] @ h[:, :-1].mT) + of_biases
        kernel += inputs * (flat @ flat.mT)
    return kernel / passed.outputs.shape[1]


def label_kernel(targets: Tensor, objective: Objective) -> Tensor:
    """Give the kernel of the labels: y y^T, of one-hot classes or of values.

    Parameters
    ----------
    targets : Tensor, shape (n,)
        Classes, or values.
    objective : Objective
        Tells which.

    Returns
    -------
    Tensor, shape (n, n)
    """
    if objective.classes is None:
        return torch.outer(targets, targets)
    return (targets[:, None] == targets).double()


def centered(kernel: Tensor) -> Tensor:
    """Center a kernel in its feature space, H K H with H = I - 1 1^T / n."""
    rows = kernel - kernel.mean(0, keepdim=True)
    return rows - rows.mean(1, keepdim=True)


def cosine(first: Tensor, second: Tensor) -> float:
    """Cosine of the angle between two matrices, <A, B>_F / (|A|_F |B|_F).

    Of centered kernels this is their alignment: Cortes, Mohri & Rostamizadeh 2012, Definition 4.

    Parameters
    ----------
    first, second : Tensor, of one shape
        Any matrices.

    Returns
    -------
    float
        In [0, 1] for positive semidefinite matrices; NaN where one is zero.

    Examples
    --------
    >>> cosine(torch.eye(4), torch.ones(4, 4))
    0.5
    """
    norms = float(first.norm()) * float(second.norm())
    return float((first * second).sum()) / norms if norms else float("nan")


def cosine_distance(first: Tensor, second: Tensor) -> float:
    """One less the cosine of the angle between two matrices, to full relative precision.

    Half the squared distance of the two at unit norm: exactly zero for equal matrices, and no
    difference of nearly equal numbers where a kernel hardly moves.

    Parameters
    ----------
    first, second : Tensor, of one shape
        Any matrices.

    Returns
    -------
    float
        In [0, 2]; NaN where one is zero.

    Examples
    --------
    >>> cosine_distance(torch.eye(4), torch.ones(4, 4))
    0.5
    """
    norms = first.norm(), second.norm()
    if not all(norms):
        return float("nan")
    return float((first / norms[0] - second / norms[1]).square().sum()) / 2.0


def gradient_matrix(passed: ForwardPass, classes: bool) -> Tensor:
    """Give the mean outer product of the gradients of the outputs by the inputs.

    (1/n) sum_ia g_ia g_ia^T with g_ia the gradient of output a at sample i (Radhakrishnan,
    Beaglehole, Pandit & Belkin 2024: the average gradient outer product). Its leading eigenvectors
    are the directions of the inputs that the function depends on.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    classes : bool
        Whether outputs are logits: a shift common to all of them changes no class, and is taken
        out.

    Returns
    -------
    Tensor, shape (dim, dim)
        Not divided by the number of outputs.
    """
    start = every_output(passed.outputs)
    if classes:
        start = start - 1.0 / start.shape[1]
    delta = sensitivities(passed, start)[0]
    gradients = delta.flatten(0, 1) @ passed.weights[0][:, :-1]
    return gradients.mT @ gradients / passed.n


def teacher_gradient_matrix(task: Task, x: Tensor) -> Tensor | None:
    """Give the `gradient_matrix` of the teacher of a task; None if it has no function.

    Parameters
    ----------
    task : Task
        Its teacher is drawn from its seed.
    x : Tensor, shape (n, dim)
        Samples.

    Returns
    -------
    Tensor, shape (dim, dim), or None
        Of the logits of a `Teacher`, before the argmax, or of the value of a `LinearTeacher`.
    """
    if isinstance(task.teacher, OwnLabels):
        return None
    if isinstance(task.teacher, Teacher):
        network = task.teacher.draw(task.inputs, task.seed)
        layers = [torch.tensor(w, device=x.device) for w in network.weights]
        weights = [torch.cat([w, torch.zeros_like(w[:, :1])], 1) for w in layers]
        return gradient_matrix(forward(weights, ACTIVATIONS[network.activation], x), classes=True)
    theta = torch.as_tensor(task.teacher.draw(task.inputs, task.seed).theta, device=x.device)
    return torch.outer(theta, theta)


def subspace(matrix: Tensor, k: int) -> Tensor:
    """Give the leading eigenvectors of a positive semidefinite matrix as rows.

    Parameters
    ----------
    matrix : Tensor, shape (side, side)
        Symmetric.
    k : int
        How many, at most the side.

    Returns
    -------
    Tensor, shape (k, side)
        Orthonormal, the largest eigenvalue first; zeros where it is below the numerical floor.
    """
    found = eigenvectors(matrix, k)
    floor = len(matrix) * EPS * found.values.max(initial=0.0)
    rows = np.where(found.values > floor, found.vectors, 0.0).T.copy()
    return torch.as_tensor(rows, device=matrix.device)


@dataclass(frozen=True)
class NTKAlignment(Measure):
    """Alignment of the empirical tangent kernel with the labels, and how far it has moved.

    Gives ``kernel_target_alignment``, the cosine of the angle between the kernel and that of the
    labels trained on, both centered (Cortes, Mohri & Rostamizadeh 2012), and ``kernel_distance``,
    one less the cosine of the angle between the kernel now and at initialization, not centered
    (Fort et al. 2020). The kernel is `mean_tangent_kernel`, averaged over the outputs, with the
    learning rates of the layers. The alignment is NaN where all labels are the same.

    Parameters
    ----------
    probe : int
        Training samples, the first ones, >= 2; at most all are taken.

    Raises
    ------
    TypeError, ValueError
        If the number is refused.
    """

    probe: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "probe", whole("probe", self.probe, 2))

    def declare(self, shape: StudentShape) -> Names:
        """Name the two numbers; see `Measure.declare`."""
        return {"kernel_target_alignment": {}, "kernel_distance": {}}

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Equal labels have no kernel when centered."""
        return ("kernel_target_alignment",)

    def flops(self, shape: StudentShape) -> float:
        """Count two kernels."""
        n = float(min(self.probe, shape.n_train))
        return 4.0 * n**2 * (sum(shape.sizes) + shape.outputs * sum(shape.sizes[1:]))

    def bytes(self, shape: StudentShape) -> float:
        """Count kernels and sensitivities."""
        n = float(min(self.probe, shape.n_train))
        return 40.0 * n**2 + 24.0 * n * shape.outputs * sum(shape.sizes)

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        found = np.empty((2, len(learned.tasks)))
        for k, sample in enumerate(learned.samples):
            x, y = (
                torch.as_tensor(rows[: self.probe], device=learned.weights[0].device)
                for rows in (sample.x_train, sample.y_train)
            )
            student: Any = learned.tasks[k]
            rates = student.student.rates(x.shape[1], learned.shape.outputs)
            now, then = (
                mean_tangent_kernel(
                    forward([w[k].clone() for w in some], learned.activation, x), rates
                )
                for some in (learned.weights, learned.initial)
            )
            labels = centered(label_kernel(y, learned.objective))
            found[0, k] = cosine(centered(now), labels) if float(labels.abs().max()) else np.nan
            found[1, k] = cosine_distance(now, then)
        return {"kernel_target_alignment": found[0], "kernel_distance": found[1]}


@dataclass(frozen=True)
class TeacherAlignment(Measure):
    """Alignment of the directions that a student sees in the inputs with those of its teacher.

    What a function sees is the mean outer product of its gradients by the inputs, over the training
    inputs: see `gradient_matrix`; for classes, of logits, the teacher's before its argmax. Gives
    ``teacher_alignment``, the cosine of the angle between these matrices of student and teacher;
    and along ``teacher_dim`` k = 1, 2, ... overlaps ||A_k^T B_k||_F^2 / k with the k leading
    directions of the teacher: ``gradient_overlap`` of those of the student's gradients,
    ``weight_overlap`` of the leading right singular vectors of its first layer without biases, and
    ``random_teacher_overlap`` = k / dim, that of random directions. NaN stands beyond the rank of
    either, and everywhere for labels without a teacher (`OwnLabels`).

    Parameters
    ----------
    directions : int or None
        Largest k, >= 1, at most dim; None takes the number of classes less one, or one for
        regression: all that a linear teacher sees.
    probe : int
        Training samples, the first ones, >= 1; at most all are taken.

    Raises
    ------
    TypeError, ValueError
        If a number is refused.
    """

    directions: int | None = None
    probe: int = 200

    def __post_init__(self) -> None:
        for name in ("directions", "probe"):
            value = getattr(self, name)
            if name == "directions" and value is None:
                continue
            object.__setattr__(self, name, whole(name, value, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name the cosine and the overlaps; see `Measure.declare`."""
        dims = {"teacher_dim": tuple(float(k) for k in range(1, self._count(shape) + 1))}
        names = ("gradient_overlap", "weight_overlap", "random_teacher_overlap")
        return {"teacher_alignment": {}} | dict.fromkeys(names, dims)

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Real labels have no teacher, and a constant student sees nothing."""
        return ("teacher_alignment", "gradient_overlap", "weight_overlap")

    def flops(self, shape: StudentShape) -> float:
        """Count gradients, their products and three times their eigenvectors."""
        n = float(min(self.probe, shape.n_train) * shape.outputs)
        return n * (4.0 * shape.parameters + 4.0 * shape.dim**2) + 30.0 * float(shape.dim) ** 3

    def bytes(self, shape: StudentShape) -> float:
        """Count gradients and matrices of the inputs."""
        n = float(min(self.probe, shape.n_train) * shape.outputs)
        return 24.0 * n * (shape.dim + sum(shape.sizes)) + 64.0 * float(shape.dim) ** 2

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        students, count = len(learned.tasks), self._count(learned.shape)
        found = np.full((2, students, count), np.nan)
        cosines = np.full(students, np.nan)
        for k, (sample, task) in enumerate(zip(learned.samples, learned.tasks, strict=True)):
            x = torch.as_tensor(sample.x_train[: self.probe], device=learned.weights[0].device)
            teacher = teacher_gradient_matrix(task, x)
            if teacher is None:
                continue
            passed = forward([w[k].clone() for w in learned.weights], learned.activation, x)
            student = gradient_matrix(passed, classes=learned.objective.classes is not None)
            first = passed.weights[0][:, :-1]
            cosines[k] = cosine(student, teacher)
            theirs = subspace(teacher, count)[None]
            for row, matrix in enumerate((student, first.mT @ first)):
                found[row, k] = overlaps(subspace(matrix, count)[None], theirs)[0]
        return {
            "teacher_alignment": cosines,
            "gradient_overlap": found[0],
            "weight_overlap": found[1],
            "random_teacher_overlap": np.tile(
                random_overlaps(count, learned.shape.dim), (students, 1)
            ),
        }

    def _count(self, shape: StudentShape) -> int:
        natural = 1 if shape.classes is None else shape.classes - 1
        return min(self.directions or natural, shape.dim)
