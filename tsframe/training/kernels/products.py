"""Batched float32 products of which every number is summed in one order, with what follows fused.

Written for strict mode on a GPU, in the place of cuBLAS, which picks a kernel by the shape of the
whole batch. One program computes one tile of one slot: no split contraction, no atomics. Every
element is a sum over the contraction in ascending order, in steps of a fixed depth, from its own
row of `left` and its own column of `right`. The size of a tile hangs on a student's own shape, so
that nothing hangs on the number of slots or on what others hold.

One thing is assumed: that an element has the same bits wherever in a tile it stands. For "ieee" the
compiler writes one chain of fused multiply-adds an element; for "tf32x3" the tensor cores are
trusted to treat the elements of a tile alike. It matters only where students lie below each other
in one matrix (`wide`). `trust.refusal` tests it on the device at hand.

Every function raises ValueError for shapes that do not fit, other types than float32 and unknown
precisions. Checked in Triton's interpreter and in what the compiler writes for an H200; no figure
from a GPU yet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsframe.training.kernels.tiles import multiply

__all__ = ["activated_bmm", "bmm", "followed_bmm", "pulled_bmm", "warps_of"]

# Bare TF32 is not to be had. Steps along the contraction, and numbers of a tile for each warp, are
# such that what the compiler writes for an H200 keeps its sums in registers.
DEPTHS = {"ieee": 16, "tf32x3": 32}
SHARES = {"ieee": 1024, "tf32x3": 256}
BEGINNINGS = ("LEFT_BY", "RIGHT_BY", "OUT_BY", "SIDE_BY")
TALLEST, WIDEST = 64, 64  # rows and columns of the largest tile


def bmm(
    left: Tensor,
    right: Tensor,
    out: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    precision: str = "ieee",
    wide: bool = False,
) -> Tensor:
    """Write alpha left @ right + beta out into `out`, as torch.bmm and torch.baddbmm do.

    Parameters
    ----------
    left, right : Tensor, shapes (slots, rows, contraction) and (slots, contraction, columns)
        float32, of any strides, zero included; nothing is copied.
    out : Tensor, shape (slots, rows, columns)
        float32, of any strides. It is not read where beta is zero.
    alpha, beta : float
        Factors.
    precision : str
        ``"ieee"``, or ``"tf32x3"``: three products on tensor cores that leave out terms of relative
        size 2^-22 only.
    wide : bool
        Whether the rows of a slot belong to several students: tiles then have the same height for
        any number of rows.

    Returns
    -------
    Tensor
        `out`.
    """
    return _launch("multiply", left, right, out, out, precision, wide, alpha=alpha, beta=beta)


def activated_bmm(
    left: Tensor,
    right: Tensor,
    out: Tensor,
    value: Tensor,
    activation: str,
    *,
    precision: str = "ieee",
    wide: bool = False,
) -> Tensor:
    """Write left @ right into `out` and the activation of that into `value`, in one pass.

    Parameters
    ----------
    left, right, out, precision, wide
        As for `bmm`.
    value : Tensor, shape (slots, rows, columns) or (slots, places, rows / places, columns)
        float32, of any strides: the upper rows of a buffer whose last row is one.
    activation : str
        A name in `tsframe.students.activations.ACTIVATIONS`.

    Returns
    -------
    Tensor
        `out`.
    """
    return _launch("activate", left, right, out, value, precision, wide, activation)


def pulled_bmm(
    left: Tensor,
    right: Tensor,
    value: Tensor,
    z: Tensor,
    activation: str,
    *,
    precision: str = "ieee",
) -> Tensor:
    """Turn pre-activations z, in place, into (left @ right) * phi'(z), in one pass.

    Parameters
    ----------
    left, right, precision
        As for `bmm`. `left` must not hold the rows of constant units.
    value, z : Tensor, shape (slots, rows, columns) or (groups, places, rows, columns)
        float32, of any strides; `value` is phi(z), slots are groups times places.
    activation : str
        A name in `tsframe.students.activations.ACTIVATIONS`.

    Returns
    -------
    Tensor
        `z`.
    """
    return _launch("pull", left, right, z, value, precision, False, activation)


def followed_bmm(
    left: Tensor,
    right: Tensor,
    velocity: Tensor,
    weights: Tensor,
    rates: Tensor,
    *,
    momenta: Tensor | None = None,
    decays: Tensor | None = None,
    nesterov: bool = False,
    precision: str = "ieee",
    wide: bool = False,
) -> Tensor:
    """Take a step of SGD along the gradient left @ right, which is never stored.

    g = left @ right + decays weights; v <- momenta v + g; w <- w - rates v, or w - rates (g +
    momenta v) for Nesterov.

    Parameters
    ----------
    left, right, precision, wide
        As for `bmm`.
    velocity, weights : Tensor, shape (slots, rows, columns)
        float32. Without momenta the velocity is neither read nor written.
    rates, momenta, decays : Tensor
        float32, of shapes that broadcast to that of the weights.
    nesterov : bool
        Nesterov's momentum.

    Returns
    -------
    Tensor
        `weights`.
    """
    numbers = [None if t is None else t.expand(weights.shape) for t in (rates, momenta, decays)]
    _launch(
        "follow",
        left,
        right,
        velocity,
        weights,
        precision,
        wide,
        numbers=numbers,
        nesterov=nesterov,
    )
    return weights


def warps_of(rows: int, columns: int, precision: str) -> int:
    """Warps of a program that computes a tile of so many rows and columns."""
    return max(1, min(4, rows * columns // SHARES[precision]))


def _launch(
    task: str,
    left: Tensor,
    right: Tensor,
    out: Tensor,
    side: Tensor,
    precision: str,
    wide: bool,
    activation: str = "",
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    numbers: Sequence[Tensor | None] = (None, None, None),
    nesterov: bool = False,
) -> Tensor:
    _check(left, right, out, side, [t for t in numbers if t is not None], precision)
    (slots, rows, contraction), columns = left.shape, right.shape[2]
    # `out` and `side` as (groups, places, units, columns).
    places, units = 1, rows
    if task == "activate" and side.ndim == 4:
        units = side.shape[2]
        out4, side4 = out.unflatten(1, (-1, units)), side
    else:
        places = max((t.shape[1] for t in (out, side) if t.ndim == 4), default=1)
        out4, side4 = (t if t.ndim == 4 else t.unflatten(0, (-1, places)) for t in (out, side))
    if out4.shape != side4.shape:
        raise ValueError(
            f"these two must have equal shapes; got {tuple(out.shape)} and {tuple(side.shape)}."
        )
    if not out.numel():
        return out
    down = TALLEST if wide else min(TALLEST, max(16, 1 << (rows - 1).bit_length()))
    across = min(WIDEST, max(16, 1 << (columns - 1).bit_length()))
    programs = slots * -(-rows // down) * -(-columns // across)
    told = [side if t is None else t for t in numbers]  # what is None is not read
    with torch.cuda.device_of(out):
        multiply[(programs,)](
            left,
            right,
            out,
            side,
            *told,
            rows,
            columns,
            contraction,
            places,
            units,
            alpha,
            beta,
            *left.stride(),
            *right.stride(),
            *out4.stride(),
            *side4.stride(),
            *(stride for t in told for stride in t.stride()[-3:]),
            **dict(zip(BEGINNINGS, map(_beginning, (left, right, out4, side4)), strict=True)),
            TASK=task,
            ACTIVATION=activation,
            ADDS=beta != 0.0 or numbers[1] is not None,
            DECAYS=numbers[2] is not None,
            NESTEROV=nesterov,
            PRECISION=precision,
            ROWS=down,
            COLUMNS=across,
            DEPTH=DEPTHS[precision],
            num_warps=warps_of(down, across, precision),
        )
    return out


def _beginning(tensor: Tensor) -> int:
    """Give 16 where all rows (or columns) begin at multiples of it, as then do matrices, else 1."""
    *between, row, column = tensor.stride()
    lines = row if column == 1 else column
    return 1 if any(stride % 16 for stride in (lines, *between)) else 16


def _check(
    left: Tensor,
    right: Tensor,
    out: Tensor,
    side: Tensor,
    optional: list[Tensor],
    precision: str,
) -> None:
    """Refuse what the kernel would misread."""
    if precision not in DEPTHS:
        raise ValueError(f"precision must be one of {', '.join(DEPTHS)}; got {precision!r}.")
    for t in (left, right, out, side, *optional):
        if t.dtype != torch.float32 or t.device != out.device:
            raise ValueError(
                f"all tensors must be float32 on one device; got {t.dtype} on {t.device} beside "
                f"{out.dtype} on {out.device}."
            )
    rows, columns = left.shape[-2], right.shape[-1]
    fits = left.ndim == right.ndim == 3 and left.shape[::2] == right.shape[:2]
    fits = fits and out.shape[-1] == columns and out.numel() == len(left) * rows * columns
    if not fits or not (out.ndim == 3 or out.shape[2] == rows):
        raise ValueError(
            "left, right and out must have shapes (slots, rows, contraction), (slots, contraction, "
            f"columns) and (slots, rows, columns); got {tuple(left.shape)}, {tuple(right.shape)} "
            f"and {tuple(out.shape)}."
        )
