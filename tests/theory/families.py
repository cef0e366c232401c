"""Spectra and targets over which every law of theory is tried, and students to try it on."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIM = 400
N = 200


def modes(dim: int = DIM) -> Floats:
    return np.arange(1.0, dim + 1.0)


# Natural logs of eigenvalues.
SPECTRA: dict[str, Callable[[int], Floats]] = {
    "isotropic": lambda dim: np.zeros(dim),
    "power law": lambda dim: -1.5 * np.log(modes(dim)),
    "log-corrected": lambda dim: -np.log(modes(dim)) - 2.0 * np.log1p(np.log(modes(dim))),
    "exponential": lambda dim: -0.05 * modes(dim),
    "exponential over a floor": lambda dim: np.logaddexp(-0.1 * modes(dim), np.log(0.01)),
    "spiked": lambda dim: np.where(modes(dim) <= 5, np.log(50.0), 0.0),
}
TARGETS: dict[str, Callable[[Floats], Floats]] = {
    "equal power": lambda log_l: np.full(len(log_l), 1 / np.sqrt(len(log_l))),
    "power on the head": lambda log_l: np.exp(-0.02 * np.arange(len(log_l))) / 5,
    "power on the tail": lambda log_l: np.exp(-0.25 * log_l) / 20,
}


def ridge_student(x: Floats, y: Floats, penalty: float) -> NDArray[np.floating]:
    """Solve the dual of ridge regression, of least norm at penalty 0 where rows are fewer."""
    if penalty == 0.0:
        return np.linalg.lstsq(x, y, rcond=1e-13)[0]
    return x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)


def simulate(
    log_l: Floats, c: Floats, n: int, penalty: float, noise: float, draws: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Measure students: mean and standard error of each measure over fresh samples."""
    rng = np.random.default_rng(seed)
    scale = np.exp(log_l / 2)
    measured: dict[str, list[float]] = {"test_error": [], "train_error": []}
    for _ in range(draws):
        x = rng.standard_normal((n, len(log_l))) * scale
        y = x @ c + noise * rng.standard_normal(n)
        w = ridge_student(x, y, penalty)
        measured["test_error"].append(float(np.sum((scale * (w - c)) ** 2)))
        measured["train_error"].append(float(np.mean((y - x @ w) ** 2)))
    return {
        name: (float(np.mean(v)), float(np.std(v, ddof=1) / np.sqrt(draws)))
        for name, v in measured.items()
    }
