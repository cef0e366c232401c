"""A trial of the binary perceptron: patterns, all their solutions, and one that a search found."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from tsframe.checks import real_number, whole
from tsframe.perceptron.instances import distances, draw_instance, error_at, Instance
from tsframe.perceptron.listing import cluster_sizes, isolated, local_entropy, solutions
from tsframe.perceptron.searches import Annealing, Densest, Search, Uniform

__all__ = ["PerceptronTrial"]

LARGEST = 25
OF_PATTERNS = ("solutions", "isolated", "clusters", "largest_cluster")
OF_SOLUTIONS = ("typical_error", "isolated_error")
OF_STUDENT = ("train_error", "test_error", "interpolated")


@dataclass(frozen=True, kw_only=True)
class PerceptronTrial:
    """One binary perceptron, the patterns it learns, and how.

    Parameters
    ----------
    dim : int
        Number of weights and of the signs of a pattern, odd, 3 to 25.
    n_train : int
        Number of patterns, >= 1.
    label_noise : float
        Probability that a label is replaced by a random one. At 0 a perceptron of the same kind is
        the teacher; at 1 all labels are random, and there may be no solution at all.
    search : Uniform, Densest or Annealing
        How the student is found.
    seed : int
        Of every random number, >= 0.

    Raises
    ------
    TypeError, ValueError
        With a sentence that names what came, what is allowed, and what to do.
    """

    dim: int
    n_train: int
    label_noise: float = 0.0
    search: Search = field(default_factory=Uniform)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("dim", 3), ("n_train", 1), ("seed", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        if self.dim % 2 == 0 or self.dim > LARGEST:
            raise ValueError(
                f"dim must be odd, so that no product is zero, and at most {LARGEST}, so that all "
                f"2^dim students can be looked at; got dim={self.dim}."
            )
        sentence = (
            "label_noise must be a number in [0, 1], the probability that a label is redrawn; got "
            f"label_noise={self.label_noise!r}."
        )
        object.__setattr__(self, "label_noise", real_number(self.label_noise, sentence))
        if self.label_noise > 1.0:
            raise ValueError(sentence)
        if not isinstance(self.search, Search):
            raise TypeError(
                f"search must be Uniform(), Densest() or Annealing(); got search={self.search!r}."
            )

    @property
    def sharing_key(self) -> Hashable:
        """What decides the patterns: trials with equal keys list their solutions once."""
        return (self.dim, self.n_train, self.label_noise, self.seed)

    @property
    def shape_key(self) -> Hashable:
        """What trials have in common that are searched side by side."""
        return (self.dim, self.n_train, self.search)

    @property
    def flops(self) -> float:
        """Predicted work, in floating-point operations done in the same time."""
        students = float(2**self.dim)
        listing = 20.0 * students
        if isinstance(self.search, Densest):
            return listing + 2.0 * self.dim * self.search.radius * students
        if isinstance(self.search, Annealing):
            flips = self.search.sweeps * self.search.replicas * self.dim
            return listing + flips * (2e4 + 10.0 * self.n_train)
        return listing

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """Names of what will be measured, each with its inner dims and their coordinates."""
        distance = tuple(float(d) for d in range(self.dim + 1))
        scalars = (*OF_PATTERNS, *OF_SOLUTIONS, *OF_STUDENT)
        return {**{name: {} for name in scalars}, "local_entropy": {"distance": distance}}

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Measures that are NaN where there is no solution, or none that is isolated."""
        return ("isolated", "largest_cluster", *OF_SOLUTIONS, *OF_STUDENT, "local_entropy")

    @staticmethod
    def train_together(
        trials: Sequence["PerceptronTrial"],
        device: str = "auto",
        threads: int | None = None,
        mode: str = "strict",
    ) -> xr.Dataset:
        """Find the students of any list of trials, on the CPU.

        Parameters
        ----------
        trials : sequence of PerceptronTrial
            One student each.
        device, threads, mode
            Not used: all is bits, and none of it depends on the other trials.

        Returns
        -------
        xr.Dataset
            Dim ``student`` in the order of `trials`. Of the patterns: ``solutions`` (their number),
            ``isolated`` (share that no single flip leads to another one), ``clusters`` (sets that
            single flips connect) and ``largest_cluster`` (share in it); ``typical_error`` and
            ``isolated_error``, the test error averaged over all solutions and over the isolated
            ones. Of the student: ``train_error``, ``test_error`` (exact, against the teacher),
            ``interpolated``, and ``local_entropy`` over ``distance``. NaN where there is no
            solution, and for the entropy where none is so near. ``diverged`` is never true.
        """
        sets: dict[Hashable, list[int]] = defaultdict(list)
        for k, trial in enumerate(trials):
            sets[trial.sharing_key].append(k)
        instances: dict[Hashable, Instance] = {}
        for key, members in sets.items():
            one = trials[members[0]]
            instances[key] = draw_instance(one.dim, one.n_train, one.label_noise, one.seed)
        found = _anneal(trials, instances)
        longest = max(trial.dim for trial in trials) + 1
        scalars = (*OF_PATTERNS, *OF_SOLUTIONS, *OF_STUDENT)
        rows = {name: np.full(len(trials), np.nan) for name in scalars}
        entropy = np.full((len(trials), longest), np.nan)
        for key, members in sets.items():
            instance = instances[key]
            listed = solutions(instance)
            common = _of_solutions(instance, listed)
            for k in members:
                trial = trials[k]
                if not isinstance(trial.search, Annealing) and len(listed):
                    found[k] = trial.search.choose(listed, trial.dim, trial.seed)
                for name, value in (common | _of_student(instance, found.get(k))).items():
                    rows[name][k] = value
                if k in found:
                    entropy[k, : trial.dim + 1] = local_entropy(listed, found[k], trial.dim)
        return xr.Dataset(
            {
                **{name: ("student", values) for name, values in rows.items()},
                "local_entropy": (("student", "distance"), entropy),
                "diverged": ("student", np.zeros(len(trials), dtype=bool)),
            },
            {"distance": np.arange(float(longest))},
            {"device": "cpu"},
        )


