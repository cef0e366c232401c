"""Spectra that a trial may ask for: inputs, activations, gradients, Jacobian, Fisher, noise.

Each stores its eigenvalues along a dim of its own, and numbers that say what they are worth. With
the prefix of the measure, e.g. ``fisher``:

``fisher_eigenvalues``        descending, along ``fisher_mode``; noise where not above the floor
``fisher_floor``              numerical floor
``fisher_trace``, ``_norm``   sum of the eigenvalues by another way, and the largest
``fisher_residual``           by how much their sums miss trace and squared entries, relative
``fisher_participation_ratio``, ``fisher_effective_rank``   trace^2 / sum of squares, trace / norm
``fisher_slope``, ``_slope_low``, ``_slope_high``    of the tail, natural log per mode; its interval
``fisher_tail_first``, ``fisher_tail_last``   first mode of the tail, and the mode behind its last
``fisher_head_drop``          natural log of the norm over the line of the tail at mode 0

All are measured on the first `probe` training inputs, in float64, in the standard parametrization.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import whole, whole_number
from tsframe.measures.activations import (
    activation_gradient_spectra,
    activation_spectra,
    row_spectrum,
)
from tsframe.measures.asking import counted, Measure, Names
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, ForwardPass, sensitivities, students
from tsframe.measures.spectrum import Spectrum
from tsframe.measures.start_rows import loss_gradients

__all__ = ["ActivationSpectra", "GradientSpectra", "InputSpectrum", "SpectrumMeasure"]

FLOAT = 8.0  # bytes
LACKING = (  # where there is no tail, or nothing but zeros
    "slope",
    "slope_low",
    "slope_high",
    "tail_first",
    "tail_last",
    "head_drop",
    "participation_ratio",
    "effective_rank",
)
SCALARS = ("floor", "trace", "norm", "residual", *LACKING)


@dataclass(frozen=True, kw_only=True)
class SpectrumMeasure(Measure):
    """What all measures of spectra share.

    Parameters
    ----------
    probe : int, optional
        How many of the training inputs are used, the first ones; all by default.
    modes : int, optional
        How many eigenvalues are stored, the largest; all by default. Numbers are of all.
    tail : tuple of int, optional
        First mode of the piece whose slope is fitted, and the mode behind its last; by default the
        longest of three straight pieces, see `tsframe.slopes.fit_eigenvalues`. Nothing below the
        floor is ever fitted.
    """

    probe: int | None = None
    modes: int | None = None
    tail: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("probe", "modes"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(name, value, 1))
        if self.tail is not None:
            first, last = self.tail
            sentence = (
                "tail must be the first mode and the mode behind the last, at least 5 apart; got "
                f"tail={self.tail!r}."
            )
            first = whole_number(first, 0, sentence)
            object.__setattr__(self, "tail", (first, whole_number(last, first + 5, sentence)))

    @property
    @abc.abstractmethod
    def prefix(self) -> str:
        """Of the names of all that is stored."""

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Numbers that need a tail, or something else than zeros."""
        return tuple(f"{self.prefix}_{name}" for name in LACKING)

    def samples(self, shape: StudentShape) -> int:
        """Give the number of inputs used.

        Raises
        ------
        ValueError
            If there are fewer training inputs than the probe asks for.
        """
        if self.probe is not None and self.probe > shape.n_train:
            raise ValueError(
                f"probe must be at most n_train={shape.n_train}; got probe={self.probe}. Leave it "
                "out to use all training inputs."
            )
        return self.probe or shape.n_train

    def names(self, modes: int, outer: Mapping[str, tuple[float, ...]] | None = None) -> Names:
        """Name what is stored of spectra of so many modes, along outer dims."""
        outer = dict(outer or {})
        kept = min(modes, self.modes or modes)
        named = {f"{self.prefix}_eigenvalues": outer | {f"{self.prefix}_mode": counted(kept)}}
        return named | {f"{self.prefix}_{name}": outer for name in SCALARS}

    def rows(self, spectrum: Spectrum, modes: int) -> dict[str, np.ndarray]:
        """Give what is stored of one spectrum, in the order of `names`."""
        tail = spectrum.tail(self.tail)
        fitted = (
            (np.nan,) * 5
            if tail is None
            else (tail.slope, tail.low, tail.high, float(tail.first), float(tail.last))
        )
        values = np.full(modes, np.nan)
        some = spectrum.values[:modes]
        values[: len(some)] = some
        numbers = (
            spectrum.floor,
            spectrum.trace,
            spectrum.norm,
            spectrum.residual,
            *fitted,
            spectrum.head_drop(tail),
            spectrum.participation_ratio,
            spectrum.effective_rank,
        )
        named = dict(zip(SCALARS, map(np.asarray, numbers), strict=True))
        return {
            f"{self.prefix}_{name}": value
            for name, value in ({"eigenvalues": values} | named).items()
        }

    def inputs(self, learned: Learned, k: int) -> Tensor:
        """Give the inputs that a student is measured on, on its device."""
        x = learned.samples[k].x_train[: self.probe]
        return torch.as_tensor(x, dtype=torch.float64).to(learned.weights[0].device)

    def trained_on(self, learned: Learned, k: int) -> Tensor:
        """Give the labels that these inputs were trained on."""
        y = torch.as_tensor(learned.samples[k].y_train[: self.probe])
        return y.to(learned.weights[0].device)

    def passes(self, learned: Learned) -> list[ForwardPass]:
        """Pass the inputs through every student."""
        return [
            forward(own, learned.activation, self.inputs(learned, k))
            for k, own in enumerate(students(learned.weights))
        ]


