"""The kernel behind the products: one tile, and what is done to it before it is stored."""

import triton
import triton.language as tl

from tsframe.training.kernels.elementwise import activated, pulled

__all__ = ["OF_THE_BATCH", "multiply"]


# Triton compiles anew where a number is one or a multiple of 16. It is not to ask that of numbers
# that hang on the batch: one and the same program computes a student alone and among others. What
# matrices begin at multiples of is told by LEFT_BY, ..., which hang on the strides inside of them.
OF_THE_BATCH = (
    "rows places units left_slot right_slot out_group out_place side_group side_place rate_slot "
    "momentum_slot decay_slot"
).split()


@triton.jit(do_not_specialize=OF_THE_BATCH)
def multiply(
    left,
    right,
    out,
    side,
    rates,
    momenta,
    decays,
    rows,
    columns,
    contraction,
    places,
    units,
    alpha,
    beta,
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
    momentum_slot,
    momentum_row,
    momentum_column,
    decay_slot,
    decay_row,
    decay_column,
    LEFT_BY: tl.constexpr,
    RIGHT_BY: tl.constexpr,
    OUT_BY: tl.constexpr,
    SIDE_BY: tl.constexpr,
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
    product * phi'(out), where side is phi(out). "follow": out = momentum out + product + decay
    side, side -= rate out. Row r of slot s of `out` and `side` is row r % units of place s % places
    + r // units of group s // places.
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
    left += tl.multiple_of(slot * left_slot, LEFT_BY)
    right += tl.multiple_of(slot * right_slot, RIGHT_BY)
    left_at = left + top * left_row
    left_at = left_at + (row[:, None] * left_row + step[None, :] * left_step)
    right_at = right + start * right_column
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
    out += tl.multiple_of(group * out_group, OUT_BY) + start * out_column
    out_at = out + tl.multiple_of(place.to(tl.int64) * out_place, [OUT_BY, OUT_BY])
    out_at = out_at + unit.to(tl.int64) * out_row
    out_at = out_at + column[None, :] * out_column
    side += tl.multiple_of(group * side_group, SIDE_BY) + start * side_column
    side_at = side + tl.multiple_of(place.to(tl.int64) * side_place, [SIDE_BY, SIDE_BY])
    side_at = side_at + unit.to(tl.int64) * side_row
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
            momenta += slot * momentum_slot + top * momentum_row + start * momentum_column
            momentum_at = momenta + row[:, None] * momentum_row + column[None, :] * momentum_column
            momentum = tl.load(momentum_at, mask=here, other=0.0)
            direction += momentum * tl.load(out_at, mask=here, other=0.0)
            tl.store(out_at, direction, mask=here)
            if NESTEROV:
                direction = total + momentum * direction
        rates += slot * rate_slot + top * rate_row + start * rate_column
        rate_at = rates + row[:, None] * rate_row + column[None, :] * rate_column
        rate = tl.load(rate_at, mask=here, other=0.0)
        tl.store(side_at, weights - rate * direction, mask=here)
