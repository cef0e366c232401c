"""What a run will take in time and memory, told before it runs.

Trials know their work; how fast a device does it is measured once. All of it supposes that every
student uses its whole budget of steps.
"""

import os
import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsframe.ledger import Array, State

__all__ = ["forecast_memory", "forecast_seconds"]

EFFICIENCY = 0.5  # share of the speed of a plain matrix product that unknown training may reach
CHUNKS_WEIGHED = 100  # whose memory is predicted


def forecast_seconds(
    trials: Sequence[Any],
    flops: Array,
    ledger: Array,
    wanted: npt.NDArray[np.bool_],
    chunk_of: npt.NDArray[np.intp],
    workers: int,
) -> tuple[float, float, str]:
    """Predict how long training will take.

    Parameters
    ----------
    trials : sequence, one a cell
        They may know `shared_flops` and `speed`, see `tsframe.contract.TrialLike`.
    flops : array, shape (cells,)
        Their work.
    ledger : array, shape (cells, entry)
        What the store says of each cell.
    wanted : array of bool, shape (cells,)
        Which are to be trained.
    chunk_of : array of int, shape (cells,)
        In which chunk each lies.
    workers : int
        How many share the chunks.

    Returns
    -------
    tuple
        Seconds at least and at most, and what this rests on: the times of the cells in the store if
        there are any; else the speed of this machine at a small training, or if the trials cannot
        tell that, at a matrix product.
    """
    if not wanted.any():
        return 0.0, 0.0, "nothing to train"
    known = (ledger[:, 0] == State.DONE) & (ledger[:, 4] > 0)
    if known.any():
        rate = float(flops[known].sum() / ledger[known, 4].sum())
        middle = float(flops[wanted].sum()) / (rate * workers)
        return middle / 1.5, middle * 1.5, f"estimate from {known.sum()} cells done"
    if not hasattr(trials[0], "speed"):
        middle = float(flops[wanted].sum()) / (EFFICIENCY * product_rate())
        basis = (
            f"if all train through their budget of steps at {EFFICIENCY:.0%} of the speed of a "
            "matrix product on this machine; a rough estimate"
        )
        return middle / 2, middle * 2, basis
    works = chunk_works(trials, flops, wanted, chunk_of)
    speed = type(trials[0]).speed("auto", threads_each(workers))
    middle = max(works.sum() / workers, works.max()) / speed  # one chunk has one worker
    basis = "if all train through their budget of steps, by the speed of this machine"
    return middle / 1.3, middle * 1.3, basis


def chunk_works(
    trials: Sequence[Any],
    flops: Array,
    wanted: npt.NDArray[np.bool_],
    chunk_of: npt.NDArray[np.intp],
) -> Array:
    """Add up the work of every chunk, what its trials share counted once."""
    own = np.zeros(int(chunk_of.max()) + 1)
    np.add.at(own, chunk_of[wanted], flops[wanted])
    shared: dict[int, dict[Hashable, float]] = defaultdict(dict)
    for cell in np.flatnonzero(wanted).tolist():
        shared[int(chunk_of[cell])].update(getattr(trials[cell], "shared_flops", {}))
    for number, costs in shared.items():
        own[number] += sum(costs.values())
    return own


def forecast_memory(
    trials: Sequence[Any],
    wanted: npt.NDArray[np.bool_],
    chunk_of: npt.NDArray[np.intp],
    workers: int,
) -> float | None:
    """Predict the peak memory of one worker in bytes, if the trials can tell it.

    Of many chunks, 100 are looked at.
    """
    if not wanted.any() or not hasattr(trials[0], "memory"):
        return None
    numbers = np.unique(chunk_of[wanted])
    some = numbers[np.linspace(0, len(numbers) - 1, CHUNKS_WEIGHED).astype(int)]
    threads = threads_each(workers)
    peaks = []
    for number in np.unique(some):
        chunk = [trials[cell] for cell in np.flatnonzero(wanted & (chunk_of == number)).tolist()]
        peaks.append(float(type(chunk[0]).memory(chunk, threads)))
    return max(peaks)


def threads_each(workers: int) -> int:
    """Give the engine threads of each worker that shares this machine."""
    return max(1, (os.cpu_count() or 1) // workers)


def product_rate(dim: int = 512, seconds: float = 0.1) -> float:
    """Measure the speed of float32 matrix products on all cores, in operations a second."""
    matrix = np.ones((dim, dim), np.float32)
    matrix @ matrix  # starts the threads
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        matrix @ matrix
        count += 1
    return 2 * dim**3 * count / passed
