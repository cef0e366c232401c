"""Spectra of the logit Jacobian, the Fisher information and the Gauss-Newton matrix.

Each is scale * J^T J, with J the derivatives of some `start_rows` by the weights; its nonzero
eigenvalues are those of the Gram matrix of the rows, or, where there are fewer weights than rows,
of the matrix of the weights.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.eigen import eigenvalues
from tsframe.measures.gram import gram, gram_trace, parameter_gram, row_sum
from tsframe.measures.sensitivities import ForwardPass, sensitivities
from tsframe.measures.spectrum import gram_floor, Spectrum
from tsframe.measures.start_rows import (
    every_output,
    fisher_factor,
    label_gradients,
    loss_gradients,
    one_output,
)
from tsframe.training.losses import Objective

__all__ = [
    "fisher_spectrum",
    "gauss_newton_spectrum",
    "gradient_noise_spectrum",
    "jacobian_spectrum",
    "mean_gradient_norm",
    "minibatch_factor",
    "product_spectrum",
    "rank_bound",
]

TRACE_TOLERANCE = 1e-9  # relative, of the sum of eigenvalues to the trace from lengths


def jacobian_spectrum(
    passed: ForwardPass, output: int | None = None, layers: Sequence[int] | None = None
) -> Spectrum:
    """Measure the spectrum of the mean of J_i^T J_i, J_i the Jacobian of the outputs by weights.

    Its nonzero eigenvalues are those of the empirical neural tangent kernel of the samples over n
    (Jacot, Gabriel & Hongler 2018). For the loss 1/2 sum over outputs of squares, mean over
    samples, this is the Gauss-Newton matrix.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    output : int, optional
        The one output, e.g. class, that is differentiated; all by default.
    layers : sequence of int, optional
        Layers whose weights count, from 0; all by default.

    Returns
    -------
    Spectrum
    """
    if output is None:
        return product_spectrum(passed, every_output(passed.outputs), 1.0 / passed.n, layers)
    return product_spectrum(
        passed, one_output(passed.outputs, output), 1.0 / passed.n, layers, span=1
    )


def fisher_spectrum(
    passed: ForwardPass, labels: Tensor | None = None, layers: Sequence[int] | None = None
) -> Spectrum:
    """Measure the spectrum of the Fisher information of a softmax, mean over samples.

    F = mean of J_i^T (diag(p_i) - p_i p_i^T) J_i, with J_i the Jacobian of the logits by the
    weights: the expectation of g g^T, g the gradient of log p(y), over labels y that the student
    itself predicts, without sampling. Given labels replace the expectation: drawn from the student,
    F is estimated; those of the data give the empirical Fisher, which is another matrix
    (Kunstner, Balles & Hennig 2019).

    Parameters
    ----------
    passed : ForwardPass
        Of n samples; its outputs are logits.
    labels : Tensor of int64, shape (n, m), optional
        m labels of each sample, see `draw_labels`; by default the expectation is exact.
    layers : sequence of int, optional
        Layers whose weights count, from 0; all by default. One layer gives its diagonal block.

    Returns
    -------
    Spectrum
        Its `labels` is "exact" or "given".

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """
    if passed.outputs.shape[1] < 2:
        raise ValueError(
            f"the Fisher information of a softmax needs at least 2 logits; got "
            f"{passed.outputs.shape[1]}. For regression take jacobian_spectrum."
        )
    if labels is None:
        start, scale, kind = fisher_factor(passed.outputs), 1.0 / passed.n, "exact"
    else:
        start = label_gradients(passed.outputs, labels)
        scale, kind = 1.0 / (passed.n * labels.shape[1]), "given"
    span = passed.outputs.shape[1] - 1
    return product_spectrum(passed, start, scale, layers, labels=kind, span=span)


def gauss_newton_spectrum(
    passed: ForwardPass, objective: Objective, layers: Sequence[int] | None = None
) -> Spectrum:
    """Measure the spectrum of the Gauss-Newton matrix of the mean loss, J^T (Hessian by outputs) J.

    For softmax cross-entropy it is the Fisher information with exact labels. For the squared error
    of this package, summed over outputs without factor 1/2, it is twice the mean of J_i^T J_i.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    objective : Objective
        Its loss.
    layers : sequence of int, optional
        Layers whose weights count, from 0; all by default.

    Returns
    -------
    Spectrum
    """
    if objective.loss == "cross_entropy":
        return fisher_spectrum(passed, layers=layers)
    return product_spectrum(passed, every_output(passed.outputs), 2.0 / passed.n, layers)


def gradient_noise_spectrum(
    passed: ForwardPass,
    targets: Tensor,
    objective: Objective,
    batch_size: int | None = None,
    layers: Sequence[int] | None = None,
) -> Spectrum:
    """Measure the spectrum of the covariance of gradients over samples: the diffusion matrix.

    C = mean of (g_i - g)(g_i - g)^T, g_i the gradient of the loss of sample i and g their mean
    (Chaudhari & Soatto 2018). At most n - 1 of its eigenvalues differ from zero. With a batch size
    it is multiplied by `minibatch_factor` and becomes the covariance of the gradient of a batch.

    Parameters
    ----------
    passed : ForwardPass
        Of the n training samples.
    targets : Tensor, shape (n,)
        Labels trained on, classes or numbers.
    objective : Objective
        Its loss.
    batch_size : int, optional
        Of batches drawn without replacement.
    layers : sequence of int, optional
        Layers whose weights count, from 0; all by default.

    Returns
    -------
    Spectrum
        Centered; its scale holds the factor.
    """
    start = loss_gradients(passed.outputs, targets, objective)
    factor = 1.0 if batch_size is None else minibatch_factor(passed.n, batch_size)
    span = passed.outputs.shape[1] - (objective.loss == "cross_entropy")
    return product_spectrum(passed, start, factor / passed.n, layers, centered=True, span=span)


def mean_gradient_norm(
    passed: ForwardPass,
    targets: Tensor,
    objective: Objective,
    layers: Sequence[int] | None = None,
) -> float:
    """Give the norm of the gradient of the mean loss by the weights.

    Parameters
    ----------
    passed, targets, objective, layers
        As for `gradient_noise_spectrum`.

    Returns
    -------
    float
    """
    deltas = sensitivities(passed, loss_gradients(passed.outputs, targets, objective))
    parts = row_sum(passed, deltas, layers)
    return float(torch.cat([part.flatten() for part in parts]).norm()) / passed.n


def minibatch_factor(n: int, batch_size: int) -> float:
    """Give what the covariance of samples is multiplied by to be that of the mean of a batch.

    (n - B) / (B (n - 1)) for batches of B drawn from n without replacement: 1 for single samples,
    0 for the full batch. With replacement it would be 1 / B. Source: Cochran 1977, theorem 2.2.

    Parameters
    ----------
    n, batch_size : int
        1 <= batch_size <= n.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the batch is not within the sample.

    Examples
    --------
    >>> minibatch_factor(5, 2)
    0.375
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must lie in [1, n={n}]; got batch_size={batch_size}.")
    return (n - batch_size) / (batch_size * (n - 1)) if n > 1 else 0.0


