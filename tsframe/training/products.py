"""The route that float32 matrix products take on the CPU, and what it guarantees.

torch sends float32 products either to its BLAS (MKL on x86) or to oneDNN. oneDNN has two advantages
here. Where MKL picks an AVX2 kernel, it is twice as fast. And each row of its products has the same
bits whatever other rows and slots are computed beside it, so that students of one data set may
share one wide first-layer product and still not depend on their batch mates. torch reaches it
through the setting that allows reduced precision; processors with AMX instructions then really
reduce it, so the route is adopted only after a test of its accuracy, for the time of one engine
call, and the setting that was found is put back.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Route", "product_route", "slotwise_product"]

ACCURACY = 1e-6  # relative error of a float32 product against float64; reduced precision gives 2e-3


@dataclass(frozen=True)
class Route:
    """How products are computed, and what may be concluded for the layout of a stack.

    Attributes
    ----------
    name : str
        ``"onednn"``, ``"blas"`` or ``"cuda"``; kept with the results, for it changes bits.
    rows_independent : bool
        Whether a row of a product has the same bits beside any other rows. If so, the first layer
        is one wide product per data set; if not, every student has its own.
    min_slots : int
        Fewest matrices in a batched product: a batch of one may take another kernel.
    min_work : int
        Fewest multiply-adds of a product of first layers: below it torch may take another route.
        (Small products behind them are not torch's; see `tsframe.students.products`.)
    """

    name: str
    rows_independent: bool
    min_slots: int = 1
    min_work: int = 0


# Bits of these routes were compared over 12,000 random shapes each, one thread: slots of a batched
# product are equal in any batch of at least `min_slots` and more than `min_work`; rows of a wide
# product are so on oneDNN only.
BLAS = Route("blas", rows_independent=False, min_slots=2)
ONEDNN = Route("onednn", rows_independent=True, min_work=16**3)
CUDA = Route("cuda", rows_independent=True)

_lock = threading.Lock()
_calls: dict[str, int] = {}  # engine calls inside `product_route` now, by device type
_found: dict[str, str] = {}  # the settings to restore when the last of them leaves
_accurate: bool | None = None  # the outcome of the self-test, the same throughout a process


@contextlib.contextmanager
def product_route(device: torch.device, dtype: torch.dtype) -> Iterator[Route]:
    """Take the best exact route for products while the context lasts, then restore the setting.

    Parameters
    ----------
    device : torch.device
        Where the products are computed.
    dtype : torch.dtype
        float64 always goes to BLAS.

    Yields
    ------
    Route
        What was adopted. On CUDA, IEEE float32 is demanded (no TF32).
    """
    kind = device.type
    if dtype == torch.float64:
        yield CUDA if kind == "cuda" else BLAS
        return
    backends: Any = torch.backends  # its attributes are made at run time
    setting = backends.cuda.matmul if kind == "cuda" else backends.mkldnn.matmul
    with _lock:
        if not _calls.get(kind):
            _found[kind] = setting.fp32_precision
            setting.fp32_precision = "ieee" if kind == "cuda" else "bf16"
            if kind == "cpu" and not onednn_is_accurate():
                setting.fp32_precision = _found[kind]
        _calls[kind] = _calls.get(kind, 0) + 1
    try:
        yield CUDA if kind == "cuda" else ONEDNN if _accurate else BLAS
    finally:
        with _lock:
            _calls[kind] -= 1
            if not _calls[kind]:
                setting.fp32_precision = _found[kind]


def onednn_is_accurate() -> bool:
    """Whether oneDNN is there and computes float32 products in float32; call it inside the route.

    Returns
    -------
    bool
        True if the relative error of a product, a batched one and one with a transposed operand is
        below 1e-6.
    """
    global _accurate
    if _accurate is None:
        generator = torch.Generator().manual_seed(0)
        left = torch.randn(4, 64, 256, generator=generator)
        right = torch.randn(4, 256, 48, generator=generator)
        pairs = [(left, right), (left[:1], right[:1]), (right.mT, left.mT)]
        errors = [
            ((a @ b).double() - a.double() @ b.double()).norm() / (a.double() @ b.double()).norm()
            for a, b in pairs
        ]
        _accurate = torch.backends.mkldnn.is_available() and all(e < ACCURACY for e in errors)
    return _accurate


def slotwise_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Multiply matrices in pairs, in float64: on the CPU a slot has the same bits in any batch.

    Parameters
    ----------
    left, right : Tensor, shapes (slots, a, b) and (slots, b, c)
        float64. A batch of one, which might take another kernel, is computed as two.

    Returns
    -------
    Tensor, shape (slots, a, c)
    """
    if len(left) >= BLAS.min_slots or left.is_cuda:
        return torch.bmm(left, right)
    return torch.bmm(left.expand(2, -1, -1), right.expand(2, -1, -1))[: len(left)]
