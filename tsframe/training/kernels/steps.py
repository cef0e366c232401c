"""The kernel behind students that stay on the chip: one student, from first step to last."""

import triton
import triton.language as tl

from tsframe.training.kernels.elementwise import activated, pulled
from tsframe.training.kernels.losses import loss_gradient

__all__ = ["OF_THE_MATES", "stay"]

# What hangs on others, or on how many steps are taken at once: see `tiles`. Nor may tensors tell
# what they begin at multiples of, for they are parts of larger ones. So the program hangs on the
# shape of a student alone, and what was rehearsed is what trains.
OF_THE_MATES = (
    "places steps first_group middle_group last_group input_set target_slot order_group order_step "
    "rate_slot first middle last first_velocity middle_velocity last_velocity inputs targets sets "
    "order rates scales momenta decays seats"
).split()


@triton.jit
def _corner(tensor, group, place, by_group, by_place, by_row, row, column):
    """Give the addresses of a tile of the matrix of a student."""
    return tensor + group * by_group + place * by_place + row * by_row + column


@triton.jit
def _hidden(z, unit, width, ACTIVATION: tl.constexpr):
    """Give the values of a hidden layer with its constant unit; what is padded is zero."""
    return tl.where(unit < width, activated(z, ACTIVATION), tl.where(unit == width, 1.0, 0.0))


@triton.jit
def _moved(weights, velocity, decay, rate, scales, biases):
    """Take a step: give the weights and the velocity behind it."""
    velocity += decay * weights
    rate = rate * tl.where(biases, tl.load(scales + 1), tl.load(scales))
    return weights - rate * velocity, velocity


