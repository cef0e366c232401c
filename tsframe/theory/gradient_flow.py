"""Gradient descent on least squares: exact paths of one sample, and the mean learning curve."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from tsframe.theory.kappa import solve
from tsframe.theory.labeled import (
    by_cells,
    check_dims,
    Floats,
    labeled,
    log_spectrum,
    Numbers,
    rows_and_labels,
    target_over,
)

__all__ = ["descent_path", "gradient_flow", "kernel_descent", "kernel_flow"]

# Inverse Laplace transform on a parabola, to 3e-15: Weideman & Trefethen 2007, equation 3.1.
NODES = 32
ANGLES = (2.0 * np.arange(NODES // 2) + 1.0) * np.pi / NODES
PARABOLA = NODES * (0.1309 - 0.1194 * ANGLES**2 + 0.25j * ANGLES)
WEIGHTS = np.exp(PARABOLA) * (0.25 + 0.2388j * ANGLES)  # of the upper half; the rest is conjugate
NEWTON = 60


def descent_path(
    x: ArrayLike, y: ArrayLike, rate: float, steps: ArrayLike, start: ArrayLike = 0.0
) -> Floats:
    """Weights of gradient descent on a linear student, after the steps asked for, in closed form.

    w_t = [1 - (1 - rate H)^t] H^+ X^T y / n + (1 - rate H)^t w_0 with H = X^T X / n: full-batch
    steps on half the mean square. From zero it tends to the solution of least norm; it is stable
    below rate 2 / (largest eigenvalue of H).

    Parameters
    ----------
    x : array_like, shape (n, dim)
        Inputs.
    y : array_like, shape (n,)
        Labels.
    rate : float
        Learning rate, for the loss sum of squares / (2 n).
    steps : array_like of int, shape (times,)
        Numbers of steps done, >= 0.
    start : float or array_like, shape (dim,)
        Weights at step zero.

    Returns
    -------
    ndarray, shape (times, dim)
        Weights.

    Examples
    --------
    >>> descent_path([[1.0]], [2.0], rate=0.5, steps=[0, 1, 2]).tolist()
    [[0.0], [1.0], [1.5]]
    """
    x, y = rows_and_labels(x, y)
    w_0 = np.broadcast_to(np.asarray(start, dtype=np.float64), x.shape[1:])
    u, s, v = np.linalg.svd(x, full_matrices=False)
    h = s**2 / len(x)
    t = np.asarray(steps, dtype=np.float64)[:, None]
    gone = _gone(rate * h, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        toward = np.where(s > 0.0, gone * (u.T @ y) / s, 0.0)
    return np.asarray(w_0 + (toward - gone * (v @ w_0)) @ v)


def kernel_flow(
    cross: ArrayLike, kernel: ArrayLike, y: ArrayLike, times: ArrayLike
) -> NDArray[np.float64]:
    """Predictions of kernel regression under gradient flow from zero, at the times asked for.

    f_t(x) = K(x, X) K^-1 (1 - e^{-K t / n}) y, the flow of half the mean square in function space:
    a wide network in its tangent kernel (Jacot, Gabriel & Hongler 2018, section 5). As t -> inf it
    interpolates.

    Parameters
    ----------
    cross : array_like, shape (points, n)
        Kernel of the points of prediction with the training inputs.
    kernel : array_like, shape (n, n)
        Kernel of the training inputs, symmetric and positive semidefinite.
    y : array_like, shape (n,)
        Labels.
    times : array_like, shape (times,)
        Learning rate times steps, >= 0.

    Returns
    -------
    ndarray, shape (times, points)
        Predictions.

    Examples
    --------
    >>> kernel_flow([[1.0]], [[1.0]], [2.0], [0.0, np.log(2.0), 1e9]).round(12).tolist()
    [[0.0], [1.0], [2.0]]
    """
    cross, values, vectors, y = _kernel(cross, kernel, y)
    t = np.asarray(times, dtype=np.float64)[:, None] / len(y)
    moved = values > 0.0
    gone = np.where(moved, -np.expm1(-values * t) / np.where(moved, values, 1.0), t)
    return np.asarray((gone * (vectors.T @ y)) @ (cross @ vectors).T)


def kernel_descent(
    cross: ArrayLike, kernel: ArrayLike, y: ArrayLike, rate: float, steps: ArrayLike
) -> NDArray[np.float64]:
    """Predictions of kernel regression under gradient descent from zero, in closed form.

    f_t(x) = K(x, X) K^-1 [1 - (1 - rate K / n)^t] y: what `kernel_flow` is the limit of, as the
    rate goes to zero at a given rate * t. A network linearized at its initialization is this, with
    its tangent kernel, beside the function it starts as (Lee et al. 2019, section 2.2).

    Parameters
    ----------
    cross, kernel, y
        As in `kernel_flow`.
    rate : float
        Learning rate, for the loss sum of squares / (2 n), > 0; stable below 2 n / (largest
        eigenvalue of the kernel).
    steps : array_like of int, shape (times,)
        Numbers of steps done, >= 0.

    Returns
    -------
    ndarray, shape (times, points)
        Predictions.

    Examples
    --------
    >>> kernel_descent([[1.0]], [[1.0]], [2.0], rate=0.5, steps=[0, 1, 2]).tolist()
    [[0.0], [1.0], [1.5]]
    """
    cross, values, vectors, y = _kernel(cross, kernel, y)
    t = np.asarray(steps, dtype=np.float64)[:, None]
    gone = _gone(rate * values / len(y), t)
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = np.where(values > 0.0, gone / values, rate * t / len(y))
    return np.asarray((gone * (vectors.T @ y)) @ (cross @ vectors).T)


def _gone(step: Floats, t: Floats) -> Floats:
    """Give 1 - (1 - step)^t, without cancellation where a mode has hardly moved."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(step < 1.0, -np.expm1(t * np.log1p(-step)), 1.0 - (1.0 - step) ** t)