def stacked(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack what is stored of several spectra along a new first dim."""
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


@dataclass(frozen=True, kw_only=True)
class InputSpectrum(SpectrumMeasure):
    """The spectrum of the second moment of the inputs, X^T X / n (Yang, Mao & Chaudhari 2022).

    Prefix ``input``. By singular values, which reach down to the square of the rounding of X.

    Parameters
    ----------
    probe, modes, tail
        See `SpectrumMeasure`.
    centered : bool
        Whether the mean is taken off first, for the covariance.
    """

    centered: bool = False

    @property
    def prefix(self) -> str:
        """Of the names of all that is stored."""
        return "input"

    def declare(self, shape: StudentShape) -> Names:
        """Name eigenvalues and numbers; see `Measure.declare`."""
        return self.names(min(self.samples(shape), shape.dim))

    def flops(self, shape: StudentShape) -> float:
        """Count a singular value decomposition."""
        return svd_flops(self.samples(shape), shape.dim)

    def bytes(self, shape: StudentShape) -> float:
        """Count copies of the inputs."""
        return FLOAT * 4 * self.samples(shape) * shape.dim

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        known: dict[int, dict[str, np.ndarray]] = {}
        modes = kept(self.declare(learned.shape), self.prefix)
        for k, samples in enumerate(learned.samples):
            if id(samples) not in known:  # students of one sample share its spectrum
                spectrum = row_spectrum(self.inputs(learned, k), self.centered)
                known[id(samples)] = self.rows(spectrum, modes)
        return stacked([known[id(samples)] for samples in learned.samples])


@dataclass(frozen=True, kw_only=True)
class HiddenSpectra(SpectrumMeasure):
    """Spectra of something of which each hidden layer has as much as it has units."""

    def declare(self, shape: StudentShape) -> Names:
        """Name eigenvalues and numbers of each layer; see `Measure.declare`."""
        check_hidden(shape, self)
        outer = {"hidden_layer": counted(shape.depth)}
        return self.names(min(self.samples(shape), shape.width), outer)


@dataclass(frozen=True, kw_only=True)
class ActivationSpectra(HiddenSpectra):
    """The spectra of the second moments of the activations, one for each hidden layer.

    Prefix ``activation``, along the dim ``hidden_layer``; h^T h / n with h what leaves the
    activation function.

    Parameters
    ----------
    probe, modes, tail
        See `SpectrumMeasure`.
    centered : bool
        Whether the mean is taken off first.
    """

    centered: bool = False

    @property
    def prefix(self) -> str:
        """Of the names of all that is stored."""
        return "activation"

    def flops(self, shape: StudentShape) -> float:
        """Count a forward pass, and a singular value decomposition for each layer."""
        n = self.samples(shape)
        return 2.0 * n * shape.parameters + shape.depth * svd_flops(n, shape.width)

    def bytes(self, shape: StudentShape) -> float:
        """Count hidden values and their derivatives."""
        return FLOAT * 4 * self.samples(shape) * (sum(shape.sizes) + len(shape.sizes))

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        modes = kept(self.declare(learned.shape), self.prefix)
        return stacked(
            [
                stacked(
                    [self.rows(one, modes) for one in activation_spectra(passed, self.centered)]
                )
                for passed in self.passes(learned)
            ]
        )


@dataclass(frozen=True, kw_only=True)
class GradientSpectra(HiddenSpectra):
    """The spectra of the second moments of activation gradients, one for each hidden layer.

    Prefix ``activation_gradient``, along the dim ``hidden_layer``: gradients of the loss of each
    sample by what enters the activation functions of the layer, or by what leaves them.

    Parameters
    ----------
    probe, modes, tail
        See `SpectrumMeasure`.
    before : bool
        By what enters the activation functions; otherwise by what leaves them.
    centered : bool
        Whether the mean is taken off first.
    """

    before: bool = True
    centered: bool = False

    @property
    def prefix(self) -> str:
        """Of the names of all that is stored."""
        return "activation_gradient"

    def flops(self, shape: StudentShape) -> float:
        """Count a pass forward and back, and a singular value decomposition for each layer."""
        n = self.samples(shape)
        return 4.0 * n * shape.parameters + shape.depth * svd_flops(n, shape.width)

    def bytes(self, shape: StudentShape) -> float:
        """Count hidden values, their derivatives and gradients."""
        return FLOAT * 6 * self.samples(shape) * (sum(shape.sizes) + len(shape.sizes))

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        modes = kept(self.declare(learned.shape), self.prefix)
        found = []
        for k, passed in enumerate(self.passes(learned)):
            start = loss_gradients(passed.outputs, self.trained_on(learned, k), learned.objective)
            deltas = sensitivities(passed, start)
            spectra = activation_gradient_spectra(passed, deltas, self.before, self.centered)
            found.append(stacked([self.rows(one, modes) for one in spectra]))
        return stacked(found)


def check_hidden(shape: StudentShape, measure: Measure) -> None:
    """Refuse a student without hidden layers.

    Raises
    ------
    ValueError
        If it has none.
    """
    if shape.depth == 0:
        raise ValueError(
            f"{type(measure).__name__} is of hidden layers, and a student of depth 0 has none. "
            "Leave it out, or take InputSpectrum()."
        )


def kept(names: Names, prefix: str) -> int:
    """Give the number of eigenvalues that are stored."""
    return len(names[f"{prefix}_eigenvalues"][f"{prefix}_mode"])


def svd_flops(n: int, dim: int) -> float:
    """Predict the work of singular values, in floating-point operations of a product."""
    return 8.0 * max(n, dim) * min(n, dim) ** 2