@triton.jit(do_not_specialize=OF_THE_MATES)
def stay(
    first,
    middle,
    last,
    first_velocity,
    middle_velocity,
    last_velocity,
    inputs,
    targets,
    sets,
    order,
    rates,
    scales,
    momenta,
    decays,
    seats,
    places,
    terms,
    width,
    outputs,
    batch,
    steps,
    scale,
    first_group,
    first_place,
    first_row,
    middle_group,
    middle_place,
    middle_row,
    last_group,
    last_place,
    last_row,
    input_set,
    input_row,
    target_slot,
    order_group,
    order_step,
    rate_slot,
    DEPTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    LOSS: tl.constexpr,
    CODED: tl.constexpr,
    MOMENTUM: tl.constexpr,
    TERMS: tl.constexpr,
    WIDTH: tl.constexpr,
    OUTPUTS: tl.constexpr,
    SAMPLES: tl.constexpr,
):
    """Train one student of depth 1 or 2 for some steps.

    Names in capitals are sizes of tiles. Weights are read in the beginning and written in the end.
    """
    slot = tl.load(seats + tl.program_id(0))
    group, place = slot // places, slot % places
    inputs += tl.load(sets + group) * input_set
    order += group * order_group
    targets += slot * target_slot
    rates += slot * rate_slot
    scales += slot * (2 * (DEPTH + 1))
    momentum, decay = tl.load(momenta + slot), tl.load(decays + slot)

    unit, answer = tl.arange(0, WIDTH)[:, None], tl.arange(0, OUTPUTS)[:, None]
    before, above = tl.arange(0, WIDTH)[None, :], tl.arange(0, TERMS)[None, :]
    term, sample = tl.arange(0, TERMS)[:, None], tl.arange(0, SAMPLES)
    w1_here = (unit < width) & (above < terms)
    w2_here = (unit < width) & (before <= width)
    w3_here = (answer < outputs) & (before <= width)
    w1 = _corner(first, group, place, first_group, first_place, first_row, unit, above)
    w1 = tl.load(w1, mask=w1_here, other=0.0)
    w3 = _corner(last, group, place, last_group, last_place, last_row, answer, before)
    w3 = tl.load(w3, mask=w3_here, other=0.0)
    v1, v3 = tl.zeros((WIDTH, TERMS), tl.float32), tl.zeros((OUTPUTS, WIDTH), tl.float32)
    if DEPTH == 2:
        w2 = _corner(middle, group, place, middle_group, middle_place, middle_row, unit, before)
        w2 = tl.load(w2, mask=w2_here, other=0.0)
        v2 = tl.zeros((WIDTH, WIDTH), tl.float32)
    if MOMENTUM:
        v1 = _corner(first_velocity, group, place, first_group, first_place, first_row, unit, above)
        v1 = tl.load(v1, mask=w1_here, other=0.0)
        v3 = _corner(last_velocity, group, place, last_group, last_place, last_row, answer, before)
        v3 = tl.load(v3, mask=w3_here, other=0.0)
        if DEPTH == 2:
            v2 = _corner(
                middle_velocity, group, place, middle_group, middle_place, middle_row, unit, before
            )
            v2 = tl.load(v2, mask=w2_here, other=0.0)

    for step in range(steps):
        # What momentum leaves of the velocity; the gradient is summed on top of that.
        v1 *= momentum
        v3 *= momentum
        if DEPTH == 2:
            v2 *= momentum
        for done in range(0, batch, SAMPLES):
            there = sample < batch - done
            row = tl.load(order + done + sample, mask=there, other=0)
            wanted = tl.load(targets + row, mask=there, other=0)[None, :]
            there = there[None, :]
            x = inputs + row[None, :] * input_row + term
            x = tl.load(x, mask=there & (term < terms), other=0.0)
            z1 = tl.dot(w1, x, input_precision="ieee")
            h1 = _hidden(z1, unit, width, ACTIVATION)
            h = h1
            if DEPTH == 2:
                z2 = tl.dot(w2, h1, input_precision="ieee")
                h = _hidden(z2, unit, width, ACTIVATION)
            g = tl.dot(w3, h, input_precision="ieee")
            g = loss_gradient(g, wanted, answer, outputs, scale, LOSS, CODED)
            g = tl.where((answer < outputs) & there, g, 0.0)
            back = tl.dot(tl.trans(w3), g, input_precision="ieee")
            v3 = tl.dot(g, tl.trans(h), v3, input_precision="ieee")
            if DEPTH == 2:
                back = tl.where(unit < width, pulled(back, h, z2, ACTIVATION), 0.0)
                v2 = tl.dot(back, tl.trans(h1), v2, input_precision="ieee")
                back = tl.dot(tl.trans(w2), back, input_precision="ieee")
            back = pulled(back, h1, z1, ACTIVATION)  # nobody reads its padded rows
            v1 = tl.dot(back, tl.trans(x), v1, input_precision="ieee")
        order += order_step
        rate = tl.load(rates + step)
        w1, v1 = _moved(w1, v1, decay, rate, scales, above == terms - 1)
        if DEPTH == 2:
            w2, v2 = _moved(w2, v2, decay, rate, scales + 2, before == width)
        w3, v3 = _moved(w3, v3, decay, rate, scales + 2 * DEPTH, before == width)

    at = _corner(first, group, place, first_group, first_place, first_row, unit, above)
    tl.store(at, w1, mask=w1_here)
    at = _corner(last, group, place, last_group, last_place, last_row, answer, before)
    tl.store(at, w3, mask=w3_here)
    if DEPTH == 2:
        at = _corner(middle, group, place, middle_group, middle_place, middle_row, unit, before)
        tl.store(at, w2, mask=w2_here)
    if MOMENTUM:
        at = _corner(first_velocity, group, place, first_group, first_place, first_row, unit, above)
        tl.store(at, v1, mask=w1_here)
        at = _corner(last_velocity, group, place, last_group, last_place, last_row, answer, before)
        tl.store(at, v3, mask=w3_here)
        if DEPTH == 2:
            at = _corner(
                middle_velocity, group, place, middle_group, middle_place, middle_row, unit, before
            )
            tl.store(at, v2, mask=w2_here)
