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

import torch
import triton
import triton.language as tl
from torch import Tensor

from tsframe.training.kernels.elementwise import activated, pulled

__all__ = ["activated_bmm", "bmm", "followed_bmm", "pulled_bmm"]

# Bare TF32 is not to be had. Steps along the contraction, and numbers of a tile for each warp, are
# such that what the compiler writes for an H200 keeps its sums in registers.
DEPTHS = {"ieee": 16, "tf32x3": 32}
SHARES = {"ieee": 1024, "tf32x3": 256}
TALLEST, WIDEST = 64, 64  # rows and columns of the largest tile


@triton.jit(do_not_specialize=["rows", "places", "units"])
def multiply(
    left,
    right,
    out,
    side,
    rates,
    decays,
    rows,
    columns,
    contraction,
    places,
    units,
    alpha,
    beta,
    factor,
    left_slot,
    left_row,
    left_step,
    right_slot,
    right_step,
    right_column,
    out_group,
    out_place,
    out_row,
    out_column,
    side_group,
    side_place,
    side_row,
    side_column,
    rate_slot,
    rate_row,
    rate_column,
    decay_slot,
    decay_row,
    decay_column,
    TASK: tl.constexpr,
    ACTIVATION: tl.constexpr,
    ADDS: tl.constexpr,
    DECAYS: tl.constexpr,
    NESTEROV: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Compute one tile of product = alpha left @ right of one slot, then do the task.

    "multiply": out = product + beta out. "activate": out = product, side = phi(out). "pull": out =
    product * phi'(out), where side is phi(out). "follow": out = beta out + product + decay side,
    side -= factor rate out. Row r of slot s of `out` and `side` is row r % units of place s %
    places + r // units of group s // places.
    """
    program = tl.program_id(0)
    across, down = tl.cdiv(columns, COLUMNS), tl.cdiv(rows, ROWS)
    slot = (program // (across * down)).to(tl.int64)
    top = (program // across % down).to(tl.int64) * ROWS
    start = (program % across).to(tl.int64) * COLUMNS

    # Offsets inside of a tile fit in 32 bits, where a tile lies may not.
    row, column, step = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    inside = (row < rows - top)[:, None]
    beside = (column < columns - start)[None, :]
    left_at = left + (slot * left_slot + top * left_row)
    left_at = left_at + (row[:, None] * left_row + step[None, :] * left_step)
    right_at = right + (slot * right_slot + start * right_column)
    right_at = right_at + (step[:, None] * right_step + column[None, :] * right_column)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for done in range(0, contraction, DEPTH):
        more = step < contraction - done
        left_tile = tl.load(left_at, mask=inside & more[None, :], other=0.0)
        right_tile = tl.load(right_at, mask=more[:, None] & beside, other=0.0)
        total = tl.dot(left_tile, right_tile, total, input_precision=PRECISION)
        left_at += DEPTH * left_step
        right_at += DEPTH * right_step
    total *= alpha

    here = inside & beside
    unit = (top.to(tl.int32) + row)[:, None]
    group, place = slot // places, (slot % places).to(tl.int32) + unit // units
    unit = unit % units
    out += group * out_group + start * out_column
    out_at = out + (place.to(tl.int64) * out_place + unit.to(tl.int64) * out_row)
    out_at = out_at + column[None, :] * out_column
    side += group * side_group + start * side_column
    side_at = side + (place.to(tl.int64) * side_place + unit.to(tl.int64) * side_row)
    side_at = side_at + column[None, :] * side_column
    if TASK == "multiply":
        if ADDS:
            total += beta * tl.load(out_at, mask=here, other=0.0)
        tl.store(out_at, total, mask=here)
    elif TASK == "activate":
        tl.store(out_at, total, mask=here)
        tl.store(side_at, activated(total, ACTIVATION), mask=here)
    elif TASK == "pull":
        z = tl.load(out_at, mask=here, other=0.0)
        value = tl.load(side_at, mask=here, other=0.0)
        tl.store(out_at, pulled(total, value, z, ACTIVATION), mask=here)
    else:
        tl.static_assert(TASK == "follow", "unknown task")
        weights = tl.load(side_at, mask=here, other=0.0)
        if DECAYS:
            decays += slot * decay_slot + top * decay_row + start * decay_column
            decay_at = decays + row[:, None] * decay_row + column[None, :] * decay_column
            total += tl.load(decay_at, mask=here, other=0.0) * weights
        direction = total
        if ADDS:
            direction += beta * tl.load(out_at, mask=here, other=0.0)
            tl.store(out_at, direction, mask=here)
            if NESTEROV:
                direction = total + beta * direction
        rates += slot * rate_slot + top * rate_row + start * rate_column
        rate_at = rates + row[:, None] * rate_row + column[None, :] * rate_column
        rate = tl.load(rate_at, mask=here, other=0.0)
        tl.store(side_at, weights - factor * rate * direction, mask=here)


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
    momentum: float = 0.0,
    factor: float = 1.0,
    decays: Tensor | None = None,
    nesterov: bool = False,
    precision: str = "ieee",
    wide: bool = False,
) -> Tensor:
    """Take a step of SGD along the gradient left @ right, which is never stored.

    g = left @ right + decays weights; v <- momentum v + g; w <- w - factor rates v, or w - factor
    rates (g + momentum v) for Nesterov.

    Parameters
    ----------
    left, right, precision, wide
        As for `bmm`.
    velocity, weights : Tensor, shape (slots, rows, columns)
        float32. Where momentum is zero, the velocity is neither read nor written.
    rates, decays : Tensor
        float32, of shapes that broadcast to that of the weights.
    momentum, factor : float
        Of all students, and of the learning rates at this step.
    nesterov : bool
        Nesterov's momentum.

    Returns
    -------
    Tensor
        `weights`.
    """
    _launch(
        "follow",
        left,
        right,
        velocity,
        weights,
        precision,
        wide,
        beta=momentum,
        factor=factor,
        rates=rates.expand(weights.shape),
        decays=None if decays is None else decays.expand(weights.shape),
        nesterov=nesterov,
    )
    return weights


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
    factor: float = 0.0,
    rates: Tensor | None = None,
    decays: Tensor | None = None,
    nesterov: bool = False,
) -> Tensor:
    optional = [t for t in (rates, decays) if t is not None]
    _check(left, right, out, side, optional, precision)
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
    down = TALLEST if wide else min(TALLEST, max(16, triton.next_power_of_2(rows)))
    across = min(WIDEST, max(16, triton.next_power_of_2(columns)))
    programs = slots * triton.cdiv(rows, down) * triton.cdiv(columns, across)
    rates = side if rates is None else rates  # read by "follow" alone
    decays_or = rates if decays is None else decays
    with torch.cuda.device_of(out):
        multiply[(programs,)](
            left,
            right,
            out,
            side,
            rates,
            decays_or,
            rows,
            columns,
            contraction,
            places,
            units,
            alpha,
            beta,
            factor,
            *left.stride(),
            *right.stride(),
            *out4.stride(),
            *side4.stride(),
            *rates.stride()[-3:],
            *decays_or.stride()[-3:],
            TASK=task,
            ACTIVATION=activation,
            ADDS=beta != 0.0,
            DECAYS=decays is not None,
            NESTEROV=nesterov,
            PRECISION=precision,
            ROWS=down,
            COLUMNS=across,
            DEPTH=DEPTHS[precision],
            num_warps=max(1, min(4, down * across // SHARES[precision])),
        )
    return out


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
