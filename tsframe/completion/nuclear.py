"""The matrix of least nuclear norm among those with given entries, with a certificate.

Solved by the alternating direction method of multipliers (Boyd et al. 2011, section 5) on
min |X|_* subject to Z = X, Z given on the entries seen. Its multiplier, scaled to spectral norm
one, is feasible in the dual problem max <Y, W> over Y of spectral norm <= 1 that is zero where
nothing is seen. So the gap between |Z|_* and <Y, W> bounds what a better matrix could gain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole

__all__ = ["ADMM", "Completed", "NuclearNorm", "least_nuclear_norm"]

Floats = NDArray[np.float64]
LOOK = 10  # steps between two looks at the gap, which takes two more decompositions
SHRINK = 0.15  # of the largest singular value of what is seen: the threshold of a step


@dataclass(frozen=True)
class NuclearNorm:
    """The completion of least nuclear norm (Candes & Recht 2009)."""


@dataclass(frozen=True)
class ADMM:
    """Alternating direction method of multipliers, to a certified gap.

    Parameters
    ----------
    gap : float
        Relative gap between primal and dual value at which it stops, > 0.
    max_steps : int
        Budget of steps, >= 1, one singular value decomposition each.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    gap: float = 1e-4
    max_steps: int = 5000

    def __post_init__(self) -> None:
        sentence = f"gap must be a number > 0; got gap={self.gap!r}. It is relative."
        object.__setattr__(self, "gap", real_number(self.gap, sentence, strict=True))
        object.__setattr__(self, "max_steps", whole("max_steps", self.max_steps, 1))


@dataclass(frozen=True, eq=False)
class Completed:
    """A completion and its certificate.

    Attributes
    ----------
    matrix : ndarray, shape (dim, dim)
        Equal to the target where it is seen.
    dual : ndarray, shape (dim, dim)
        Of spectral norm at most one, zero where nothing is seen.
    gap : float
        (|matrix|_* - <dual, target>) / |matrix|_*: no matrix with these entries has a nuclear norm
        smaller by a larger fraction.
    steps : int
        Taken.
    """

    matrix: Floats
    dual: Floats
    gap: float
    steps: int


def least_nuclear_norm(target: Floats, seen: NDArray[np.bool_], solver: ADMM) -> Completed:
    """Complete a matrix by least nuclear norm.

    Parameters
    ----------
    target : ndarray, shape (dim, dim)
        Only the entries seen are looked at.
    seen : ndarray of bool, shape (dim, dim)
        At least one.
    solver : ADMM
        Gap and budget.

    Returns
    -------
    Completed
        At the gap asked for, or at the end of the budget; `Completed.gap` tells.

    Examples
    --------
    >>> corner = np.array([[1.0, 2.0], [2.0, 9.0]])
    >>> seen = np.array([[True, True], [True, False]])
    >>> found = least_nuclear_norm(corner, seen, ADMM(gap=1e-9))
    >>> found.matrix.round(6).tolist(), bool(found.gap < 1e-9)
    ([[1.0, 2.0], [2.0, 1.0]], True)
    """
    given = np.where(seen, target, 0.0)
    scale = float(np.linalg.norm(given, 2))
    if scale == 0.0:
        return Completed(given, np.zeros_like(given), 0.0, 0)
    shrink = SHRINK * scale
    z, u = given.copy(), np.zeros_like(given)
    for step in range(1, solver.max_steps + 1):
        left, values, right = np.linalg.svd(z - u, full_matrices=False)
        x = (left * np.maximum(values - shrink, 0.0)) @ right
        z = np.where(seen, target, x + u)
        u = np.where(seen, u + x - z, 0.0)
        if step % LOOK == 0 or step == solver.max_steps:
            dual = -u / shrink
            dual = dual / max(1.0, float(np.linalg.norm(dual, 2)))
            norm = float(np.linalg.svd(z, compute_uv=False).sum())
            gap = 1.0 - float(np.sum(dual * given)) / norm
            if gap <= solver.gap:
                break
    return Completed(z, dual, gap, step)
