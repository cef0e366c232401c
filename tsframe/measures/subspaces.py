"""Subspaces of the weights: overlaps of stiff directions, and the fraction of the way in them.

A subspace is given by orthonormal rows, the stiffest first, so that its first k rows span that of
dimension k. Random subspaces of dimension k among P have an overlap of k / P in the mean, and a
random way has k / P of its square in them: nothing below that says anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsframe.checks import whole
from tsframe.measures.asking import Measure, Names
from tsframe.measures.eigen import eigenvectors, EPS
from tsframe.measures.gram import gram, parameter_eigenvectors, parameter_gram
from tsframe.measures.hessian import dense
from tsframe.measures.hessian_spectra import loss_curvature, random_signs
from tsframe.measures.lanczos import lanczos, ritz
from tsframe.measures.landscape import flat
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.start_rows import every_output, fisher_factor
from tsframe.students.activations import Activation
from tsframe.training.losses import Objective
from tsframe.training.products import slotwise_product

__all__ = [
    "StiffTravel",
    "SubspaceOverlap",
    "hessian_directions",
    "overlaps",
    "random_overlaps",
    "stiff_directions",
    "traveled",
]

SETTLED = 1e-6  # of the largest Ritz value, above which the residual of a direction leaves it open


def overlaps(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Overlap of the subspaces of the first k directions of two matrices, for every k.

    ||A^T B||_F^2 / k, the mean squared cosine of the principal angles: 1 for equal subspaces, 0 for
    orthogonal ones, k / P in the mean for random ones.

    Parameters
    ----------
    first, second : Tensor, shapes (students, k, P)
        Orthonormal rows, the stiffest first; rows of zeros where there are no more directions.

    Returns
    -------
    ndarray, shape (students, k)
        For subspaces of dimension 1, 2, ..., k; NaN where one of the two has no more directions.

    Examples
    --------
    >>> axes = torch.eye(3, dtype=torch.float64)
    >>> overlaps(axes[None, :2], axes[None, [2, 0]]).tolist()
    [[0.0, 0.5]]
    """
    squares = slotwise_product(first, second.mT).square().cpu().numpy()
    dims = np.arange(1, squares.shape[1] + 1)
    nested = squares.cumsum(1).cumsum(2)[:, dims - 1, dims - 1] / dims
    missing = [(rows.square().sum(2) == 0.0).cpu().numpy() for rows in (first, second)]
    return np.where(missing[0] | missing[1], np.nan, nested)


def random_overlaps(k: int, parameters: int) -> NDArray[np.float64]:
    """Mean overlap of random subspaces of dimension 1, 2, ..., k among P, shape (k,): k / P."""
    return np.arange(1, k + 1) / parameters


def traveled(directions: Tensor, way: Tensor) -> NDArray[np.float64]:
    """Fraction of a squared way that lies in the subspace of the first k directions, for every k.

    ||U_k^T (w - w_0)||^2 / ||w - w_0||^2.

    Parameters
    ----------
    directions : Tensor, shape (students, k, P)
        Orthonormal rows; zeros where there are no more.
    way : Tensor, shape (students, P)
        Weights now, less those at initialization.

    Returns
    -------
    ndarray, shape (students, k)
        In [0, 1]; NaN for a student that has not moved, and where there are no more directions.
    """
    along = slotwise_product(directions, way[:, :, None])[:, :, 0].cpu().numpy()
    total = slotwise_product(way[:, None], way[:, :, None])[:, 0].cpu().numpy()
    known = (directions.square().sum(2) > 0.0).cpu().numpy() & (total > 0.0)
    fractions = np.cumsum(along**2, axis=1) / np.where(total > 0.0, total, 1.0)
    return np.where(known, fractions, np.nan)


def stiff_directions(
    weights: Sequence[Tensor], activation: Activation, x: Tensor, objective: Objective, k: int
) -> Tensor:
    """Give the stiffest directions of the Gauss-Newton matrix of one student among its weights.

    For cross-entropy that is the Fisher matrix with exact labels. They come from the Gram matrix of
    layer products, or from the matrix itself where there are fewer weights than rows.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (fan_out, fan_in + 1)
        Of one student.
    activation : Activation
        Of the hidden layers.
    x : Tensor, shape (n, dim)
        Samples.
    objective : Objective
        The loss.
    k : int
        Directions wanted.

    Returns
    -------
    Tensor, shape (k, P)
        Orthonormal rows, the stiffest first; zeros where eigenvalues fall below the numerical
        floor, side * eps of the largest: there directions would be noise.
    """
    passed = forward(weights, activation, x)
    entropy = objective.loss == "cross_entropy"
    start = (fisher_factor if entropy else every_output)(passed.outputs)
    deltas = sensitivities(passed, start)
    side, parameters = start.shape[0] * start.shape[1], sum(passed.parameters)
    result = x.new_zeros(k, parameters)
    by_weights = parameters <= side
    matrix = (parameter_gram if by_weights else gram)(passed, deltas)
    found = eigenvectors(matrix, min(k, len(matrix)))
    many = int((found.values > len(matrix) * EPS * found.values.max(initial=0.0)).sum())
    if many == 0:
        return result
    vectors = found.vectors[:, :many]
    if by_weights:
        result[:many] = torch.as_tensor(vectors.T.copy(), device=x.device)
        return result
    layers = parameter_eigenvectors(passed, deltas, found.values[:many], vectors)
    result[:many] = torch.cat([layer.flatten(1) for layer in layers], 1)
    return result


