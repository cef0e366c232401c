"""The Gram matrix of derivatives by all weights, layer by layer, and what follows from it.

A row (i, a) of the Jacobian J holds the derivatives of combination a of the outputs of sample i by
all weights. In layer l it is delta_ia^l (h_i^{l-1})^T, so that

    (J J^T)[(i, a), (j, b)] = sum_l (h_i^{l-1} . h_j^{l-1}) (delta_ia^l . delta_jb^l)

where h ends with the one that feeds the bias. J itself, n * rows times as long as all weights, is
never held. Weights are those of the standard parametrization: no multipliers, unlike in the
"NTK parametrization"; spectra depend on this choice. Rows are ordered by sample first; weights lie
as in the tensors (fan_out, fan_in + 1) of the layers, one layer after another.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tsframe.measures.sensitivities import ForwardPass

__all__ = [
    "gram",
    "gram_trace",
    "parameter_eigenvectors",
    "parameter_gram",
    "pull_back",
    "row_sum",
]

BLOCK = 1 << 20  # numbers of a Gram matrix formed at a time: they stay in cache


def gram(
    passed: ForwardPass, deltas: Sequence[Tensor], layers: Sequence[int] | None = None
) -> Tensor:
    """Give J J^T of some layers; see the head of this module.

    Parameters
    ----------
    passed : ForwardPass
        Of n samples.
    deltas : sequence of Tensor, shapes (n, rows, fan_out)
        Its `sensitivities`.
    layers : sequence of int, optional
        Layers whose weights count, from 0; all by default. One layer gives its block.

    Returns
    -------
    Tensor, shape (n * rows, n * rows)
        Not divided by n. Symmetric to the bit.
    """
    n, rows, _ = deltas[0].shape
    chosen = _chosen(passed, layers)
    result = deltas[0].new_empty(n * rows, n * rows)
    flat = [deltas[layer].reshape(n * rows, -1) for layer in chosen]
    step = max(1, BLOCK // max(1, n * rows * rows))
    for low in range(0, n, step):
        high = min(low + step, n)
        here, before = slice(low * rows, high * rows), slice(0, high * rows)
        for place, (delta, layer) in enumerate(zip(flat, chosen, strict=True)):
            h = passed.inputs[layer]
            term = delta[here] @ delta[before].mT
            samples = h[low:high] @ h[:high].mT
            wide = samples[:, :, None].expand(-1, -1, rows).reshape(high - low, 1, high * rows)
            term.view(high - low, rows, high * rows).mul_(wide)
            if place:
                result[here, before] += term
            else:
                result[here, before] = term
        result[: low * rows, here] = result[here, : low * rows].mT
        own = result[here, here]
        own.copy_((own + own.mT) / 2)
    return result


def gram_trace(
    passed: ForwardPass, deltas: Sequence[Tensor], layers: Sequence[int] | None = None
) -> float:
    """Give the trace of J J^T from lengths alone: sum of |h_i|^2 |delta_ia|^2.

    Parameters
    ----------
    passed, deltas, layers
        As for `gram`.

    Returns
    -------
    float
    """
    return sum(
        float(passed.inputs[k].square().sum(1) @ deltas[k].square().sum((1, 2)))
        for k in _chosen(passed, layers)
    )


def parameter_gram(
    passed: ForwardPass, deltas: Sequence[Tensor], layers: Sequence[int] | None = None
) -> Tensor:
    """Give J^T J of some layers, the smaller side where there are fewer weights than rows.

    Parameters
    ----------
    passed, deltas, layers
        As for `gram`.

    Returns
    -------
    Tensor, shape (weights, weights)
        Not divided by n. A few rows of J are held at a time.
    """
    chosen = _chosen(passed, layers)
    size = sum(passed.parameters[k] for k in chosen)
    result = deltas[0].new_zeros(size, size)
    for block in _jacobian_blocks(passed, deltas, chosen):
        result.addmm_(block.mT, block)
    return result


def row_sum(
    passed: ForwardPass, deltas: Sequence[Tensor], layers: Sequence[int] | None = None
) -> list[Tensor]:
    """Give the sum of all rows of J, e.g. n times the gradient of a mean loss.

    Parameters
    ----------
    passed, deltas, layers
        As for `gram`.

    Returns
    -------
    list of Tensor, shapes (fan_out, fan_in + 1)
        One for each of the layers.
    """
    return [deltas[k].sum(1).mT @ passed.inputs[k] for k in _chosen(passed, layers)]


def pull_back(
    passed: ForwardPass,
    deltas: Sequence[Tensor],
    coefficients: Tensor,
    layers: Sequence[int] | None = None,
) -> list[Tensor]:
    """Give J^T v for some vectors v, without J.

    Parameters
    ----------
    passed, deltas, layers
        As for `gram`.
    coefficients : Tensor, shape (n * rows, k)
        The vectors v, a column each.

    Returns
    -------
    list of Tensor, shapes (k, fan_out, fan_in + 1)
        One for each of the layers.
    """
    n, rows, _ = deltas[0].shape
    split = coefficients.view(n, rows, -1)
    pulled = []
    for layer in _chosen(passed, layers):
        fan_out = deltas[layer].shape[2]
        mixed = torch.bmm(split.mT, deltas[layer])  # (n, k, fan_out)
        flat = mixed.view(n, -1).mT @ passed.inputs[layer]
        pulled.append(flat.view(split.shape[2], fan_out, -1))
    return pulled


def parameter_eigenvectors(
    passed: ForwardPass,
    deltas: Sequence[Tensor],
    values: np.ndarray,
    vectors: np.ndarray,
    layers: Sequence[int] | None = None,
) -> list[Tensor]:
    """Give the eigenvectors of J^T J from those of J J^T: u = J^T v / sqrt(value).

    Parameters
    ----------
    passed, deltas, layers
        As for `gram`.
    values : ndarray, shape (k,)
        Eigenvalues of `gram`, not divided by n.
    vectors : ndarray, shape (n * rows, k)
        Their vectors, a column each.

    Returns
    -------
    list of Tensor, shapes (k, fan_out, fan_in + 1)
        One for each of the layers; together they have unit length, and are orthogonal.

    Raises
    ------
    ValueError
        If a value lies below the numerical floor of the matrix, side * eps * largest: its vector
        would be noise.
    """
    floor = len(vectors) * np.finfo(np.float64).eps * values.max(initial=0.0)
    low = np.flatnonzero(~(values > floor))
    if len(low):
        raise ValueError(
            f"only eigenvalues above the numerical floor {floor:.1e} have directions among the "
            f"weights; got {values[low[0]]:.1e} at place {low[0]}. Ask for the first {low[0]}."
        )
    scaled = torch.as_tensor(vectors / np.sqrt(values), device=deltas[0].device)
    return pull_back(passed, deltas, scaled, layers)


def _chosen(passed: ForwardPass, layers: Sequence[int] | None) -> list[int]:
    found = range(len(passed.weights))
    chosen = list(found if layers is None else layers)
    if not chosen or not set(chosen) <= set(found) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"layers must be some of 0..{len(found) - 1}, each once; got {list(chosen)}."
        )
    return chosen


def _jacobian_blocks(
    passed: ForwardPass, deltas: Sequence[Tensor], chosen: Sequence[int]
) -> Iterator[Tensor]:
    n, rows, _ = deltas[0].shape
    size = sum(passed.parameters[k] for k in chosen)
    step = max(1, 4 * BLOCK // (rows * size))
    for low in range(0, n, step):
        some = slice(low, low + step)
        yield torch.cat(
            [
                (deltas[k][some, :, :, None] * passed.inputs[k][some, None, None]).flatten(2)
                for k in chosen
            ],
            dim=2,
        ).flatten(0, 1)
