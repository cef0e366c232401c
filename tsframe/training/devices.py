"""Where students are trained: devices, engine threads, and how much one stack may hold."""

import ctypes
import functools
import math
import os
import threading
from typing import Any

import threadpoolctl
import torch

__all__ = [
    "ALONE",
    "EngineThreads",
    "claim_thread",
    "cpu_count",
    "device_name",
    "free_memory",
    "idle_cores",
    "release_team",
    "resolve_device",
    "share_operations",
    "stack_bytes",
    "table_bytes",
    "upload",
]

CACHE = 48e6  # bytes of a stack on the CPU; measured best of 12, 24, 48 and 96 MB
POOL = 8.0  # times as many in a stack whose students stop at times of their own
SHARE = 0.1  # of the free memory of a GPU that a stack may take in its steps, before any has been
# too large: to evaluate it takes several times that, and a tenth holds more than fills the GPU
SOFTLY = 1  # omp_pause_soft: settings such as the number of threads are kept
SMALL_STACK = 1e6  # bytes; smaller stacks are not split to keep all threads busy

_shares: dict[str, float] = {}  # of devices that have run out of memory in this process


def resolve_device(device: str) -> torch.device:
    """Turn the name of a device into the device.

    Raises
    ------
    ValueError
        If it is unknown or not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        found = torch.device("meta")
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}.")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"{device!r} asked, {torch.cuda.device_count()} GPUs found. Use device='cpu'."
        )
    return found


def device_name(device: torch.device) -> str:
    """Name the device for the record, with the model of a GPU or the vector unit of a CPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def table_bytes(device: torch.device) -> float:
    """Bytes of students that step together: what the cache holds."""
    return math.inf if device.type == "cuda" else CACHE


def stack_bytes(device: torch.device, threads: int, total: float, pooled: bool = False) -> float:
    """Bytes of one stack: one table, or several, but not so many that a thread has no stack."""
    if device.type == "cuda":
        return _shares.get(str(device), SHARE) * torch.cuda.mem_get_info(device)[0]
    return min(POOL * CACHE if pooled else CACHE, max(SMALL_STACK, total / threads))


def free_memory(device: torch.device) -> None:
    """Give back what a stack held that was too large; later ones may be half as large."""
    _shares[str(device)] = _shares.get(str(device), SHARE) / 2
    if device.type == "cuda":
        torch.cuda.empty_cache()


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the host to a device, for which the host does not wait."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def cpu_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def idle_cores(device: torch.device, threads: int) -> int:
    """Of so many cores, those that have nothing to do while a device trains; 0 if it is the CPU.

    One drives the device. Where there is no other, it is interrupted for what the device needs
    next.
    """
    return max(1, threads - 1) if device.type == "cuda" else 0


def claim_thread() -> None:
    """Set up an engine thread: one thread an operation, no denormal numbers.

    Momentum of a silent unit decays into denormals and, rounded, stays there; many processors
    multiply those a hundred times slower.
    """
    torch.set_num_threads(1)
    torch.get_num_threads()  # torch sets a new thread up at its first question, and not later
    torch.set_flush_denormal(True)


class EngineThreads:
    """The engine threads of a call, dealt out to the jobs that are left.

    A job has a thread of its own. When fewer jobs are left than threads, each may use as many as
    there are for it: never do all jobs together use more than the call was given.

    Parameters
    ----------
    threads : int
        Of the call.
    jobs : int
        Not finished yet, begun or not; whoever sees one finish lowers the number.

    Attributes
    ----------
    turn : context manager
        For work that is mostly calls: only one thread at a time is in it. The interpreter makes one
        call at a time, and threads that alternate wait for each other at every one: two steps of
        one student of width 30 take 590 us side by side, 140 each one after the other.
    """

    def __init__(self, threads: int, jobs: int) -> None:
        self.threads, self.jobs, self.turn = threads, jobs, threading.Lock()

    def share(self) -> int:
        """Give the number of threads that a job may use now; while it works it can only grow."""
        return max(1, self.threads // max(1, self.jobs))


ALONE = EngineThreads(1, 1)


def share_operations(threads: int) -> None:
    """Let so many threads share each operation that the calling engine thread asks torch for.

    Products by oneDNN and operations element by element have the same bits on any number of
    threads; sums over many elements may not, so they are left to one. Other threads notice nothing:
    `torch.set_num_threads` would also tell those that start later, and MKL, whose bits do depend on
    the number. Where torch has no OpenMP that can be found, nothing is shared.
    """
    if (library := _openmp()) is not None:
        library.omp_set_num_threads(threads)


def release_team() -> None:
    """Let go the threads that OpenMP keeps for the calling thread; its next operation has new ones.

    OpenMP counts them when an engine thread asks for a team of its own, takes the machine for
    overcrowded, and then puts threads to sleep between any two operations: a product of width 500
    takes 310 us so, an operation on it 77 us, instead of 210 and 7.
    """
    pause = getattr(_openmp(), "omp_pause_resource_all", None)  # since OpenMP 5.0
    if pause is not None:
        pause(SOFTLY)


@functools.cache
def _openmp() -> Any:
    """Find the library that decides for torch how many threads share an operation, if there is."""
    found = torch.get_num_threads()
    for one in threadpoolctl.threadpool_info():
        if one["user_api"] == "openmp":
            library = ctypes.CDLL(one["filepath"])
            library.omp_set_num_threads(found + 1)
            taken = torch.get_num_threads()
            library.omp_set_num_threads(found)
            if taken == found + 1:  # others may have brought an OpenMP of their own
                return library
    return None