def _kernel(
    cross: ArrayLike, kernel: ArrayLike, y: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """Give the cross kernel, eigenvalues and eigenvectors of the kernel, and the labels."""
    cross, kernel, y = (np.asarray(a, dtype=np.float64) for a in (cross, kernel, y))
    if y.ndim != 1 or kernel.shape != y.shape * 2 or cross.shape[1:] != y.shape:
        raise ValueError(
            "cross, kernel and y must have shapes (points, n), (n, n) and (n,); got "
            f"{cross.shape}, {kernel.shape} and {y.shape}. Use one column of labels at a time."
        )
    values, vectors = np.linalg.eigh(kernel)
    return cross, np.maximum(values, 0.0), vectors, y


def gradient_flow(
    eigenvalues: Numbers,
    coefficients: Numbers,
    n: Numbers,
    time: Numbers,
    noise: Numbers = 0.0,
    *,
    log: bool = False,
) -> xr.Dataset:
    """Learning curve of linear or kernel regression under gradient flow from zero, any spectrum.

    With S = X^T X / n the student of time t misses e^{-t S} of the target and has fitted (1 - e^{-t
    S}) S^+ X^T / n of the noise. Means over samples are inverse Laplace transforms in t of the
    resolvent 1 / (s + S), whose deterministic equivalent is kappa(s) / (s (Sigma + kappa(s))),
    kappa as in `ridge` at penalty n s continued to complex s; products of two resolvents carry the
    factor 1 / (1 - df2(s, s') / n). For isotropic inputs this is the law of Advani & Saxe 2017
    (arXiv:1710.03667), an average over the Marchenko-Pastur law; as t -> inf it is `ridge` without
    penalty. Relative errors of order 1/n. (Derived; checked against simulation.)

    Parameters
    ----------
    eigenvalues, coefficients, n, noise, log
        As in `ridge`; of a kernel, its eigenvalues under the law of the inputs.
    time : float, array or DataArray
        Learning rate times steps, for the loss sum of squares / (2 n), >= 0; units of 1 / variance.

    Returns
    -------
    Dataset
        `test_error` against the noise-free target, `train_error` on the noisy labels, `bias`,
        `variance`: mean squares without a factor 1/2, to about 1e-9 of the power of the target and
        of the noise.

    Examples
    --------
    One mode and many rows: nothing but exp(-2 t).

    >>> law = gradient_flow([1.0], [1.0], n=1e9, time=[0.0, 0.5, 1.0])
    >>> law.bias.round(6).values.tolist()
    [1.0, 0.367879, 0.135335]
    """
    log_l = log_spectrum(eigenvalues, log)
    c = target_over(log_l, coefficients)
    n, t = labeled("n", n, low=0.0, strict=True), labeled("time", time, low=0.0)
    noise = labeled("noise", noise, low=0.0)
    check_dims(eigenvalues=log_l, coefficients=c, n=n, time=t, noise=noise)
    bias, amplified, missed, unfitted = xr.apply_ufunc(
        lambda *arrays: by_cells(_curve, 2, 4, *arrays, copies=NODES),
        log_l,
        c,
        n,
        t,
        input_core_dims=[["mode"], ["mode"], [], []],
        output_core_dims=[[], [], [], []],
    )
    variance = noise**2 * amplified
    return xr.Dataset(
        {
            "test_error": bias + variance,
            "train_error": missed + noise**2 * unfitted,
            "bias": bias,
            "variance": variance,
        }
    )


def _curve(log_l: Floats, c: Floats, n: Floats, t: Floats) -> tuple[Floats, ...]:
    """Bias, variance at unit noise, and the parts of the train error, of every cell."""
    cells = np.broadcast_shapes(log_l.shape[:-1], c.shape[:-1], n.shape, t.shape)
    shape = (*cells, log_l.shape[-1])
    log_l, n = np.broadcast_to(log_l, shape), np.broadcast_to(n, cells)
    with np.errstate(divide="ignore"):
        log_c2 = 2.0 * np.log(np.abs(np.broadcast_to(c, shape)))
    eigenvalues, power = np.exp(log_l), np.exp(log_l + log_c2)
    begun = np.broadcast_to(t, cells) > 0.0
    t = np.where(begun, t, 1.0)
    once, twice = _kappas(log_l, n, t), _kappas(log_l, n, 2.0 * t)

    s = np.asarray(PARABOLA / t[:, None], dtype=np.complex128)
    weights = WEIGHTS / t[:, None]
    resolved = once[..., None] / (eigenvalues[:, None] + once[..., None])  # 1 - L, per node
    missed = resolved / s[..., None]
    learned = 1.0 - resolved
    bias = np.zeros(cells)
    for second in (lambda z: z, np.conj):  # the other half of the parabola is the conjugate
        both = np.einsum("cam,cbm->cab", missed * power[:, None], second(missed))
        overlap = np.einsum("cam,cbm->cab", learned, second(learned))
        two = weights[:, :, None] * second(weights)[:, None] * both
        bias += 2.0 * np.sum(two / (1.0 - overlap / n[:, None, None]), axis=(1, 2)).real

    # Variance: 1/(2 pi i) times the integral of ((1 - e^{ts}) / s)^2 (kappa(s) - kappa(0)).
    limit = np.exp(solve(log_l, n, np.zeros(1)).log_kappa)
    first = _above(eigenvalues, n, limit, s, once) / s**2
    half = s / 2.0
    last = _above(eigenvalues, n, limit, half, twice) / half**2
    amplified = 2.0 * _inverse(first, t) - _inverse(last, 2.0 * t) - 1.0
    # Train: c^T S e^{-2tS} c, by S / (s + S) = 1 - s / (s + S), and the trace of the dual.
    c2 = np.exp(log_c2)[:, None]
    seen = -_inverse(np.sum(c2 * (twice[..., None] * _over(eigenvalues, twice)), axis=-1), 2 * t)
    unfitted = _inverse(1.0 / twice, 2 * t)
    whole = power.sum(axis=-1)
    values = zip((bias, amplified, seen, unfitted), (whole, 0.0, whole, 1.0), strict=True)
    return tuple(np.where(begun, value, at_zero) for value, at_zero in values)


def _over(eigenvalues: Floats, kappa: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.asarray(1.0 / (eigenvalues[:, None] + kappa[..., None]))


def _above(
    eigenvalues: Floats,
    n: Floats,
    limit: Floats,
    s: NDArray[np.complex128],
    kappa: NDArray[np.complex128],
) -> NDArray[np.complex128]:
    """Give kappa(s) - kappa(0), by the difference of their two equations: nothing cancels."""
    full = eigenvalues + limit[:, None]
    slope = _over(eigenvalues, kappa) * (eigenvalues / np.where(full > 0.0, full, 1.0))[:, None]
    gap = n[:, None] * s / (kappa * slope.sum(axis=-1))
    return np.where(limit[:, None] > 0.0, gap, kappa)


def _inverse(transform: NDArray[np.complex128], t: Floats) -> Floats:
    """Invert Laplace transforms given on the nodes at PARABOLA / t, shape (cells, nodes)."""
    return np.asarray(2.0 * np.sum(WEIGHTS * transform, axis=-1).real / t)


def _kappas(log_l: Floats, n: Floats, t: Floats) -> NDArray[np.complex128]:
    """Solve kappa = s + (kappa / n) sum l / (l + kappa) along the parabola, from the real axis on.

    For s in the upper half plane the solution in the upper half plane is unique (Silverstein & Choi
    1995), so what Newton's method finds by following it from node to node is certain.
    """
    eigenvalues = np.exp(log_l)
    s = PARABOLA / t[:, None]
    kappa = np.empty(s.shape, dtype=np.complex128)
    now = np.exp(solve(log_l, n, n * np.abs(s[:, 0])).log_kappa).astype(np.complex128)
    path = np.concatenate([np.abs(s[:, :1]), s], axis=1)
    for node in range(s.shape[1]):
        now = _follow(eigenvalues, n, path[:, node], path[:, node + 1], now)
        kappa[:, node] = now
    return kappa


def _follow(
    eigenvalues: Floats,
    n: Floats,
    before: NDArray[np.complex128],
    after: NDArray[np.complex128],
    kappa: NDArray[np.complex128],
) -> NDArray[np.complex128]:
    for pieces in (1, 8, 64, 512):
        now = kappa
        for piece in range(pieces):
            s = before + (after - before) * ((piece + 1) / pieces)
            for _ in range(NEWTON):
                share = eigenvalues / (eigenvalues + now[:, None])
                gap = now - s - now * share.sum(axis=-1) / n
                step = gap / (1.0 - (share**2).sum(axis=-1) / n)
                now = now - step
                if np.all(np.abs(step) <= 1e-14 * np.abs(now)):
                    break
        if np.all((now.imag > 0.0) & (np.abs(step) <= 1e-10 * np.abs(now))):
            return now
    raise ArithmeticError(
        "kappa could not be followed into the complex plane. Ask for a time that is neither far "
        "below nor far above the inverse eigenvalues."
    )