def hessian_directions(learned: Learned, k: int, dense_up_to: int, probe: int | None) -> Tensor:
    """Give the directions of the largest eigenvalues of the Hessian of the training loss.

    Parameters
    ----------
    learned : Learned
        Students of one shape.
    k : int
        Directions wanted, at most P.
    dense_up_to : int
        Largest P of which the whole matrix is decomposed; above, Lanczos takes 8 k + 40 steps.
    probe : int or None
        Training samples that the loss is averaged over, the first ones; None takes all.

    Returns
    -------
    Tensor, shape (students, k, P)
        Orthonormal rows, the stiffest first; zeros from the first one on that Lanczos leaves open
        by more than 1e-6 of the largest eigenvalue.
    """
    p, like = learned.shape.parameters, learned.weights[0]
    if p > dense_up_to:
        start = random_signs(learned, 1, p)
        ends = ritz(lanczos(loss_curvature(learned, probe).hessian, start, 8 * k + 40), k)
        # A comparison with NaN is false: where there is no direction, none is settled.
        settled = ends.largest_residual <= SETTLED * np.abs(ends.largest[:, :1])
        known = torch.as_tensor(np.logical_and.accumulate(settled, axis=1), device=like.device)
        return torch.where(known[:, :, None], ends.vectors, 0.0)
    rows = []
    for one in range(len(learned.tasks)):
        curvature = loss_curvature(learned.some([one]), probe)
        matrix = dense(curvature.hessian, 1, p, like, curvature.columns_at_once)[0]
        rows.append(eigenvectors(matrix, k).vectors.T)
    return torch.as_tensor(np.stack(rows), device=like.device)


def _fisher_directions(learned: Learned, weights: list[Tensor], k: int, probe: int) -> Tensor:
    rows = []
    for one, sample in enumerate(learned.samples):
        x = torch.as_tensor(sample.x_train[:probe], device=weights[0].device)
        own = [layer[one].clone() for layer in weights]
        rows.append(stiff_directions(own, learned.activation, x, learned.objective, k))
    return torch.stack(rows)


@dataclass(frozen=True)
class StiffTravel(Measure):
    """Fraction of the way from initialization that lies in the stiff subspace found there.

    Gives ``stiff_travel``, ||U_k^T (w - w_0)||^2 / ||w - w_0||^2 with U_k the k stiffest directions
    of the Fisher matrix with exact labels at initialization (for squares: of the Gauss-Newton
    matrix), along ``travel_dim`` = 1, 2, ..., and ``random_travel`` = k / P, what a random way has.
    Source: Yang, Mao & Chaudhari 2022. It is NaN for a student that has not moved, and beyond the
    rank of the matrix.

    Parameters
    ----------
    directions : int
        Largest dimension k of the subspace, >= 1; at most P are taken.
    probe : int
        Training samples that the matrix is averaged over, the first ones, >= 1; at most all are
        taken.

    Raises
    ------
    TypeError, ValueError
        If a number is refused.
    """

    directions: int = 100
    probe: int = 100

    def __post_init__(self) -> None:
        _check(self)

    def declare(self, shape: StudentShape) -> Names:
        """Name the two curves; see `Measure.declare`."""
        dims = {"travel_dim": _dims(self.directions, shape)}
        return {"stiff_travel": dims, "random_travel": dims}

    @property
    def may_lack(self) -> tuple[str, ...]:
        """A student that has not moved has no direction of travel."""
        return ("stiff_travel",)

    def flops(self, shape: StudentShape) -> float:
        """Count the Gram matrix and its eigenvectors."""
        return _gram_flops(shape, self.probe)

    def bytes(self, shape: StudentShape) -> float:
        """Count the Gram matrix and the directions."""
        return _gram_bytes(shape, self.probe) + 16.0 * self.directions * shape.parameters

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        p = learned.shape.parameters
        k = min(self.directions, p)
        stiff = _fisher_directions(learned, learned.initial, k, self.probe)
        way = flat(learned.weights) - flat(learned.initial)
        baseline = np.tile(random_overlaps(k, p), (len(way), 1))
        return {"stiff_travel": traveled(stiff, way), "random_travel": baseline}


