"""A matrix to be completed, by whom and how: a trial that a sweep can train."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tsframe.checks import check_steps_asked, whole, whole_number
from tsframe.completion.factorization import DeepFactorization, flow, GradientFlow
from tsframe.completion.nuclear import ADMM, least_nuclear_norm, NuclearNorm
from tsframe.completion.targets import LowRank, observed_entries

__all__ = ["Completion", "effective_rank"]

Floats = NDArray[np.float64]
STACK = 32e6  # bytes of factors that step together
ALWAYS = ("train_error", "test_error", "nuclear_norm", "effective_rank", "steps")


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A matrix of low rank, some entries of which are seen, and a student that fills in the rest.

    Its measures: ``train_error``, mean square on the entries seen; ``test_error``, on all entries,
    where the mean square of the target is one; ``nuclear_norm`` in units of that of the target;
    ``effective_rank``; ``singular_values`` over ``mode``, descending; ``steps``. Of a deep
    factorization also the ``time`` of its flow, and with `curve_steps` ``time_curve`` and
    ``singular_values_curve`` over ``step``; of the least nuclear norm its ``duality_gap``.
    Everything is computed on the CPU in float64, whatever the device; a student's numbers do not
    depend on the others, to the bit.

    Parameters
    ----------
    target : LowRank
        What is to be found.
    observed : int
        Number of entries seen, in [1, dim^2].
    student : DeepFactorization or NuclearNorm
        Who completes it.
    training : GradientFlow or ADMM
        How: a factorization flows, the least nuclear norm is found by ADMM.
    curve_steps : tuple of int
        Steps at which singular values are kept, of a factorization; see `log_steps`. A student that
        has finished keeps its values.
    seed : int
        Of the target, of the entries seen and of the factors, >= 0.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    target: LowRank
    observed: int
    student: DeepFactorization | NuclearNorm
    training: GradientFlow | ADMM
    curve_steps: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        kinds: tuple[tuple[str, tuple[type, ...]], ...] = (
            ("target", (LowRank,)),
            ("student", (DeepFactorization, NuclearNorm)),
            ("training", (GradientFlow, ADMM)),
        )
        for name, known in kinds:
            if not isinstance(getattr(self, name), known):
                words = " or ".join(kind.__name__ for kind in known)
                raise TypeError(f"{name} must be {words}; got {getattr(self, name)!r}.")
        deep = isinstance(self.student, DeepFactorization)
        if deep != isinstance(self.training, GradientFlow):
            raise TypeError(
                f"a DeepFactorization is trained by GradientFlow, NuclearNorm by ADMM; got "
                f"student={self.student!r} with training={self.training!r}."
            )
        entries = self.target.dim**2
        sentence = (
            f"observed must be a whole number in [1, dim^2={entries}] (entries seen); got "
            f"observed={self.observed!r}."
        )
        object.__setattr__(self, "observed", whole_number(self.observed, 1, sentence))
        if self.observed > entries:
            raise ValueError(sentence)
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        steps = tuple(int(step) for step in self.curve_steps)
        object.__setattr__(self, "curve_steps", steps)
        if steps and not deep:
            raise ValueError(
                f"curve_steps are those of a DeepFactorization; got {steps!r} for NuclearNorm. "
                "Leave them out."
            )
        check_steps_asked("curve_steps", steps, self.training.max_steps)

    @property
    def sharing_key(self) -> Hashable:
        """What decides the matrix and the order in which its entries are seen."""
        return (self.target, self.seed)

    @property
    def shape_key(self) -> Hashable:
        """What must be equal to step together."""
        layers = getattr(self.student, "layers", 0)
        return (self.target.dim, layers, self.training, self.curve_steps)

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """Names of what will be measured, each with its inner dims and their coordinates."""
        modes = {"mode": tuple(float(mode) for mode in range(self.target.dim))}
        own = "time" if isinstance(self.student, DeepFactorization) else "duality_gap"
        names: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in (*ALWAYS, own)}
        names["singular_values"] = modes
        if self.curve_steps:
            steps = {"step": tuple(float(step) for step in self.curve_steps)}
            names |= {"time_curve": steps, "singular_values_curve": steps | modes}
        return names

    @property
    def unmeasured(self) -> "Completion":
        """The same student without what is measured on its way."""
        return replace(self, curve_steps=()) if self.curve_steps else self

    @property
    def flops(self) -> float:
        """Predicted work, in floating-point operations, if the whole budget of steps is used."""
        dim = self.target.dim
        if isinstance(self.student, NuclearNorm):
            return self.training.max_steps * (60.0 * dim**3 + 1e6)
        step = 6.0 * self.student.layers * dim**3 + 100.0 * self.student.layers * dim**2 + 1e6
        return self.training.max_steps * step + (1 + len(self.curve_steps)) * 20.0 * dim**3

    @staticmethod
    def train_together(
        trials: Sequence["Completion"],
        device: str = "auto",
        threads: int | None = None,
        mode: str = "strict",
    ) -> xr.Dataset:
        """Complete the matrices of some trials.

        Parameters
        ----------
        trials : sequence of Completion
            One student each.
        device : str
            Not looked at: everything is done on the CPU.
        threads : int, optional
            Stacks of students side by side, each on one thread; one by default.
        mode : str
            Not looked at: all is strict.

        Returns
        -------
        xr.Dataset
            Dim ``student`` in the order of `trials`: all that they declare, and ``diverged``.
        """
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for k, trial in enumerate(trials):
            groups[trial.shape_key].append(k)
        jobs = []
        for members in groups.values():
            trial = trials[members[0]]
            size = 8.0 * trial.target.dim**2 * (3 * getattr(trial.student, "layers", 1) + 5)
            at_once = max(1, min(int(STACK // size), -(-len(members) // (threads or 1))))
            jobs += [members[k : k + at_once] for k in range(0, len(members), at_once)]
        rows: dict[int, dict[str, Floats]] = {}
        with threadpool_limits(1), ThreadPoolExecutor(threads or 1) as pool:
            for job, found in zip(
                jobs, pool.map(_complete, [[trials[k] for k in job] for job in jobs]), strict=True
            ):
                rows |= dict(zip(job, found, strict=True))
        return _dataset(trials, [rows[k] for k in range(len(trials))])


def effective_rank(singular_values: Floats) -> float:
    """Exponential of the entropy of singular values as shares of their sum (Roy & Vetterli 2007).

    Parameters
    ----------
    singular_values : ndarray, shape (k,)
        >= 0, not all zero.

    Returns
    -------
    float
        In [1, k]: k where all are equal.

    Examples
    --------
    >>> round(effective_rank(np.array([2.0, 2.0, 2.0, 0.0])), 12)
    3.0
    """
    shares = singular_values[singular_values > 0.0] / singular_values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _complete(trials: Sequence[Completion]) -> list[dict[str, Floats]]:
    """Train students of one shape key; all that is measured of each, by name."""
    targets = [trial.target.draw(trial.seed) for trial in trials]
    seen = [observed_entries(trial.target.dim, trial.observed, trial.seed) for trial in trials]
    first = trials[0]
    if isinstance(first.training, ADMM):
        rows = []
        for target, mask in zip(targets, seen, strict=True):
            found = least_nuclear_norm(target, mask, first.training)
            row = _measured(found.matrix, target, mask)
            rows.append(row | _scalars(steps=found.steps, duality_gap=found.gap, diverged=0.0))
        return rows
    factors = [
        trial.student.factors(target, trial.seed)
        for trial, target in zip(trials, targets, strict=True)
        if isinstance(trial.student, DeepFactorization)
    ]
    steps, dim = first.curve_steps, first.target.dim
    rows = [
        {
            "time_curve": np.full(len(steps), np.nan),
            "singular_values_curve": np.full((len(steps), dim), np.nan),
        }
        for _ in trials
    ]
    with np.errstate(over="ignore", invalid="ignore"):  # of those that diverge
        for state in flow(factors, np.stack(targets), np.stack(seen), first.training, steps):
            later = int(np.searchsorted(steps, state.step))
            for place, k in enumerate(state.students):
                wild = bool(state.diverged[place])
                values = np.full(dim, np.nan)
                if not wild and (later < len(steps)):
                    values = singular_values(state.product[place])
                # What is known now holds until a later state says otherwise.
                rows[k]["time_curve"][later:] = np.nan if wild else state.time[place]
                rows[k]["singular_values_curve"][later:] = values
                if state.finished[place]:
                    rows[k] |= _measured(state.product[place], targets[k], seen[k], wild)
                    time = np.nan if wild else state.time[place]
                    rows[k] |= _scalars(steps=state.step, time=time, diverged=wild)
    return rows


def _measured(
    matrix: Floats, target: Floats, seen: NDArray[np.bool_], wild: bool = False
) -> dict[str, Floats]:
    """Measure a completion; NaN where it has diverged."""
    if wild:
        lost = dict.fromkeys((name for name in ALWAYS if name != "steps"), np.nan)
        return _scalars(**lost) | {"singular_values": np.full(len(matrix), np.nan)}
    squares = (matrix - target) ** 2
    values, unit = singular_values(matrix), float(singular_values(target).sum())
    return _scalars(
        train_error=float(squares[seen].mean()),
        test_error=float(squares.mean()),
        nuclear_norm=float(values.sum()) / unit,
        effective_rank=effective_rank(values),
    ) | {"singular_values": values}


def singular_values(matrix: Floats) -> Floats:
    """Give the singular values of a matrix, descending."""
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)


def _scalars(**values: float) -> dict[str, Floats]:
    return {name: np.asarray(float(value)) for name, value in values.items()}


def _dataset(trials: Sequence[Completion], rows: Sequence[dict[str, Floats]]) -> xr.Dataset:
    """Gather rows; vectors are as long as the longest, NaN behind the end of shorter ones."""
    declared: dict[str, tuple[str, ...]] = {}
    coordinates: dict[str, tuple[float, ...]] = {}
    for trial in trials:
        for name, inner in trial.declared.items():
            declared[name] = tuple(inner)
            for dim, values in inner.items():
                coordinates[dim] = max(coordinates.get(dim, ()), values, key=len)
    result = xr.Dataset(
        coords={"student": np.arange(len(trials))}
        | {dim: list(values) for dim, values in coordinates.items()}
    )
    for name, dims in declared.items():
        table = np.full((len(trials), *(len(coordinates[dim]) for dim in dims)), np.nan)
        for k, (trial, row) in enumerate(zip(trials, rows, strict=True)):
            if name in trial.declared:
                table[np.ix_(np.array([k]), *map(np.arange, row[name].shape))] = row[name]
        result[name] = (("student", *dims), table)
    result["diverged"] = ("student", np.array([bool(row["diverged"]) for row in rows]))
    result.attrs = {"device": "cpu", "precision": "float64", "products": "lapack"}
    return result
