"""Spectra of curvature that a trial may ask for: Jacobian, Fisher, Gauss-Newton, gradient noise."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import whole, whole_number
from tsframe.measures.asking import Names
from tsframe.measures.curvature import (
    fisher_spectrum,
    gauss_newton_spectrum,
    gradient_noise_spectrum,
    jacobian_spectrum,
    mean_gradient_norm,
    minibatch_factor,
)
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import ForwardPass
from tsframe.measures.spectral import FLOAT, kept, LACKING, SpectrumMeasure, stacked
from tsframe.measures.spectrum import Spectrum
from tsframe.measures.start_rows import draw_labels
from tsframe.streams import stream

__all__ = [
    "CurvatureMeasure",
    "FisherSpectrum",
    "GaussNewtonSpectrum",
    "GradientNoise",
    "JacobianSpectrum",
]

LABELS = {"exact": "fisher", "sampled": "sampled_fisher", "data": "empirical_fisher"}


@dataclass(frozen=True, kw_only=True)
class CurvatureMeasure(SpectrumMeasure):
    """What spectra of J^T J share, J the derivatives of some rows by the weights.

    Parameters
    ----------
    probe, modes, tail
        See `SpectrumMeasure`.
    layer : int, optional
        The layer whose weights count, 0 the first: its diagonal block, with ``_layer0`` behind the
        prefix. By default all weights count.
    """

    layer: int | None = None

    def __post_init__(self) -> None:
        SpectrumMeasure.__post_init__(self)
        if self.layer is not None:
            object.__setattr__(self, "layer", whole("layer", self.layer, 0))

    @property
    @abc.abstractmethod
    def matrix(self) -> str:
        """What the matrix is called in names."""

    @abc.abstractmethod
    def rows_of_sample(self, shape: StudentShape) -> int:
        """Give the most rows of one sample."""

    @abc.abstractmethod
    def spectrum(self, passed: ForwardPass, learned: Learned, k: int) -> Spectrum:
        """Measure student k of these."""

    @property
    def prefix(self) -> str:
        """Of the names of all that is stored."""
        return self.matrix if self.layer is None else f"{self.matrix}_layer{self.layer}"

    @property
    def layers(self) -> tuple[int, ...] | None:
        """Layers whose weights count."""
        return None if self.layer is None else (self.layer,)

    def declare(self, shape: StudentShape) -> Names:
        """Name eigenvalues and numbers; see `Measure.declare`."""
        if self.layer is not None and self.layer > shape.depth:
            raise ValueError(
                f"layer must lie in 0..{shape.depth} for a student of depth {shape.depth}; got "
                f"layer={self.layer}."
            )
        return self.names(self._side(shape))

    def flops(self, shape: StudentShape) -> float:
        """Count passes, products of rows, and eigenvalues."""
        side, rows = self._side(shape), self._rows(shape)
        products = 2.0 * side * min(rows * sum(shape.sizes), side * rows)
        return products + 6.0 * rows * shape.parameters + (8.0 / 3.0) * side**3

    def bytes(self, shape: StudentShape) -> float:
        """Count sensitivities, and the matrix with copies for its decomposition."""
        return FLOAT * (4.0 * self._side(shape) ** 2 + 3.0 * self._rows(shape) * sum(shape.sizes))

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        modes = kept(self.declare(learned.shape), self.prefix)
        return stacked(
            [
                self.rows(self.spectrum(passed, learned, k), modes)
                for k, passed in enumerate(self.passes(learned))
            ]
        )

    def _rows(self, shape: StudentShape) -> int:
        return self.samples(shape) * self.rows_of_sample(shape)

    def _side(self, shape: StudentShape) -> int:
        pairs = list(zip(shape.sizes, shape.sizes[1:], strict=False))
        chosen = pairs if self.layer is None else [pairs[self.layer]]
        return min(self._rows(shape), sum(after * (before + 1) for before, after in chosen))


@dataclass(frozen=True)
class JacobianSpectrum(CurvatureMeasure):
    """The spectrum of the Jacobian of the outputs, mean over samples of J_i^T J_i.

    Prefix ``jacobian``, or ``jacobian_2`` of output 2. Its nonzero eigenvalues are those of the
    empirical neural tangent kernel over n.

    Parameters
    ----------
    output : int, optional
        The one output that is differentiated; all by default.
    probe, modes, tail, layer
        See `CurvatureMeasure`.
    """

    output: int | None = None

    def __post_init__(self) -> None:
        CurvatureMeasure.__post_init__(self)
        if self.output is not None:
            object.__setattr__(self, "output", whole("output", self.output, 0))

    @property
    def matrix(self) -> str:
        """What the matrix is called in names."""
        return "jacobian" if self.output is None else f"jacobian_{self.output}"

    def rows_of_sample(self, shape: StudentShape) -> int:
        """Give the number of outputs that are differentiated.

        Raises
        ------
        ValueError
            If there is no such output.
        """
        if self.output is not None and self.output >= shape.outputs:
            raise ValueError(
                f"output must lie in 0..{shape.outputs - 1} for this student; got "
                f"output={self.output}."
            )
        return shape.outputs if self.output is None else 1

    def spectrum(self, passed: ForwardPass, learned: Learned, k: int) -> Spectrum:
        """Measure student k of these."""
        return jacobian_spectrum(passed, self.output, self.layers)


@dataclass(frozen=True)
class FisherSpectrum(CurvatureMeasure):
    """The spectrum of the Fisher information of the softmax of a student, mean over samples.

    Prefix ``fisher`` with exact labels, ``sampled_fisher`` and ``empirical_fisher`` otherwise. The
    outputs are read as logits, whatever the loss.

    Parameters
    ----------
    labels : str
        ``"exact"``: the expectation over the labels that the student predicts. ``"sampled"``: some
        drawn from it. ``"data"``: those trained on; this "empirical Fisher" is another matrix.
    draws : int
        Labels drawn for each input, with ``"sampled"``.
    probe, modes, tail, layer
        See `CurvatureMeasure`. Time grows as the cube of probe * (classes - 1), with exact labels.
    """

    labels: str = "exact"
    draws: int = 1

    def __post_init__(self) -> None:
        CurvatureMeasure.__post_init__(self)
        if self.labels not in LABELS:
            raise ValueError(f"labels must be one of {', '.join(LABELS)}; got {self.labels!r}.")
        object.__setattr__(self, "draws", whole("draws", self.draws, 1))

    @property
    def matrix(self) -> str:
        """What the matrix is called in names."""
        return LABELS[self.labels]

    def rows_of_sample(self, shape: StudentShape) -> int:
        """Give the number of rows of one sample.

        Raises
        ------
        ValueError
            If the student has no classes.
        """
        if shape.classes is None:
            raise ValueError(
                "the Fisher information of a softmax needs classes, and this student has none. "
                "Take GaussNewtonSpectrum() or JacobianSpectrum()."
            )
        return {"exact": shape.outputs - 1, "sampled": self.draws, "data": 1}[self.labels]

    def spectrum(self, passed: ForwardPass, learned: Learned, k: int) -> Spectrum:
        """Measure student k of these."""
        given: Tensor | None = None
        if self.labels == "data":
            given = self.trained_on(learned, k)[:, None]
        elif self.labels == "sampled":
            numbers = stream(learned.tasks[k].seed, "labels of the Fisher information")
            uniforms = torch.as_tensor(numbers.random((passed.n, self.draws)))
            given = draw_labels(passed.outputs, uniforms.to(passed.outputs.device))
        return fisher_spectrum(passed, given, self.layers)


@dataclass(frozen=True)
class GaussNewtonSpectrum(CurvatureMeasure):
    """The spectrum of the Gauss-Newton matrix of the training loss.

    Prefix ``gauss_newton``. For cross-entropy it is that of the Fisher information with exact
    labels, for the squared error twice that of the Jacobian.

    Parameters
    ----------
    probe, modes, tail, layer
        See `CurvatureMeasure`.
    """

    @property
    def matrix(self) -> str:
        """What the matrix is called in names."""
        return "gauss_newton"

    def rows_of_sample(self, shape: StudentShape) -> int:
        """Give the number of outputs; cross-entropy needs one fewer."""
        return shape.outputs

    def spectrum(self, passed: ForwardPass, learned: Learned, k: int) -> Spectrum:
        """Measure student k of these."""
        return gauss_newton_spectrum(passed, learned.objective, self.layers)


@dataclass(frozen=True)
class GradientNoise(CurvatureMeasure):
    """The spectrum of the covariance of the gradients of samples: the diffusion matrix of SGD.

    Prefix ``gradient_noise``, with the labels trained on. Besides, ``gradient_norm`` of the mean
    gradient, and ``gradient_noise_scale``, the trace for single samples over the square of that
    norm (McCandlish, Kaplan, Amodei et al. 2018).

    Parameters
    ----------
    batch_size : int, optional
        Of batches drawn without replacement: the covariance of their gradients, which is
        (n - B) / (B (n - 1)) times that of single samples.
    probe, modes, tail, layer
        See `CurvatureMeasure`.
    """

    batch_size: int | None = None

    def __post_init__(self) -> None:
        CurvatureMeasure.__post_init__(self)
        if self.batch_size is not None:
            sentence = f"batch_size must be a whole number >= 1; got {self.batch_size!r}."
            object.__setattr__(self, "batch_size", whole_number(self.batch_size, 1, sentence))

    @property
    def matrix(self) -> str:
        """What the matrix is called in names."""
        return "gradient_noise"

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Numbers that need a tail, or gradients."""
        return (*(f"{self.prefix}_{name}" for name in LACKING), self._scale)

    @property
    def _norm(self) -> str:
        return f"{self.prefix.replace('gradient_noise', 'gradient')}_norm"

    @property
    def _scale(self) -> str:
        return f"{self.prefix}_scale"

    def declare(self, shape: StudentShape) -> Names:
        """Name eigenvalues and numbers; see `Measure.declare`."""
        if self.batch_size is not None:
            minibatch_factor(self.samples(shape), self.batch_size)  # refuses
        return {**CurvatureMeasure.declare(self, shape), self._norm: {}, self._scale: {}}

    def rows_of_sample(self, shape: StudentShape) -> int:
        """Give one: the gradient."""
        return 1

    def spectrum(self, passed: ForwardPass, learned: Learned, k: int) -> Spectrum:
        """Measure student k of these."""
        y, objective = self.trained_on(learned, k), learned.objective
        return gradient_noise_spectrum(passed, y, objective, self.batch_size, self.layers)

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        found = dict(CurvatureMeasure.__call__(self, learned))
        norms = np.array(
            [
                mean_gradient_norm(
                    passed, self.trained_on(learned, k), learned.objective, self.layers
                )
                for k, passed in enumerate(self.passes(learned))
            ]
        )
        n = self.samples(learned.shape)
        factor = 1.0 if self.batch_size is None else minibatch_factor(n, self.batch_size)
        single = found[f"{self.prefix}_trace"] / factor if factor else np.full(len(norms), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(norms > 0.0, single / norms**2, np.nan)
        return found | {self._norm: norms, self._scale: scale}