@dataclass(frozen=True)
class SubspaceOverlap(Measure):
    """Overlaps of the stiff subspaces of Fisher matrix and Hessian, now and at initialization.

    Each is ||A_k^T B_k||_F^2 / k, with A_k and B_k the k stiffest directions of two matrices, along
    ``overlap_dim`` k = 1, 2, ...: ``fisher_overlap_initial`` (Fisher matrix now and at
    initialization), ``fisher_hessian_overlap`` (Fisher matrix and Hessian, both now) and
    ``random_overlap`` = k / P, the mean of random subspaces. The Fisher matrix has exact labels
    (for squares it is the Gauss-Newton matrix); the Hessian is that of the training loss with the
    labels trained on, and its stiff directions are those of its largest eigenvalues. NaN stands
    beyond the rank of a matrix, and where Lanczos left a direction open.

    Parameters
    ----------
    directions : int
        Largest dimension k of the subspaces, >= 1; at most P are taken.
    probe : int
        Training samples that both matrices are averaged over, the first ones, >= 1; at most all
        are taken.
    dense : int
        Largest P of which the whole Hessian is decomposed, >= 0; above, Lanczos finds the
        directions.

    Raises
    ------
    TypeError, ValueError
        If a number is refused.
    """

    directions: int = 20
    probe: int = 100
    dense: int = 1000

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "dense", whole("dense", self.dense, 0))

    def declare(self, shape: StudentShape) -> Names:
        """Name the three curves; see `Measure.declare`."""
        dims = {"overlap_dim": _dims(self.directions, shape)}
        names = ("fisher_overlap_initial", "fisher_hessian_overlap", "random_overlap")
        return dict.fromkeys(names, dims)

    @property
    def may_lack(self) -> tuple[str, ...]:
        """A student sure beyond rounding has no Fisher matrix; Lanczos may settle no direction."""
        return ("fisher_overlap_initial", "fisher_hessian_overlap")

    def flops(self, shape: StudentShape) -> float:
        """Count two Gram matrices with eigenvectors, and the Hessian or its Lanczos basis."""
        p, n = float(shape.parameters), min(self.probe, shape.n_train)
        steps = min(8.0 * self.directions + 40, p)
        by_lanczos = 12.0 * n * p * steps + 8.0 * p * steps**2
        by_matrix = 12.0 * n * p**2 + 4.0 * p**3
        small = shape.parameters <= self.dense
        return 2.0 * _gram_flops(shape, self.probe) + (by_matrix if small else by_lanczos)

    def bytes(self, shape: StudentShape) -> float:
        """Count the matrices and the directions."""
        p = float(shape.parameters)
        steps = min(8.0 * self.directions + 40, p)
        own = 24.0 * p**2 if shape.parameters <= self.dense else 8.0 * p * steps
        return _gram_bytes(shape, self.probe) + own + 24.0 * self.directions * p

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        p = learned.shape.parameters
        k = min(self.directions, p)
        now = _fisher_directions(learned, learned.weights, k, self.probe)
        then = _fisher_directions(learned, learned.initial, k, self.probe)
        hessian = hessian_directions(learned, k, self.dense, self.probe)
        return {
            "fisher_overlap_initial": overlaps(now, then),
            "fisher_hessian_overlap": overlaps(now, hessian),
            "random_overlap": np.tile(random_overlaps(k, p), (len(now), 1)),
        }


def _dims(directions: int, shape: StudentShape) -> tuple[float, ...]:
    return tuple(float(k) for k in range(1, min(directions, shape.parameters) + 1))


def _gram_side(shape: StudentShape, probe: int) -> float:
    rows = shape.outputs - 1 if shape.classes else shape.outputs
    return float(min(probe, shape.n_train) * max(rows, 1))


def _gram_flops(shape: StudentShape, probe: int) -> float:
    side = _gram_side(shape, probe)
    small = min(side, float(shape.parameters))
    return 2.0 * side * small * sum(shape.sizes) + 9.0 * small**3


def _gram_bytes(shape: StudentShape, probe: int) -> float:
    side = _gram_side(shape, probe)
    return 32.0 * min(side, float(shape.parameters)) ** 2 + 16.0 * side * sum(shape.sizes)


def _check(spec: StiffTravel | SubspaceOverlap) -> None:
    for name in ("directions", "probe"):
        value = getattr(spec, name)
        object.__setattr__(spec, name, whole(name, value, 1))
