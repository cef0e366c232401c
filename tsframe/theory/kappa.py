"""The one equation of linear theory: the ridge kappa that a sample of n rows is worth.

kappa > 0 solves sum_i l_i / (l_i + kappa) + penalty / kappa = n for a covariance with eigenvalues
l_i. It is solved in u = log kappa, from log l_i: an exponential spectrum needs kappa of the order
exp(-slope * n), far below what float64 holds.
"""

from typing import NamedTuple

import numpy as np

from tsframe.theory.labeled import Floats

__all__ = ["Solution", "learnability", "log_kappa_bounds", "solve"]

FAR = 700.0  # exp(FAR) and exp(-FAR) are normal float64
NEWTON = 40  # steps of Newton's method, which needs about 8, before the bracket is only halved
STEPS = NEWTON + 70  # halving a bracket of width 4000 down to rounding


class Solution(NamedTuple):
    """A solved equation, arrays of shape (cells,).

    Attributes
    ----------
    log_kappa : ndarray
        Natural log of kappa; -inf where the sample determines every mode.
    df1, df2 : ndarray
        Degrees of freedom: the sums of L_i and of L_i^2, L_i = l_i / (l_i + kappa).
    rest : ndarray
        penalty / kappa = n - df1, what is left of the sample.
    slack : ndarray
        n - df2, without cancellation.
    """

    log_kappa: Floats
    df1: Floats
    df2: Floats
    rest: Floats
    slack: Floats


def learnability(log_l: Floats, log_kappa: Floats) -> tuple[Floats, Floats]:
    """Learned part of each mode, L = l / (l + kappa), and the part that is not, 1 - L.

    Parameters
    ----------
    log_l : ndarray, shape (..., mode)
        Natural logs of the eigenvalues.
    log_kappa : ndarray, shape (...)
        Natural log of kappa.

    Returns
    -------
    tuple of two ndarray, shape (..., mode)
        L and 1 - L, each to full relative precision down to exp(-700).
    """
    finite = np.clip(log_kappa, -1e300, 1e300)[..., None]  # an absent mode is missed at every kappa
    ratio = np.exp(np.clip(finite - log_l, -FAR, FAR))
    learned = 1.0 / (1.0 + ratio)
    return learned, ratio * learned


