"""Measures of the Hessian of the training loss: its eigenvalues, its ends, its density.

With R the Hessian less the Gauss-Newton matrix, which is the Fisher matrix for cross-entropy, no
eigenvalue differs between the two by more than the norm of R (Weyl 1912).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import whole_number
from tsframe.measures.asking import counted, Measure, Names
from tsframe.measures.eigen import eigenvalues
from tsframe.measures.hessian import Curvature, dense
from tsframe.measures.lanczos import lanczos, mean_and_error, quadrature, ritz
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, students
from tsframe.measures.start_rows import every_output, fisher_factor, loss_gradients
from tsframe.measures.trace_bounds import check_trace, hessian_trace_bound
from tsframe.streams import stream

__all__ = ["HessianDensity", "HessianSpectrum", "loss_curvature", "random_signs"]

EPS = float(np.finfo(np.float64).eps)


def loss_curvature(learned: Learned, probe: int | None = None) -> Curvature:
    """Give the curvature of the training loss of students.

    Parameters
    ----------
    learned : Learned
        The students.
    probe : int, optional
        Training samples to take, the first ones; all by default.

    Returns
    -------
    Curvature
        Of the loss with the labels trained on, noise included.
    """
    weights = learned.weights
    x = np.stack([sample.x_train[:probe] for sample in learned.samples])
    y = np.stack([sample.y_train[:probe] for sample in learned.samples])
    device = weights[0].device
    return Curvature(
        weights,
        learned.activation,
        torch.as_tensor(x, device=device),
        torch.as_tensor(y, device=device),
        learned.objective,
    )


def random_signs(learned: Learned, probes: int, parameters: int) -> Tensor:
    """Draw random signs for every student, from its own seed, shape (students, probes, P)."""
    signs = {
        seed: np.stack(
            [stream(seed, "curvature probes", k).integers(0, 2, parameters) for k in range(probes)]
        )
        for seed in {task.seed for task in learned.tasks}
    }
    drawn = 2.0 * np.stack([signs[task.seed] for task in learned.tasks]) - 1.0
    return torch.as_tensor(drawn, device=learned.weights[0].device)


@dataclass(frozen=True)
class HessianSpectrum(Measure):
    """Eigenvalues of the Hessian of the training loss, and how far it is from Gauss-Newton.

    The loss is the one that training minimizes (mean over samples; squares have no factor 1/2),
    without weight decay, with the labels trained on. All numbers have its units, in float64.

    Of all students the ends of the spectrum: ``hessian_largest`` and ``hessian_smallest``, from the
    ends inwards along ``hessian_end``, each with a ``..._residual`` within which some eigenvalue
    lies; and ``remainder_norm``, the spectral norm of the Hessian less the Gauss-Newton matrix, by
    which no eigenvalue of the two can differ more (Weyl 1912; see `GaussNewtonSpectrum`).

    Of small students, with at most `dense` parameters P, the whole spectrum, too:
    ``hessian_eigenvalues`` (descending, along ``hessian_mode``), ``hessian_trace``,
    ``hessian_frobenius`` (the norm, from the entries), ``hessian_floor`` (P eps times the largest
    modulus: what is smaller is rounding) and ``hessian_negative_mass``, the share of the sum of all
    moduli that is negative. Their residuals are the floor. Their trace is held against what the
    trace of the data allows (`tsframe.measures.trace_bounds.hessian_trace_bound`);
    ``hessian_trace_tightness`` is the share that it takes, and a larger one is an error. Larger
    students go through Lanczos, which sees each distinct eigenvalue once.

    Parameters
    ----------
    ends : int
        Eigenvalues at each end, >= 1.
    dense : int
        Largest P of which all eigenvalues are measured, >= 0; work grows as P^2 (n + P).
    steps : int
        Lanczos steps, >= `ends`.
    probe : int or None
        Training samples that the loss is averaged over, the first ones; None takes all.

    Raises
    ------
    TypeError, ValueError
        If a number is refused.
    """

    ends: int = 10
    dense: int = 2000
    steps: int = 80
    probe: int | None = None

    def __post_init__(self) -> None:
        _check(self, ends=1, dense=0, steps=1, probe=1)
        if self.steps < self.ends:
            raise ValueError(
                f"steps must be at least ends={self.ends}, one for each eigenvalue; "
                f"got steps={self.steps}. Some 4 to 8 times as many settle them."
            )

    def declare(self, shape: StudentShape) -> Names:
        """Name what is measured; the whole spectrum for small students only."""
        ends = {"hessian_end": counted(min(self.ends, shape.parameters))}
        names: dict[str, dict[str, tuple[float, ...]]] = {"remainder_norm": {}}
        for end in ("hessian_largest", "hessian_smallest"):
            names |= {end: ends, f"{end}_residual": ends}
        if shape.parameters <= self.dense:
            names["hessian_eigenvalues"] = {"hessian_mode": counted(shape.parameters)}
            for number in ("trace", "trace_tightness", "frobenius", "floor", "negative_mass"):
                names[f"hessian_{number}"] = {}
        return names

    def flops(self, shape: StudentShape) -> float:
        """Count products with vectors, and eigenvalues of three matrices or the Lanczos bases."""
        p, n = float(shape.parameters), min(self.probe or shape.n_train, shape.n_train)
        if shape.parameters <= self.dense:
            return 30.0 * n * p**2 + 4.0 * p**3
        steps = min(self.steps, p)
        return 24.0 * n * p * steps + 16.0 * p * steps**2

    def bytes(self, shape: StudentShape) -> float:
        """Count three matrices, or a Lanczos basis, and the hidden values of some products."""
        p, n = float(shape.parameters), min(self.probe or shape.n_train, shape.n_train)
        hidden = 64.0 * n * max(shape.sizes)
        if shape.parameters <= self.dense:
            return 32.0 * p**2 + hidden * min(64.0, p)
        return 16.0 * p * min(self.steps, p) + hidden

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students, the small ones one after another."""
        if learned.shape.parameters > self.dense:
            return self._by_lanczos(learned)
        rows = [self._densely(learned.some([k])) for k in range(len(learned.tasks))]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _densely(self, learned: Learned) -> dict[str, np.ndarray]:
        curvature, p = loss_curvature(learned, self.probe), learned.shape.parameters
        matrix, inner, rest = (
            dense(apply, 1, p, learned.weights[0], curvature.columns_at_once)[0]
            for apply in (curvature.hessian, curvature.gauss_newton, curvature.remainder)
        )
        values, ends = eigenvalues(matrix).values, min(self.ends, p)
        gauss_newton = eigenvalues(inner).values
        remainder = np.abs(eigenvalues(rest).values).max()
        floor = p * EPS * np.abs(values).max()
        shift = np.abs(values - gauss_newton).max()
        if shift > remainder + floor + p * EPS * gauss_newton[0]:
            raise np.linalg.LinAlgError(
                f"eigenvalues of Hessian and Gauss-Newton matrix differ by {shift:.3e}, more than "
                f"the norm {remainder:.3e} of what lies between them allows: a product is wrong."
            )
        return {
            "remainder_norm": remainder,
            "hessian_largest": values[:ends],
            "hessian_smallest": values[::-1][:ends],
            "hessian_largest_residual": np.full(ends, floor),
            "hessian_smallest_residual": np.full(ends, floor),
            "hessian_eigenvalues": values,
            "hessian_trace": np.array(float(matrix.trace())),
            "hessian_trace_tightness": np.array(self._tightness(learned, float(matrix.trace()))),
            "hessian_frobenius": np.array(float(matrix.norm())),
            "hessian_floor": floor,
            "hessian_negative_mass": np.array(_negative_share(values, np.ones(p))),
        }

    def _tightness(self, learned: Learned, trace: float) -> float:
        """Hold the trace of the Hessian of one student against that of its data."""
        objective, (sample,) = learned.objective, learned.samples
        x, y = (torch.as_tensor(part[: self.probe]) for part in (sample.x_train, sample.y_train))
        (weights,) = students(learned.weights)
        passed = forward(weights, learned.activation, x.to(weights[0]))
        outputs = passed.outputs
        entropy = objective.loss == "cross_entropy"
        start = fisher_factor(outputs) if entropy else math.sqrt(2.0) * every_output(outputs)
        gradients = loss_gradients(outputs, y.to(outputs.device), objective)
        bound = hessian_trace_bound(passed, start, gradients, learned.activation)
        return check_trace(trace, bound, "the Hessian")

    def _by_lanczos(self, learned: Learned) -> dict[str, np.ndarray]:
        curvature, p = loss_curvature(learned, self.probe), learned.shape.parameters
        ends, start = min(self.ends, p), random_signs(learned, 1, p)
        found = ritz(lanczos(curvature.hessian, start, self.steps), ends)
        rest = ritz(lanczos(curvature.remainder, start, self.steps), 1)
        return {
            "remainder_norm": np.maximum(rest.largest, -rest.smallest)[:, 0],
            "hessian_largest": found.largest,
            "hessian_smallest": found.smallest,
            "hessian_largest_residual": found.largest_residual,
            "hessian_smallest_residual": found.smallest_residual,
        }


