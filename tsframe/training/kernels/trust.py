"""Whether the kernels may be trusted on a device: a test at run time, once a process.

What a compiler and a device make of a kernel is known only there. Kernels are adopted if their
products are accurate, if a slot has the same bits in any batch, and a row beside any other rows.
"""

import functools
import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ACCURACY", "refusal", "refusal_of_fusions", "unless_refused"]

# Relative error of a product of contraction 201 against float64. IEEE products are off by 3e-7. The
# three products of TF32 leave out 2^-22 = 2.4e-7 of every term, and tensor cores cut their sums
# where others round, which adds some 1e-6; bare TF32 is off by 3e-4.
ACCURACY = {"ieee": 1e-6, "tf32x3": 1e-5}


@functools.cache
def refusal(device: torch.device, precision: str = "ieee") -> str | None:
    """Say why the products of `tsframe.training.kernels.products` are not to be used, if so.

    Call it before anything is captured into a graph: it waits for the device, and the first call on
    a machine compiles for seconds.

    Parameters
    ----------
    device : torch.device
        Where they would run. On a CPU they run in Triton's interpreter only, which is for tests.
    precision : str
        ``"ieee"`` or ``"tf32x3"``.

    Returns
    -------
    str or None
        A reason, or None if they are accurate and every student's numbers are its own.
    """
    return unless_refused(device, lambda: _fault(device, precision))


@functools.cache
def refusal_of_fusions(device: torch.device, precision: str = "ieee") -> str | None:
    """Say why what `tsframe.training.kernels.fusions` offers is not to be used, if so.

    Parameters and result are those of `refusal`.
    """

    def fault() -> str | None:
        from tsframe.training.kernels import fusions

        return fusions.fault(device, precision, ACCURACY[precision])

    return unless_refused(device, fault)


def unless_refused(device: torch.device, fault: Callable[[], str | None]) -> str | None:
    """Look for a fault of a kernel where kernels can run, and say why they cannot where not."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed."
    import triton

    if device.type != "cuda" and not triton.knobs.runtime.interpret:
        return f"kernels need a CUDA device; got {device}."
    try:
        return fault()
    except Exception as error:  # compilers and drivers raise what they like
        return f"{type(error).__name__}: {error}"


def _fault(
    device: torch.device, precision: str, sizes: tuple[int, int, int] = (140, 201, 70)
) -> str | None:
    """Look for a fault of products of so many rows, terms and columns: remainders on all sides."""
    from tsframe.training.kernels import products

    def multiply(left: Tensor, right: Tensor, wide: bool = False) -> Tensor:
        out = torch.full((*left.shape[:2], right.shape[2]), torch.nan, device=device)
        products.bmm(left, right, out, precision=precision, wide=wide)
        return out

    rows, terms, columns = sizes
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(3, rows, terms, generator=generator).to(device)
    right = torch.randn(3, terms, columns, generator=generator).to(device)
    narrow = left[:, :10]
    for a, b, wide in ((left, right, True), (right.mT, left.mT, False), (narrow, right, False)):
        exact = a.double() @ b.double()
        error = float((multiply(a, b, wide).double() - exact).norm() / exact.norm())
        if not error < ACCURACY[precision]:
            return f"the relative error of products in {precision} is {error:.1e}."

        together = multiply(a, b, wide)
        for k in range(len(a)):
            mates = torch.full_like(a, torch.nan)
            mates[0] = a[k]
            others = (multiply(a[k : k + 1], b[k : k + 1], wide), multiply(mates, b[[k] * 3], wide))
            if not all(torch.equal(together[k], other[0]) for other in others):
                return f"the bits of a slot hang on the batch, in {precision}."

    together = multiply(left, right, True)
    for start, count in (
        (0, 10),
        (1, 1),
        (5, 33),
        (16, 10),
        (37, 10),
        (63, 2),
        (64, 10),
        (101, 33),
    ):
        own = slice(start, min(start + count, rows))
        if start < rows:
            apart = multiply(left[:, own].contiguous(), right, True)
            if not torch.equal(apart, together[:, own]):
                return f"the bits of a row hang on its place among others, in {precision}."
    return None
