"""The trace theorems as a measure: what the data bound in the Fisher information, checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tsframe.checks import whole
from tsframe.measures.asking import counted, Measure, Names
from tsframe.measures.gram import gram_trace
from tsframe.measures.information import FisherSpectrum
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.sensitivities import forward, sensitivities, students
from tsframe.measures.start_rows import fisher_factor
from tsframe.measures.trace_bounds import check_blocks, check_trace, gauss_newton_trace_bound

__all__ = ["TraceTheorems"]


@dataclass(frozen=True)
class TraceTheorems(Measure):
    """Hold the Fisher information against the spectrum of the data, by the trace theorems.

    A violation is an error that names layer and index: the student then failed. Gives
    ``trace_tightness``, the share of its bound by the trace of the data that the trace of the
    Fisher information takes; and along ``layer`` ``block_constant``, which times an eigenvalue of
    the activations that enter the layer bounds the same one of its block, and
    ``block_tightness``, the largest share of its bound that an eigenvalue takes. See
    `tsframe.measures.trace_bounds`.

    Parameters
    ----------
    probe : int, optional
        How many of the training inputs are used, the first ones; all by default.
    """

    probe: int | None = None

    def __post_init__(self) -> None:
        if self.probe is not None:
            object.__setattr__(self, "probe", whole("probe", self.probe, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name shares and constants; see `Measure.declare`."""
        for block in self._blocks(shape):
            block.declare(shape)  # refuses what has no classes, or too few samples
        layers = {"layer": counted(shape.depth + 1)}
        return {"trace_tightness": {}, "block_constant": layers, "block_tightness": layers}

    def flops(self, shape: StudentShape) -> float:
        """Count the eigenvalues of every block."""
        return sum(block.flops(shape) for block in self._blocks(shape))

    def bytes(self, shape: StudentShape) -> float:
        """Count the largest block."""
        return max(block.bytes(shape) for block in self._blocks(shape))

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        shares, constants, tightness = [], [], []
        for k, own in enumerate(students(learned.weights)):
            x = torch.as_tensor(learned.samples[k].x_train[: self.probe], dtype=torch.float64)
            passed = forward(own, learned.activation, x.to(own[0].device))
            start = fisher_factor(passed.outputs)
            trace = gram_trace(passed, sensitivities(passed, start)) / passed.n
            bound = gauss_newton_trace_bound(passed, start, learned.activation)
            shares.append(check_trace(trace, bound, "the Fisher information"))
            blocks = check_blocks(passed, start)
            constants.append([block.constant for block in blocks])
            tightness.append([block.tightness for block in blocks])
        return {
            "trace_tightness": np.array(shares),
            "block_constant": np.array(constants),
            "block_tightness": np.array(tightness),
        }

    def _blocks(self, shape: StudentShape) -> list[FisherSpectrum]:
        return [FisherSpectrum(probe=self.probe, layer=k) for k in range(shape.depth + 1)]
