"""Start rows: which combinations of the outputs of a sample are passed back through a network.

With J the derivatives of these rows by the weights, J^T J / n is

====================  ==========================================================================
`every_output`        of the outputs themselves: the empirical neural tangent kernel is J J^T
`one_output`          the same for one of them
`fisher_factor`       the Fisher information of a softmax with exact labels, which is the
                      Gauss-Newton matrix of its cross-entropy
`label_gradients`     the Fisher information with labels drawn from the student, or the empirical
                      Fisher with those of the data
`loss_gradients`      the second moment of the gradients of the loss, sample by sample
====================  ==========================================================================
"""

import torch
from torch import Tensor

from tsframe.training.losses import Objective

__all__ = [
    "draw_labels",
    "every_output",
    "fisher_factor",
    "label_gradients",
    "loss_gradients",
    "one_output",
]


def every_output(outputs: Tensor) -> Tensor:
    """Give one row for each output.

    Parameters
    ----------
    outputs : Tensor, shape (n, K)
        Of a student; only the shape matters.

    Returns
    -------
    Tensor, shape (n, K, K)
    """
    n, k = outputs.shape
    return torch.eye(k, dtype=outputs.dtype, device=outputs.device).expand(n, k, k)


def one_output(outputs: Tensor, index: int) -> Tensor:
    """Give the row of one output.

    Parameters
    ----------
    outputs : Tensor, shape (n, K)
        Of a student; only the shape matters.
    index : int
        Which, in [0, K).

    Returns
    -------
    Tensor, shape (n, 1, K)

    Raises
    ------
    ValueError
        If there is no such output.
    """
    if not 0 <= index < outputs.shape[1]:
        raise ValueError(f"index must lie in [0, {outputs.shape[1]}); got {index}.")
    return every_output(outputs)[:, index : index + 1]


def fisher_factor(logits: Tensor) -> Tensor:
    """Factor the covariance of the label that a softmax predicts: T T^T = diag(p) - p p^T.

    T has K - 1 columns, one fewer than the usual diag(sqrt p) - p sqrt(p)^T, and no entry is a
    difference: with r_j = sum_{i > j} p_i, summed from the end, column j holds
    sqrt(p_j r_j / r_{j-1}) at place j and -p_i sqrt(p_j / (r_j r_{j-1})) below. With r_j = 1 minus
    the first probabilities every digit would be lost for confident students.

    Parameters
    ----------
    logits : Tensor, shape (n, K)
        Float64.

    Returns
    -------
    Tensor, shape (n, K - 1, K)
        The columns of T as start rows. A column is zero where nothing is left below.
    """
    p = torch.softmax(logits, dim=1)
    rest = p.flip(1).cumsum(1).flip(1)  # p_j and all behind it: r_{j-1}
    behind, share = rest[:, 1:], (p / rest)[:, :-1]
    behind_root = behind.sqrt()
    below = torch.where(behind[:, :, None] > 0.0, p[:, None, 1:] / behind_root[:, :, None], 0.0)
    share_root = torch.where(rest[:, :-1] > 0.0, share, 0.0).sqrt()
    k = p.shape[1]
    factor = p.new_zeros(len(p), k - 1, k)
    factor[:, :, 1:] = -(share_root[:, :, None] * below).triu()
    factor.diagonal(dim1=1, dim2=2).copy_(share_root * behind_root)
    return factor


def label_gradients(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the gradients of the cross-entropy with some labels by the logits, p - e_y.

    Parameters
    ----------
    logits : Tensor, shape (n, K)
        Float64.
    labels : Tensor of int64, shape (n, m)
        So many labels of each sample.

    Returns
    -------
    Tensor, shape (n, m, K)
        The entry of the label, p_y - 1, is minus the sum of the others, so that a student that is
        sure of its label keeps the digits of its doubt.
    """
    p = torch.softmax(logits, dim=1)[:, None].expand(-1, labels.shape[1], -1)
    rows = p.scatter(2, labels[:, :, None], 0.0)
    return rows.scatter(2, labels[:, :, None], -rows.sum(2, keepdim=True))


def draw_labels(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw labels from the softmax of a student.

    Parameters
    ----------
    logits : Tensor, shape (n, K)
        Float64.
    uniforms : Tensor, shape (n, m)
        Random numbers in [0, 1): so many labels are drawn for each sample.

    Returns
    -------
    Tensor of int64, shape (n, m)
    """
    cumulative = torch.softmax(logits, dim=1).cumsum(1)
    # The last border is left out: rounding may have put it below a number close to one.
    return torch.searchsorted(cumulative[:, :-1].contiguous(), uniforms, right=True)


def loss_gradients(outputs: Tensor, targets: Tensor, objective: Objective) -> Tensor:
    """Give the gradient of the loss of every sample by its outputs.

    Parameters
    ----------
    outputs : Tensor, shape (n, K)
        Float64.
    targets : Tensor, shape (n,)
        Classes, or numbers for regression.
    objective : Objective
        Its squared error is summed over outputs, without factor 1/2.

    Returns
    -------
    Tensor, shape (n, 1, K)
    """
    if objective.loss == "cross_entropy":
        return label_gradients(outputs, targets[:, None])
    if objective.classes is None:
        return 2.0 * (outputs - targets[:, None])[:, None]
    wanted = torch.nn.functional.one_hot(targets, outputs.shape[1]).to(outputs)
    return 2.0 * (outputs - wanted)[:, None]
