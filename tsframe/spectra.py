"""Eigenvalue laws of an input covariance: a law is a value; called with a dim it gives eigenvalues.

The laws of this project - `Isotropic`, `Sloppy`, `PowerLaw`, `Spiked`, `Measured` - say a shape
only. Their eigenvalues sum to the dimension (average variance one) unless `trace` says another sum,
so that slope and scale are never confused. The two published recipes, `SloppyAsReleased2022` and
`SloppyAsCleaned2024`, are reproduced with the scale of their authors, which moves with the slope.
Whatever maps a dimension to eigenvalues is a `Spectrum`.

Every law gives float64 eigenvalues, descending and positive. One that falls below the smallest
normal float64, 2.2e-308, is held there: its standard deviation, 1.5e-154, is already zero to any
student trained in single precision.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsframe.checks import real_number, whole_number

__all__ = [
    "Isotropic",
    "Measured",
    "PowerLaw",
    "Sloppy",
    "SloppyAsCleaned2024",
    "SloppyAsReleased2022",
    "Spectrum",
    "Spiked",
]

Eigenvalues: TypeAlias = NDArray[
    np.float64
]  # shape (dim,), descending, positive; units of variance
Spectrum: TypeAlias = Callable[[int], Eigenvalues]

LOG = logging.getLogger("tsframe")
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Isotropic:
    """All eigenvalues equal.

    Parameters
    ----------
    trace : float, optional
        Sum of the eigenvalues, > 0; by default the dimension.

    Examples
    --------
    >>> Isotropic()(3).tolist()
    [1.0, 1.0, 1.0]
    """

    trace: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", _trace(self.trace))

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,)."""
        return _scaled(np.ones(_whole_dim(dim)), self.trace)


@dataclass(frozen=True)
class Sloppy:
    """Exponential decay over a floor: eigenvalue_i proportional to exp(-slope * i) + floor.

    The index i runs over 0..dim-1. Without a floor the eigenvalues lie on a line on a log axis, as
    the "sloppy" spectra of natural data do (Yang, Mao & Chaudhari 2022, arXiv:2110.14163).

    Parameters
    ----------
    slope : float
        Slope of the *eigenvalue*, natural log per mode, >= 0; the standard deviation falls with
        slope / 2. Zero is isotropic.
    floor : float
        Height of the floor in units of the leading exponential, >= 0, before the spectrum is scaled
        to its trace.
    trace : float, optional
        Sum of the eigenvalues, > 0; by default the dimension.

    Examples
    --------
    >>> eigenvalues = Sloppy(slope=0.1)(200)
    >>> float(np.log(eigenvalues[0] / eigenvalues[10]).round(12))
    1.0
    """

    slope: float
    floor: float = 0.0
    trace: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        slope = _real(
            "slope", self.slope, "natural log per mode", "Use 0 for an isotropic spectrum."
        )
        floor = _real("floor", self.floor, "leading exponential = 1", "Use 0 for no floor.")
        object.__setattr__(self, "slope", slope)
        object.__setattr__(self, "floor", floor)
        object.__setattr__(self, "trace", _trace(self.trace))

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,)."""
        return _scaled(np.exp(-self.slope * np.arange(_whole_dim(dim))) + self.floor, self.trace)


@dataclass(frozen=True)
class PowerLaw:
    """Power-law decay: eigenvalue_i proportional to k^-exponent (1 + log k)^-log_exponent.

    Here k = i + 1, and the index i runs over 0..dim-1. An exponent of one with a log_exponent above
    one is the benign family of Bartlett, Long, Lugosi & Tsigler 2020, Theorem 6.

    Parameters
    ----------
    exponent : float
        The exponent alpha of the eigenvalue itself (not 1 + alpha, as some write), >= 0. Zero is
        isotropic.
    log_exponent : float
        The exponent of the logarithm that corrects the power law, >= 0.
    trace : float, optional
        Sum of the eigenvalues, > 0; by default the dimension.

    Examples
    --------
    >>> eigenvalues = PowerLaw(exponent=1.5)(200)
    >>> float((eigenvalues[0] / eigenvalues[3]).round(12))
    8.0
    """

    exponent: float
    log_exponent: float = 0.0
    trace: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        exponent = _real(
            "exponent", self.exponent, "of the eigenvalue", "Use 0 for an isotropic spectrum."
        )
        object.__setattr__(self, "exponent", exponent)
        log_exponent = _real(
            "log_exponent", self.log_exponent, "of the logarithm", "Use 0 for a pure power law."
        )
        object.__setattr__(self, "log_exponent", log_exponent)
        object.__setattr__(self, "trace", _trace(self.trace))

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,)."""
        log_modes = np.log(np.arange(1.0, _whole_dim(dim) + 1.0))
        log_shape = -self.exponent * log_modes - self.log_exponent * np.log1p(log_modes)
        return _scaled(np.exp(log_shape), self.trace)


