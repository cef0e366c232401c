"""Measure the constants that decide how an engine should be built for a device, above all a GPU.

    python -m tests.benchmarks.device [--device cuda] [--share 1.0]

Prints a table for `RESULTS.md`. With `--share 0.1` every size is a tenth: for a CPU, or to see that
it runs. On a CPU there are no graphs, no TF32 and no kernels of our own; their rows say so.
"""

import argparse
import datetime
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from tests.benchmarks.kernels import captured, kernel_rows
from tests.benchmarks.residents import resident_rows

__all__ = ["Measured", "measurements"]

REPEATS = 7


@dataclass(frozen=True)
class Measured:
    """One row of the table.

    Attributes
    ----------
    what : str
        In words, with the shape.
    value : float
        NaN where the device does not have it.
    unit : str
        Of the value.
    """

    what: str
    value: float
    unit: str


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Time a call: the median of seven, each long enough for the clock."""

    def once(count: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        for _ in range(count):
            call()
        synchronize(device)
        return (time.perf_counter() - start) / count

    once(2)  # loads and compiles
    count = max(1, min(1000, int(0.02 / max(once(1), 1e-7))))
    return statistics.median(once(count) for _ in range(REPEATS))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measurements(device: torch.device, share: float = 1.0) -> Iterator[Measured]:
    """Measure the list, one row after another.

    Parameters
    ----------
    device : torch.device
        What is measured.
    share : float
        Of the full sizes, in (0, 1].

    Yields
    ------
    Measured
    """

    def size(full: int) -> int:
        return max(8, round(full * share))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device)

    numbers = draw(size(1 << 14) ** 2)
    target = torch.empty_like(numbers)
    taken = seconds(lambda: target.copy_(numbers), device)
    yield Measured(f"copy of {numbers.numel():,} numbers", 8e-9 * numbers.numel() / taken, "GB/s")
    for name, allowed in (("IEEE float32", "ieee"), ("TF32", "tf32")):
        if allowed == "tf32" and device.type != "cuda":
            yield Measured(f"products in {name}", float("nan"), "TFLOP/s")
            continue
        found = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = allowed
        try:
            yield from _products(name, size, draw, device)
        finally:
            torch.backends.cuda.matmul.fp32_precision = found
    yield from _launches(size, draw, device)
    for what, unit, measure in kernel_rows(device, size, draw, lambda call: seconds(call, device)):
        yield Measured(what, measure(), unit)
    for what, unit, measure in resident_rows(device, size):
        yield Measured(what, measure(), unit)
    keys = torch.rand(size(1024), size(5000), device=device)
    taken = seconds(lambda: keys.argsort(dim=1), device)
    yield Measured(f"argsort of {tuple(keys.shape)}", 1e3 * taken, "ms")


def _products(
    name: str,
    size: Callable[[int], int],
    draw: Callable[..., torch.Tensor],
    device: torch.device,
) -> Iterator[Measured]:
    """Measure the products of an engine in one precision.

    Yields
    ------
    Measured
    """

    def rate(what: str, flops: float, call: Callable[[], object]) -> Measured:
        return Measured(f"{what}, {name}", 1e-12 * flops / seconds(call, device), "TFLOP/s")

    side = size(4096)
    a, b = draw(side, side), draw(side, side)
    yield rate(f"product of side {side}", 2.0 * side**3, lambda: a @ b)
    students = size(1024)
    for width in (100, 104, 128):
        for samples in (128, size(5000)):
            weights, hidden = draw(students, width, width), draw(students, width, samples)
            out = torch.empty(students, width, samples, device=device)
            flops = 2.0 * students * width * width * samples
            what = f"batched product [{students}, {width}, {width}, {samples}]"
            yield rate(what, flops, partial(torch.bmm, weights, hidden, out=out))
            gradient = torch.empty(students, width, width, device=device)
            yield rate(
                f"weight gradient [{students}, {width}, {samples}, {width}]",
                flops,
                partial(torch.bmm, out, hidden.mT, out=gradient),
            )
    x, wide = draw(size(5000), 200), draw(students * 100, 200)
    flops = 2.0 * len(wide) * 200 * len(x)
    yield rate(f"wide first layer [{len(wide)}, 200, {len(x)}]", flops, lambda: wide @ x.T)
    apart, spread = wide.view(students, 100, 200), x.T.expand(students, 200, len(x))
    yield rate("the same as a batched product", flops, lambda: torch.bmm(apart, spread))


def _launches(
    size: Callable[[int], int], draw: Callable[..., torch.Tensor], device: torch.device
) -> Iterator[Measured]:
    """Measure what is paid for calls, biases and graphs.

    Yields
    ------
    Measured
    """
    students = size(1024)
    weights, hidden, bias = (
        draw(students, 100, 100),
        draw(students, 100, 128),
        draw(students, 100, 1),
    )
    fed = seconds(lambda: torch.baddbmm(bias, weights, hidden), device)
    apart = seconds(lambda: torch.bmm(weights, hidden).add_(bias).clamp_min_(0.0), device)
    yield Measured(f"baddbmm of a bias, {students} students of width 100", 1e3 * fed, "ms")
    yield Measured("product, then bias and activation", 1e3 * apart, "ms")
    small = draw(16)
    alone = seconds(lambda: small.add_(1e-9), device)
    yield Measured("a call with nothing to do", 1e6 * alone, "us")
    if device.type != "cuda":
        yield Measured("graph of 20 calls with nothing to do", float("nan"), "us")
        return

    def calls() -> None:
        for _ in range(20):
            small.add_(1e-9)

    taken = seconds(captured(calls, device), device)
    yield Measured("graph of 20 calls with nothing to do", 1e6 * taken, "us")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG", "not set")
    print(
        f"{datetime.date.today()}, {name}, torch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"CUBLAS_WORKSPACE_CONFIG {workspace}, sizes x {options.share:g}\n"
    )
    print("| what | measured |\n|---|---|")
    for row in measurements(device, options.share):
        text = "not on this device" if row.value != row.value else f"{row.value:.3g} {row.unit}"
        print(f"| {row.what} | {text} |", flush=True)


if __name__ == "__main__":
    main()
