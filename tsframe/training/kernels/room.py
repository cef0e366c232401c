"""Which students find room on the chip, and how their weights lie there; it needs no Triton."""

__all__ = ["SAMPLES", "fits", "padded", "padded_weights"]

LARGEST = 64 * (256 + 64 + 16)  # padded weights of a student: with the velocity 84 registers each
SAMPLES = 16  # of a minibatch that are looked at together; with 32 the compiler runs out of them


def fits(width: int, depth: int, dim: int, outputs: int) -> bool:
    """Whether students of a shape can stay on the chip."""
    return (
        depth in (1, 2)
        and min(width, dim, outputs) >= 1
        and padded_weights(width, depth, dim, outputs) <= LARGEST
    )


def padded_weights(width: int, depth: int, dim: int, outputs: int) -> int:
    """Count the weights of a student as they lie on the chip."""
    wide = padded(width + 1)
    return wide * (padded(dim + 1) + (depth - 1) * wide + padded(outputs))


def padded(size: int) -> int:
    """Give the length of a side of a tile."""
    return max(16, 1 << (size - 1).bit_length())