def log_kappa_bounds(log_l: Floats, n: Floats, log_penalty: Floats) -> tuple[Floats, Floats]:
    """Bounds of log kappa that hold for every spectrum.

    Below: with m > n modes, kappa >= l_m (m - n) / n, for otherwise these modes alone exceed n; and
    kappa >= penalty / n. Above: kappa <= (penalty + sum_{i > k} l_i) / (n - k), for the first k
    modes count at most k.

    Parameters
    ----------
    log_l : ndarray, shape (cells, mode)
        Natural logs of the eigenvalues, descending.
    n, log_penalty : ndarray, shape (cells,)
        Number of rows, and natural log of the penalty.

    Returns
    -------
    tuple of two ndarray, shape (cells,)
        Lower and upper bound; the lower one is -inf where n is at least the number of modes and
        there is no penalty.
    """
    m = np.arange(1.0, log_l.shape[-1] + 1.0)
    beyond = np.maximum(m - n[:, None], 0.0) / n[:, None]
    with np.errstate(divide="ignore"):
        low = np.max(log_l + np.log(beyond), axis=-1)
    high = np.full(n.shape, np.inf)
    rank = np.isfinite(log_l).sum(axis=-1)
    for k in (np.zeros(n.shape), np.minimum(np.ceil(n) - 1.0, rank)):
        at = np.minimum(k, log_l.shape[-1] - 1.0).astype(np.intp)[:, None]
        lead = np.take_along_axis(np.broadcast_to(log_l, (len(n), len(m))), at, axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            tail = np.exp(np.minimum(log_l - lead, 0.0))
            tail = np.where((m > k[:, None]) & np.isfinite(log_l), tail, 0.0)
            log_tail = np.where(k < rank, np.log(tail.sum(axis=-1)) + lead[:, 0], -np.inf)
        high = np.minimum(high, np.logaddexp(log_penalty, log_tail) - np.log(n - k))
    return np.maximum(low, log_penalty - np.log(n)), high


def solve(log_l: Floats, n: Floats, penalty: Floats) -> Solution:
    """Solve the equation of kappa by Newton's method in log kappa, held within a bracket.

    Parameters
    ----------
    log_l : ndarray, shape (cells, mode) or (1, mode)
        Natural logs of the eigenvalues in any order, -inf where there is no mode.
    n : ndarray, shape (cells,) or (1,)
        Number of rows, > 0.
    penalty : ndarray, shape (cells,) or (1,)
        On the squared norm beside the un-averaged sum of squares, >= 0; inf is allowed.

    Returns
    -------
    Solution
        Arrays of shape (cells,), accurate to rounding of log kappa.
    """
    log_l = -np.sort(-log_l, axis=-1)
    cells = np.broadcast_shapes(log_l.shape[:-1], n.shape, penalty.shape)
    n, penalty = np.broadcast_to(n, cells), np.broadcast_to(penalty, cells)
    log_l = np.broadcast_to(log_l, (*cells, log_l.shape[-1]))
    rank = np.isfinite(log_l).sum(axis=-1)
    with np.errstate(divide="ignore"):
        log_penalty = np.log(penalty)
    u = np.where(penalty == np.inf, np.inf, -np.inf)
    unsolved = (penalty < np.inf) & ((penalty > 0.0) | (rank > n))
    if unsolved.any():
        u[unsolved] = _root(log_l[unsolved], n[unsolved], log_penalty[unsolved])
    learned, missed = learnability(log_l, u)
    df1 = np.where(u == -np.inf, rank, learned.sum(axis=-1))
    # n - df1 is penalty / kappa, or what is left of a sample of more rows than modes.
    with np.errstate(invalid="ignore"):
        rest = np.where(u == -np.inf, n - rank, np.exp(log_penalty - u))
    rest = np.where(u == np.inf, n, rest)
    spread = np.where(u == -np.inf, 0.0, (learned * missed).sum(axis=-1))
    return Solution(u, df1, df1 - spread, rest, rest + spread)


def _root(log_l: Floats, n: Floats, log_penalty: Floats) -> Floats:
    low, high = log_kappa_bounds(log_l, n, log_penalty)
    margin = 1e-12 * (1.0 + np.abs(low) + np.abs(high))  # rounding of the bounds themselves
    low, high = low - margin, high + margin
    # The k leading modes are counted by what they lack of 1: nothing cancels, in whatever gap of
    # the spectrum kappa lies. Both sides are nearly powers of kappa, so Newton takes their logs.
    k = np.minimum(np.floor(n), np.isfinite(log_l).sum(axis=-1))
    leads = np.arange(log_l.shape[-1]) < k[:, None]
    u = 0.5 * (low + high)
    active = np.arange(len(u))
    for step in range(STEPS):
        now = u[active]
        lead = leads[active]
        learned, missed = learnability(log_l[active], now)
        rest = np.exp(np.clip(log_penalty[active] - now, -FAR, FAR))
        rest[log_penalty[active] == -np.inf] = 0.0
        spread = learned * missed
        gained = np.where(lead, 0.0, learned).sum(axis=-1) + rest
        lacked = np.where(lead, missed, 0.0).sum(axis=-1) + (n - k)[active]
        excess = np.log(gained) - np.log(lacked)
        lead_spread = np.where(lead, spread, 0.0).sum(axis=-1)
        slope = (spread.sum(axis=-1) - lead_spread + rest) / gained + lead_spread / lacked
        low[active] = np.where(excess > 0.0, now, low[active])
        high[active] = np.where(excess > 0.0, high[active], now)
        middle = 0.5 * (low[active] + high[active])
        new = now + excess / slope
        inside = (new >= low[active]) & (new <= high[active]) & (step < NEWTON)
        u[active] = np.where(inside, new, middle)
        moved = np.abs(u[active] - now) > 4e-16 * (4.0 + np.abs(now))
        active = active[moved & (excess != 0.0)]
        if not len(active):
            break
    return u
