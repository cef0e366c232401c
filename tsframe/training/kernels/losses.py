"""The gradient of the loss with respect to the logits in one pass over them, in place.

Checked in Triton's interpreter and in what the compiler writes for an H200; no figure from a GPU
yet.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsframe.training.losses import Objective

__all__ = ["gradient_", "loss_gradient"]

TILE = 2048  # numbers of a tile, of at least 4 samples


@triton.jit
def loss_gradient(logits, targets, row, outputs, scale, LOSS: tl.constexpr, CODED: tl.constexpr):
    """Give the gradient of the loss of a tile of logits, shape (rows, columns).

    `row` counts its rows, shape (rows, 1), of which the first `outputs` are real; the others become
    zero or, without softmax, keep what they are. `targets` have shape (1, columns).
    """
    values = logits
    if LOSS == "cross_entropy":
        values = tl.where(row < outputs, logits, float("-inf"))
        values = tl.exp(values - tl.max(values, 0, keep_dims=True))
        values = values / tl.sum(values, 0, keep_dims=True)
    if CODED:
        values -= tl.where(row == targets, 1.0, 0.0)
    else:
        values -= targets
    return values * scale


@triton.jit(do_not_specialize=["blocks"])
def descend_logits(
    logits,
    targets,
    outputs,
    samples,
    blocks,
    scale,
    logit_slot,
    logit_row,
    logit_column,
    target_slot,
    target_column,
    LOSS: tl.constexpr,
    CODED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Turn one block of the samples of one slot into the gradient."""
    slot = (tl.program_id(0) // blocks).to(tl.int64)
    column = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    row = tl.arange(0, ROWS)[:, None]
    here = (row < outputs) & (column < samples)
    logits_at = logits + slot * logit_slot + row * logit_row + column * logit_column
    targets_at = targets + slot * target_slot + column * target_column
    values = tl.load(logits_at, mask=here, other=0.0)
    wanted = tl.load(targets_at, mask=column < samples, other=0)
    values = loss_gradient(values, wanted, row, outputs, scale, LOSS, CODED)
    tl.store(logits_at, values, mask=here)


def gradient_(objective: Objective, logits: Tensor, targets: Tensor) -> Tensor:
    """Turn logits, in place, into the gradient of the mean loss, as `Objective.gradient_` does.

    Parameters
    ----------
    objective : Objective
        What is minimized.
    logits : Tensor, shape (slots, outputs, samples)
        float32, of any strides.
    targets : Tensor, shape (slots, samples)
        Classes (int64) or values (float32).

    Returns
    -------
    Tensor
        `logits`.

    Raises
    ------
    ValueError
        For shapes that do not fit and other types than float32.
    """
    slots, outputs, samples = logits.shape
    if logits.dtype != torch.float32 or targets.shape != (slots, samples):
        raise ValueError(
            "logits must be float32 of shape (slots, outputs, samples), targets of shape (slots, "
            f"samples); got {logits.dtype}, {tuple(logits.shape)} and {tuple(targets.shape)}."
        )
    if not logits.numel():
        return logits
    rows = 1 << (outputs - 1).bit_length()
    columns = min(max(4, TILE // rows), 1 << (samples - 1).bit_length())
    blocks = -(-samples // columns)
    with torch.cuda.device_of(logits):
        descend_logits[(slots * blocks,)](
            logits,
            targets,
            outputs,
            samples,
            blocks,
            (1.0 if objective.loss == "cross_entropy" else 2.0) / samples,
            *logits.stride(),
            *targets.stride(),
            LOSS=objective.loss,
            CODED=objective.classes is not None,
            ROWS=rows,
            COLUMNS=columns,
        )
    return logits