@dataclass(frozen=True)
class Spiked:
    """A few eigenvalues apart from an isotropic bulk (Johnstone 2001).

    Parameters
    ----------
    spikes : tuple of float
        Each spike as a ratio to the bulk eigenvalue, > 0, in any order. An empty tuple is
        isotropic.
    trace : float, optional
        Sum of the eigenvalues, > 0; by default the dimension.

    Examples
    --------
    >>> Spiked(spikes=(4.0,), trace=7.0)(4).tolist()
    [4.0, 1.0, 1.0, 1.0]
    """

    spikes: tuple[float, ...]
    trace: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "spikes", _positives("spikes", self.spikes, "Spiked((10.0,))"))
        object.__setattr__(self, "trace", _trace(self.trace))

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,); refuse where no bulk is left."""
        bulk = _whole_dim(dim) - len(self.spikes)
        if bulk < 1:
            raise ValueError(
                f"dim must exceed the number of spikes; got dim={dim} with {len(self.spikes)} "
                "spikes. Remove spikes or raise dim."
            )
        return _scaled(np.concatenate([self.spikes, np.ones(bulk)]), self.trace)


@dataclass(frozen=True)
class Measured:
    """The shape of a given list of eigenvalues, e.g. of a data set's covariance.

    Parameters
    ----------
    eigenvalues : tuple of float
        All > 0, in any order; an array or a list is kept as a tuple. Dimension and number must
        agree.
    trace : float, optional
        Sum of the eigenvalues, > 0; by default the dimension. ``trace=sum(eigenvalues)`` keeps them
        as measured.

    Examples
    --------
    >>> Measured((1.0, 3.0), trace=4.0)(2).tolist()
    [3.0, 1.0]
    """

    eigenvalues: tuple[float, ...]
    trace: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        eigenvalues = _positives("eigenvalues", self.eigenvalues, "Measured((3.0, 1.0))")
        object.__setattr__(self, "eigenvalues", eigenvalues)
        object.__setattr__(self, "trace", _trace(self.trace))

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,); dim must be their number."""
        if _whole_dim(dim) != len(self.eigenvalues):
            raise ValueError(
                f"dim must equal the number of measured eigenvalues; got dim={dim} with "
                f"{len(self.eigenvalues)} eigenvalues. Set dim={len(self.eigenvalues)}."
            )
        return _scaled(np.array(self.eigenvalues), self.trace)

    @classmethod
    def from_data(cls, x: ArrayLike, centered: bool = False) -> "Measured":
        """Measure the spectrum of the rows of an array, with its trace.

        Eigenvalues are the squared singular values of the rows, in float64, over their number: a
        Gram matrix in single precision would show a floor of its own. Those that rounding cannot
        tell from zero, below (largest singular value * max(shape) * 2.2e-16)^2 / rows, are raised
        to this numerical floor, and logged; among them are all beyond the rank of the data.

        Parameters
        ----------
        x : array_like, shape (rows, dim)
            One input a row, finite; at least one is not zero.
        centered : bool
            Whether the mean of the rows is taken off, for the covariance. By default the second
            moment is measured, as the sloppiness of data is (Yang, Mao & Chaudhari 2022).

        Returns
        -------
        Measured
            With `dim` eigenvalues, descending; their sum is the trace of the second moment.

        Raises
        ------
        ValueError
            If x is no array of finite numbers with two dims, or all are zero.

        Examples
        --------
        >>> Measured.from_data([[2.0, 0.0], [0.0, 1.0]])(2).tolist()
        [2.0, 0.5]
        """
        rows = np.asarray(x, np.float64)
        if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
            raise ValueError(
                "x must be finite numbers of shape (rows, dim), one input a row; got shape "
                f"{rows.shape} with {int((~np.isfinite(rows)).sum())} others."
            )
        if centered:
            rows = rows - rows.mean(axis=0)
        singular = np.zeros(rows.shape[1])
        values = np.linalg.svd(rows, compute_uv=False)
        singular[: len(values)] = values
        if not singular[0] > 0.0:
            raise ValueError(f"x has no variance: all {len(rows)} rows are zero. Pass other data.")
        floor = singular[0] * max(rows.shape) * float(np.finfo(np.float64).eps)
        below = int((singular < floor).sum())
        if below:
            LOG.info(
                "%d of %d eigenvalues lie below the numerical floor %.1e of the data, and were "
                "raised to it",
                *(below, len(singular), floor**2 / len(rows)),
            )
        eigenvalues = np.maximum(singular, floor) ** 2 / len(rows)
        return cls(tuple(eigenvalues.tolist()), trace=float(eigenvalues.sum()))


