"""The route that matrix products take, and what it guarantees.

On the CPU, torch sends float32 products either to its BLAS (MKL on x86) or to oneDNN. oneDNN has
two advantages here. Where MKL picks an AVX2 kernel, it is twice as fast. And each row of its
products has the same bits whatever other rows and slots are computed beside it, so that students of
one data set may share one wide first-layer product and still not depend on their batch mates. torch
reaches it through the setting that allows reduced precision; processors with AMX instructions then
really reduce it, so the route is adopted only after a test of its accuracy, for the time of one
engine call, and the setting that was found is put back.

On CUDA, cuBLAS picks a kernel by the shape of the whole batch, so the bits of a student depend on
how many others there are. That is the mode "fast". The mode "strict" multiplies by kernels of our
own, in which every number is summed in one order. TF32, which keeps 11 bits of a factor, is in
neither; "tf32x3" makes up a product of three of them, with the accuracy of float32.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from tsframe.students.products import Products
from tsframe.training.kernels.trust import refusal, refusal_of_fusions
from tsframe.training.residing import wanted

__all__ = [
    "MODES",
    "PRECISIONS",
    "Route",
    "check_route",
    "elementwise",
    "product_route",
    "slotwise_product",
    "strictest",
]

ACCURACY = 1e-6  # relative error of a float32 product against float64; reduced precision gives 2e-3
MODES = ("strict", "fast")
PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "tf32x3": torch.float32}


@dataclass(frozen=True)
class Route:
    """How products are computed, and what may be concluded for the layout of a stack.

    Attributes
    ----------
    name : str
        ``"onednn"``, ``"blas"``, ``"cublas"``, ``"triton"``, ``"triton fused"`` (activations and
        steps of SGD ride on products) or ``"elementwise"``; kept with the results, for it changes
        bits.
    rows_independent : bool
        Whether a row of a product has the same bits beside any other rows. If so, the first layer
        is one wide product per data set; if not, every student has its own.
    min_slots : int
        Fewest matrices in a batched product: a batch of one may take another kernel.
    min_work : int
        Fewest multiply-adds of a product of first layers: below it torch may take another route.
        (Small products behind them are not torch's; see `tsframe.students.products`.)
    products : Products
        Who computes them.
    strict : bool
        Whether no bit of a student depends on the others.
    recordable : bool
        Whether steps of such products may be recorded as graphs.
    residents : bool
        Whether small students may stay on the chip, and need products only to be looked at.
    """

    name: str
    rows_independent: bool
    min_slots: int = 1
    min_work: int = 0
    products: Products = field(default_factory=Products)
    strict: bool = True
    recordable: bool = True
    residents: bool = False


# Bits of these routes were compared over 12,000 random shapes each, one thread: slots of a batched
# product are equal in any batch of at least `min_slots` and more than `min_work`; rows of a wide
# product are so on oneDNN only. There, too, fused sums had the bits of others at all of 7,000
# shapes; as that hangs on the processor, it is looked at again when the route is taken.
BLAS = Route("blas", rows_independent=False, min_slots=2)
ONEDNN = Route("onednn", rows_independent=True, min_work=16**3)
CUBLAS = Route(  # for speed; no bits are promised
    "cublas", rows_independent=True, products=Products(fused_sums=True), strict=False
)

_lock = threading.Lock()
_calls: dict[str, int] = {}  # engine calls inside `product_route` now, by device type
_found: dict[str, str] = {}  # the settings to restore when the last of them leaves
_taken: dict[str, str] = {}  # what was set instead
_accurate: bool | None = None  # outcomes of the self-tests, the same throughout a process
_fuses: bool | None = None


def check_route(device: torch.device, precision: str, mode: str = "strict") -> None:
    """Refuse what a device cannot do, before anything is trained on it.

    Parameters
    ----------
    device : torch.device
        Where the products would be computed.
    precision : str
        Of `PRECISIONS`.
    mode : str
        Of `MODES`.

    Raises
    ------
    ValueError
        If there is no such mode, if the precision is of GPUs only and this is none, or if the mode
        is strict on a GPU without kernels of our own.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be {' or '.join(MODES)}; got mode={mode!r}.")
    if device.type != "cuda":
        if precision == "tf32x3":
            raise ValueError(
                "precision='tf32x3' is a way to multiply on CUDA devices; this one is "
                f"'{device}'. Use precision='float32', which is as accurate."
            )
        return
    if precision == "float64" or (precision == "float32" and mode == "fast"):
        return
    reason = refusal(device, _in_kernels(precision))
    if reason:
        plain = precision == "float32"
        what = "mode='strict'" if plain else f"precision={precision!r}"
        hint = "" if plain else "precision='float32' with "
        raise ValueError(
            f"{what} on '{device}' needs kernels of our own, which cannot be used here: {reason} "
            f"Use {hint}mode='fast', which promises tolerances only, or device='cpu'."
        )


def strictest(device: torch.device) -> str:
    """Give the strictest mode that a device can train float32 in."""
    try:
        check_route(device, "float32", "strict")
    except ValueError:
        return "fast"
    return "strict"


@contextlib.contextmanager
def product_route(
    device: torch.device, precision: str = "float32", mode: str = "strict"
) -> Iterator[Route]:
    """Take the best route for products while the context lasts, then restore the setting.

    Parameters
    ----------
    device : torch.device
        Where the products are computed.
    precision : str
        Of `PRECISIONS`; float64 always goes to BLAS on the CPU.
    mode : str
        Of `MODES`; on the CPU all is strict.

    Yields
    ------
    Route
        What was adopted. On CUDA, torch's own products are IEEE float32 while it lasts (no TF32).
        What the device cannot do is refused as by `check_route`.

    Raises
    ------
    RuntimeError
        If somebody else changed the precision of torch's products in the meantime.
    """
    check_route(device, precision, mode)
    kind = device.type
    if kind == "cpu" and precision == "float64":
        yield BLAS
        return
    backends: Any = torch.backends  # its attributes are made at run time
    setting = backends.cuda.matmul if kind == "cuda" else backends.mkldnn.matmul
    with _lock:
        if not _calls.get(kind):
            _found[kind] = setting.fp32_precision
            setting.fp32_precision = "ieee" if kind == "cuda" else "bf16"
            if kind == "cpu" and not onednn_is_accurate():
                setting.fp32_precision = _found[kind]
            _taken[kind] = setting.fp32_precision
        _calls[kind] = _calls.get(kind, 0) + 1
    try:
        if kind == "cuda":
            yield _cuda_route(precision, mode, device)
        elif _accurate:
            products = Products(fused_sums=onednn_fuses_sums(), threads_free=True)
            yield replace(ONEDNN, products=products)
        else:
            yield BLAS
        if setting.fp32_precision != _taken[kind]:
            raise RuntimeError(
                f"torch.backends: the precision of {kind} products was set to "
                f"{setting.fp32_precision!r} while students were trained in {_taken[kind]!r}; "
                "their numbers would be neither. Leave it alone during an engine call."
            )
    finally:
        with _lock:
            _calls[kind] -= 1
            if not _calls[kind]:
                setting.fp32_precision = _found[kind]


def _cuda_route(precision: str, mode: str, device: torch.device) -> Route:
    if precision == "float64" and mode == "strict":
        products = Products(elementwise, elementwise)
        # A graph of so many small kernels would take gigabytes of the driver's memory.
        return Route("elementwise", rows_independent=True, products=products, recordable=False)
    residents = precision == "float32" and wanted()
    if precision != "tf32x3" and mode == "fast":
        return replace(CUBLAS, residents=residents)
    kernels = _in_kernels(precision)
    first, behind = (partial(by_kernels, precision=kernels, wide=wide) for wide in (True, False))
    name, products = "triton", Products(first, behind)
    if refusal_of_fusions(device, kernels) is None:
        from tsframe.training.kernels.fusions import KernelFusions  # imports Triton

        name, products = "triton fused", replace(products, fusions=KernelFusions(kernels))
    strict = mode == "strict"
    return Route(name, rows_independent=True, products=products, strict=strict, residents=residents)


def _in_kernels(precision: str) -> str:
    return "tf32x3" if precision == "tf32x3" else "ieee"


def by_kernels(
    left: torch.Tensor,
    right: torch.Tensor,
    out: torch.Tensor,
    *,
    precision: str = "ieee",
    wide: bool = False,
) -> torch.Tensor:
    """Multiply by the kernels of our own; see `tsframe.training.kernels.products.bmm`."""
    from tsframe.training.kernels.products import bmm  # here, for Triton may be missing

    return bmm(left, right, out, precision=precision, wide=wide)


def elementwise(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Multiply one step of the contraction after the other, in elementwise operations.

    On any device every number is summed in ascending order, whatever is computed beside it. Slow;
    for float64 on a GPU, for which there are no kernels of our own.
    """
    out.zero_()
    for k in range(left.shape[2]):
        out.addcmul_(left[:, :, k, None], right[:, k, None, :])
    return out


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


def onednn_fuses_sums() -> bool:
    """Whether oneDNN adds a product to a multiple of what is there with the bits of two calls.

    Returns
    -------
    bool
        True if no bit differs at some shapes with and without remainders, one of them with a
        transposed operand; call it inside the route.
    """
    global _fuses
    if _fuses is None:
        generator = torch.Generator().manual_seed(1)
        same = []
        for slots, rows, inner, columns in ((3, 17, 128, 31), (2, 64, 20, 201), (2, 9, 1500, 11)):
            left = torch.randn(slots, rows, inner, generator=generator)
            right = torch.randn(slots, columns, inner, generator=generator).mT
            there = torch.randn(slots, rows, columns, generator=generator)
            share = torch.full((slots, rows, 1), 0.9)
            for factor in (right, right.contiguous()):
                apart = torch.addcmul(torch.bmm(left, factor), there, share)
                same.append(torch.equal(torch.baddbmm(there, left, factor, beta=0.9), apart))
        _fuses = all(same)
    return _fuses


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