def _anneal(
    trials: Sequence[PerceptronTrial], instances: dict[Hashable, Instance]
) -> dict[int, int]:
    """Find the students of those trials that search without the list."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for k, trial in enumerate(trials):
        groups[trial.shape_key].append(k)
    found: dict[int, int] = {}
    for members in groups.values():
        some = [trials[k] for k in members]
        if isinstance(some[0].search, Annealing):
            patterns = [instances[trial.sharing_key] for trial in some]
            students = some[0].search.find(patterns, [trial.seed for trial in some])
            found |= dict(zip(members, students, strict=True))
    return found


def _of_solutions(instance: Instance, listed: np.ndarray) -> dict[str, float]:
    """Measure what a list of solutions has; where it is empty, only that."""
    if not len(listed):
        return {"solutions": 0.0, "clusters": 0.0}
    errors = error_at(instance.dim)[distances(listed, np.uint32(instance.teacher))]
    alone, sizes = isolated(listed, instance.dim), cluster_sizes(listed, instance.dim)
    return {
        "solutions": float(len(listed)),
        "isolated": float(alone.mean()),
        "clusters": float(len(sizes)),
        "largest_cluster": float(sizes[0] / len(listed)),
        "typical_error": float(errors.mean()),
        "isolated_error": float(errors[alone].mean()) if alone.any() else np.nan,
    }


def _of_student(instance: Instance, student: int | None) -> dict[str, float]:
    if student is None:
        return {}
    w = np.uint32(student)
    wrong = float((distances(instance.patterns, w) > instance.dim / 2).mean())
    teacher = int(distances(w, np.uint32(instance.teacher)))
    return {
        "train_error": wrong,
        "test_error": float(error_at(instance.dim)[teacher]),
        "interpolated": float(wrong == 0.0),
    }