@dataclass(frozen=True)
class SloppyAsReleased2022:
    """The inputs of Yang, Mao & Chaudhari 2022 (arXiv:2110.14163), as their notebook was released.

    Inputs are x_i = z_i * 50 b exp(-b i) / sqrt(dim) with standard normal z: eigenvalue_i = (50
    b)^2 exp(-2 b i) / dim. Two confounds are kept. The rate b acts on the *standard deviation*, so
    the slope of the eigenvalue is 2 b; and the trace grows with b, at dim 200 from 0.00206 (b =
    0.001) to 4.94 (b = 0.5).

    Parameters
    ----------
    rate : float
        b, natural log of the standard deviation per mode, > 0.

    Examples
    --------
    >>> float(SloppyAsReleased2022(rate=0.5)(200).sum().round(2))
    4.94
    """

    rate: float

    def __post_init__(self) -> None:
        advice = "Its inputs vanish at 0: use Isotropic() there."
        rate = _real("rate", self.rate, "natural log per mode", advice, strict=True)
        object.__setattr__(self, "rate", rate)

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,)."""
        scale = (50.0 * self.rate) ** 2 / _whole_dim(dim)
        return _ordered(scale * np.exp(-2.0 * self.rate * np.arange(dim)))


@dataclass(frozen=True)
class SloppyAsCleaned2024:
    """The recipe of 2022 as the same group cleaned it up later (Mao et al., PNAS 2024).

    Inputs are x_i = z_i * sqrt(B exp(-c i) / dim) with B = 50 c, or B = 1 at c = 0: eigenvalue_i =
    B exp(-c i) / dim. The slope now acts on the eigenvalue, but the trace still moves with it: at
    dim 200 it is 1, 0.0453, 0.217, 0.263, 0.318 at c = 0, 0.001, 0.01, 0.1, 0.5.

    Parameters
    ----------
    slope : float
        c, slope of the eigenvalue, natural log per mode, >= 0.

    Examples
    --------
    >>> float(SloppyAsCleaned2024(slope=0.5)(200).sum().round(3))
    0.318
    """

    slope: float

    def __post_init__(self) -> None:
        slope = _real(
            "slope", self.slope, "natural log per mode", "Use 0 for an isotropic spectrum."
        )
        object.__setattr__(self, "slope", slope)

    def __call__(self, dim: int) -> Eigenvalues:
        """Give the eigenvalues in `dim` dimensions, shape (dim,)."""
        scale = (50.0 * self.slope if self.slope > 0.0 else 1.0) / _whole_dim(dim)
        return _ordered(scale * np.exp(-self.slope * np.arange(dim)))


def _scaled(shape: Eigenvalues, trace: float | None) -> Eigenvalues:
    """Scale positive numbers to their sum; None stands for their number."""
    largest = shape / shape.max()  # keeps the sum finite, whatever the units of a measured spectrum
    return _ordered(largest * ((len(shape) if trace is None else trace) / largest.sum()))


def _ordered(eigenvalues: Eigenvalues) -> Eigenvalues:
    return np.maximum(np.sort(eigenvalues)[::-1], TINY)


def _real(name: str, value: object, unit: str, advice: str, strict: bool = False) -> float:
    sign = ">" if strict else ">="
    sentence = f"{name} must be a number {sign} 0 ({unit}); got {name}={value!r}. {advice}"
    return real_number(value, sentence, strict)


def _trace(value: object) -> float | None:
    if value is None:
        return None
    advice = "Leave it out to let the eigenvalues sum to the dimension."
    return _real("trace", value, "sum of the eigenvalues", advice, strict=True)


def _positives(name: str, values: object, example: str) -> tuple[float, ...]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise TypeError(
            f"{name} must be a tuple of numbers > 0; got {name}={values!r}. Write {example}."
        )
    unit, advice = "each of them", "Drop such values, or add a floor to all of them."
    return tuple(_real(name, value, unit, advice, strict=True) for value in values)


def _whole_dim(dim: object) -> int:
    sentence = f"dim must be a whole number >= 1; got dim={dim!r}. Give the input dimension."
    return whole_number(dim, 1, sentence)
