"""How a solution of the binary perceptron is chosen: two oracles that know all, one search.

`Uniform` and `Densest` choose from the list of all solutions; they say what a typical solution is
and what the best surrounded one. `Annealing` knows the patterns alone. With one replica it looks
for few errors; with several that attract each other it looks for places where many students have
few errors, that is, for high local entropy (Baldassi et al. 2016, arXiv:1605.06444).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tsframe.checks import real_number, whole
from tsframe.perceptron.instances import Bits, Instance, pack, signs
from tsframe.perceptron.listing import shells
from tsframe.streams import stream

__all__ = ["Annealing", "Densest", "Search", "Uniform", "anneal"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Uniform:
    """One of all solutions, each with the same chance: the typical student (Gibbs learning)."""

    def choose(self, listed: Bits, dim: int, seed: int) -> int:
        """Choose from a list of at least one solution; all are bits."""
        return int(stream(seed, "choice").choice(listed))


@dataclass(frozen=True)
class Densest:
    """The solution with most solutions around it, the first of equals.

    Parameters
    ----------
    radius : int
        Distance up to which solutions are counted, >= 1.
    """

    radius: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "radius", whole("radius", self.radius, 1))

    def choose(self, listed: Bits, dim: int, seed: int) -> int:
        """Choose from a list of at least one solution; all are bits."""
        around = shells(listed, dim, min(self.radius, dim)).sum(axis=0)
        return int(listed[np.argmax(around[listed])])


@dataclass(frozen=True)
class Annealing:
    """Simulated annealing of replicas that attract each other.

    Flips of single weights (a heat bath, weight after weight) follow the law

        exp(-beta sum_a E(w_a) + (coupling / replicas) sum_{a<b} w_a.w_b)

    with E the number of patterns that a replica gets wrong. Both beta and coupling grow from zero
    to their value, in equal steps. At the end the majority of the replicas is taken weight by
    weight if it has no more errors than any of them, else the one with the fewest.

    Parameters
    ----------
    replicas : int
        Odd, >= 1; one is annealing as usual, whatever the coupling.
    coupling : float
        Final attraction, >= 0.
    beta : float
        Final inverse temperature, per error, > 0.
    sweeps : int
        Flips tried of every weight of every replica, >= 1.
    """

    replicas: int = 1
    coupling: float = 2.0
    beta: float = 5.0
    sweeps: int = 100

    def __post_init__(self) -> None:
        for name, low in (("replicas", 1), ("sweeps", 1)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        if self.replicas % 2 == 0:
            raise ValueError(
                f"replicas must be odd, so that they have a majority; got {self.replicas}."
            )
        for name, strict in (("coupling", False), ("beta", True)):
            value = getattr(self, name)
            bound = "> 0" if strict else ">= 0"
            sentence = f"{name} must be a number {bound}; got {name}={value!r}."
            object.__setattr__(self, name, real_number(value, sentence, strict))

    def find(self, instances: Sequence[Instance], seeds: Sequence[int]) -> list[int]:
        """Search instances of one shape side by side; gives students as bits."""
        ramp = np.arange(1, self.sweeps + 1) / self.sweeps
        patterns = _signs_of(instances)
        w = anneal(patterns, seeds, self.replicas, self.beta * ramp, self.coupling * ramp)
        majority = np.where(w.sum(axis=1, keepdims=True) > 0, 1, -1).astype(np.int8)
        candidates = np.concatenate([majority, w], axis=1)
        errors = (_fields(candidates, patterns) < 0).sum(axis=2)
        best = candidates[np.arange(len(w)), errors.argmin(axis=1)]
        return [int(student) for student in pack((best > 0).astype(np.int64))]


Search: TypeAlias = Uniform | Densest | Annealing


def anneal(
    patterns: NDArray[np.int8],
    seeds: Sequence[int],
    replicas: int,
    betas: Floats,
    couplings: Floats,
) -> NDArray[np.int8]:
    """Let replicas flip their weights; see `Annealing` for the law.

    Parameters
    ----------
    patterns : ndarray of int8, shape (runs, n_train, dim)
        Signs, times their labels.
    seeds : sequence of int, length runs
        Seeds of the trials.
    replicas : int
        Replicas of every run.
    betas, couplings : ndarray, shape (sweeps,)
        What they are in each sweep.

    Returns
    -------
    ndarray of int8, shape (runs, replicas, dim)
        The weights at the end. A run does not depend on the others, to the bit.
    """
    dim = patterns.shape[2]
    starts = [stream(seed, "initialization").integers(2, size=(replicas, dim)) for seed in seeds]
    w = (2 * np.stack(starts) - 1).astype(np.int8)
    draws = [stream(seed, "flips") for seed in seeds]
    fields, everyone = _fields(w, patterns), w.sum(axis=1, dtype=np.int64)
    errors = (fields < 0).sum(axis=2)
    for beta, coupling in zip(betas, couplings / replicas, strict=True):
        # A flip of cost c happens with chance 1 / (1 + exp(c)): if a logistic number exceeds c. By
        # Metropolis, flips without cost would happen always, and replicas flip in turn for ever.
        patience = np.stack([draw.logistic(size=(dim, replicas)) for draw in draws])
        for j in range(dim):
            for a in range(replicas):
                sign = w[:, a, j]
                after = fields[:, a] - 2 * sign[:, None] * patterns[:, :, j]
                wrong = (after < 0).sum(axis=1)
                others = sign * (everyone[:, j] - sign)
                cost = beta * (wrong - errors[:, a]) + 2.0 * coupling * others
                flip = patience[:, j, a] > cost
                everyone[:, j] -= np.where(flip, 2 * sign, 0)
                fields[:, a] = np.where(flip[:, None], after, fields[:, a])
                errors[:, a] = np.where(flip, wrong, errors[:, a])
                w[:, a, j] = np.where(flip, -sign, sign)
    return w


def _signs_of(instances: Sequence[Instance]) -> NDArray[np.int8]:
    return np.stack([signs(one.patterns, one.dim) for one in instances])


def _fields(w: NDArray[np.int8], patterns: NDArray[np.int8]) -> NDArray[np.int64]:
    """Products of every replica with every pattern, shape (runs, replicas, n_train)."""
    products: NDArray[np.int64] = np.einsum("raj,rpj->rap", w, patterns, dtype=np.int64)
    return products