def rank_bound(
    passed: ForwardPass,
    rows: int,
    layers: Sequence[int] | None = None,
    centered: bool = False,
    span: int | None = None,
) -> int:
    """Give the most eigenvalues of J^T J that can differ from zero.

    The smaller of the number of rows and the number of weights, less the weights of the readout
    that change no start row: a softmax does not see what is added to all its logits alike.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    rows : int
        Start rows of each sample.
    layers : sequence of int, optional
        Layers whose weights count; all by default.
    centered : bool
        Whether the mean of all rows is taken off.
    span : int, optional
        Dimensions of the outputs that the start rows span: K - 1 for a softmax, 1 for one output;
        by default all.

    Returns
    -------
    int
    """
    last = len(passed.weights) - 1
    chosen = range(last + 1) if layers is None else layers
    weights = sum(passed.parameters[k] for k in chosen)
    if span is not None and last in chosen:
        weights -= (passed.outputs.shape[1] - span) * passed.inputs[last].shape[1]
    return max(0, min(passed.n * rows - centered, weights))


def product_spectrum(
    passed: ForwardPass,
    start: Tensor,
    scale: float,
    layers: Sequence[int] | None = None,
    centered: bool = False,
    labels: str | None = None,
    span: int | None = None,
) -> Spectrum:
    """Measure the spectrum of scale * J^T J for any start rows, by its smaller side.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    start : Tensor, shape (n, rows, outputs)
        Start rows, see `tsframe.measures.start_rows`.
    scale : float
        E.g. 1 / n.
    layers : sequence of int, optional
        Layers whose weights count; all by default.
    centered : bool
        Whether the mean of all rows is taken off.
    labels : str, optional
        Kept in the result.
    span : int, optional
        See `rank_bound`.

    Returns
    -------
    Spectrum

    Raises
    ------
    numpy.linalg.LinAlgError
        If the eigenvalues do not sum to the trace that the lengths of the rows give.
    """
    deltas = sensitivities(passed, start)
    rows, n = start.shape[1], passed.n
    count = n * rows
    weights = sum(passed.parameters[k] for k in layers or range(len(passed.weights)))
    by_rows = count <= weights
    trace = lengths = gram_trace(passed, deltas, layers)
    matrix = (gram if by_rows else parameter_gram)(passed, deltas, layers)
    raw = float(matrix.norm())  # taking off the mean leaves the rounding of what was there before
    if centered:
        total = torch.cat([part.flatten() for part in row_sum(passed, deltas, layers)])
        trace = max(trace - float(total.square().sum()) / count, 0.0)
        if by_rows:
            matrix -= matrix.mean(0)
            matrix -= matrix.mean(1, keepdim=True)
        else:
            matrix -= torch.outer(total, total) / count
    frobenius = float(matrix.norm()) if centered else raw
    found = eigenvalues(matrix, overwrite=True)
    off = abs(float(found.values.sum()) - trace) / lengths if lengths else 0.0
    if off > TRACE_TOLERANCE:
        raise np.linalg.LinAlgError(
            f"eigenvalues of this matrix of side {len(matrix)} sum to {found.values.sum():.12g}, "
            f"but the lengths of its rows say {trace:.12g}. A product has lost its digits: look at "
            "the size of the weights and inputs."
        )
    norm = raw if centered else float(found.values[0])
    return Spectrum(
        values=found.values * scale,
        floor=gram_floor(len(matrix), norm) * scale,
        rank_bound=rank_bound(passed, rows, layers, centered, span),
        trace=trace * scale,
        frobenius=frobenius * scale,
        residual=max(off, found.residual),
        decomposed="rows" if by_rows else "weights",
        n=n,
        rows=rows,
        scale=scale,
        labels=labels,
        centered=centered,
    )