@dataclass(frozen=True)
class HessianDensity(Measure):
    """Density of the eigenvalues of the Hessian of the training loss.

    By stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017). Gives ``hessian_node`` and
    ``hessian_weight`` over ``hessian_probe`` and ``hessian_step``: every probe is a quadrature of
    the density, exact for polynomials up to degree 2 `steps` - 1 in what the probe sees, and its
    weights sum to one. `tsframe.plots.spectral_density` makes a density of them. Further
    ``hessian_trace_estimate`` with its standard error ``hessian_trace_error`` over the probes, and
    ``hessian_negative_mass_estimate``, the share of the sum of all moduli that is negative. The
    loss is that of `HessianSpectrum`.

    Parameters
    ----------
    probes : int
        Random start vectors, >= 2.
    steps : int
        Lanczos steps, >= 1.
    probe : int or None
        Training samples that the loss is averaged over, the first ones; None takes all.

    Raises
    ------
    TypeError, ValueError
        If a number is refused.
    """

    probes: int = 4
    steps: int = 60
    probe: int | None = None

    def __post_init__(self) -> None:
        _check(self, probes=2, steps=1, probe=1)

    def declare(self, shape: StudentShape) -> Names:
        """Name nodes, weights, trace and negative mass."""
        inner = {
            "hessian_probe": counted(self.probes),
            "hessian_step": counted(min(self.steps, shape.parameters)),
        }
        numbers = ("trace_estimate", "trace_error", "negative_mass_estimate")
        names: dict[str, dict[str, tuple[float, ...]]] = {f"hessian_{n}": {} for n in numbers}
        return names | {"hessian_node": inner, "hessian_weight": inner}

    def flops(self, shape: StudentShape) -> float:
        """Count products with vectors, and the orthogonality of the Lanczos basis."""
        p, n = float(shape.parameters), min(self.probe or shape.n_train, shape.n_train)
        steps = min(self.steps, p)
        return self.probes * (12.0 * n * p * steps + 8.0 * p * steps**2)

    def bytes(self, shape: StudentShape) -> float:
        """Count Lanczos bases of all probes, and the hidden values of one product."""
        p, n = float(shape.parameters), min(self.probe or shape.n_train, shape.n_train)
        return self.probes * (8.0 * p * min(self.steps, p) + 64.0 * n * max(shape.sizes))

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure all students at once."""
        curvature, p = loss_curvature(learned, self.probe), learned.shape.parameters
        reduced = lanczos(curvature.hessian, random_signs(learned, self.probes, p), self.steps)
        nodes, weights = quadrature(reduced)
        trace, error = mean_and_error(p * np.nansum(nodes * weights, axis=2))
        return {
            "hessian_node": nodes,
            "hessian_weight": weights,
            "hessian_trace_estimate": trace,
            "hessian_trace_error": error,
            "hessian_negative_mass_estimate": np.array(
                [_negative_share(*pair) for pair in zip(nodes, weights, strict=True)]
            ),
        }


def _negative_share(values: np.ndarray, weights: np.ndarray) -> float:
    """Give the share of the sum of moduli that is negative; 0 where all are zero."""
    total = np.nansum(np.abs(values) * weights)
    return float(-np.nansum(np.minimum(values, 0.0) * weights) / total) if total else 0.0


def _check(spec: Measure, **lowest: int) -> None:
    """Refuse numbers of a spec that are not whole, or too low; a probe may be None."""
    for name, low in lowest.items():
        value = getattr(spec, name)
        if name == "probe" and value is None:
            continue
        sentence = f"{name} must be a whole number >= {low}; got {name}={value!r}."
        if name == "probe":
            sentence += " None takes all training samples."
        object.__setattr__(spec, name, whole_number(value, low, sentence))
