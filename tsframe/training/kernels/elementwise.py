"""Activations, on numbers that a kernel holds: the same five functions as in the students' room.

They are made of exp, for which every target of Triton has an instruction, and erf.
"""

import triton
import triton.language as tl

__all__ = ["activated", "pulled"]


@triton.jit
def activated(z, ACTIVATION: tl.constexpr):
    """Give phi(z); NaN stays NaN, and nothing overflows."""
    if ACTIVATION == "relu":
        value = tl.where(z < 0.0, 0.0, z)
    elif ACTIVATION == "tanh":
        small = tl.exp(-2.0 * tl.abs(z))
        size = (1.0 - small) / (1.0 + small)
        # Where 1 - small would cancel: the Taylor series, to 2e-9 of the value.
        square = z * z
        series = 62.0 / 2835.0 - square * (1382.0 / 155925.0)
        series = square * (2.0 / 15.0 + square * (-17.0 / 315.0 + square * series))
        series = z + z * square * (-1.0 / 3.0 + series)
        value = tl.where(tl.abs(z) < 0.3, series, tl.where(z < 0.0, -size, size))
    elif ACTIVATION == "sigmoid":
        small = tl.exp(-tl.abs(z))
        value = tl.where(z < 0.0, small, 1.0) / (1.0 + small)
    elif ACTIVATION == "erf":
        value = tl.erf(z)
    else:
        tl.static_assert(ACTIVATION == "identity", "unknown activation")
        value = z
    return value


@triton.jit
def pulled(gradient, value, z, ACTIVATION: tl.constexpr):
    """Give gradient * phi'(z), where `value` is phi(z)."""
    if ACTIVATION == "relu":
        result = tl.where(z <= 0.0, 0.0, gradient)
    elif ACTIVATION == "tanh":
        result = gradient * (1.0 - value * value)
    elif ACTIVATION == "sigmoid":
        result = gradient * value * (1.0 - value)
    elif ACTIVATION == "erf":
        result = gradient * tl.exp(-z * z) * 1.1283791670955126  # 2 / sqrt(pi)
    else:
        tl.static_assert(ACTIVATION == "identity", "unknown activation")
        result = gradient
    return result
