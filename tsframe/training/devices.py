"""Where students are trained: devices, engine threads, and how much one stack may hold."""

import os

import torch

__all__ = [
    "claim_thread",
    "cpu_count",
    "device_name",
    "free_memory",
    "resolve_device",
    "stack_bytes",
]

CACHE = 48e6  # bytes of a stack on the CPU; measured best of 12, 24, 48 and 96 MB
SHARE = 0.3  # of the free memory of a GPU that a stack may take, before any has been too large
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


def stack_bytes(device: torch.device, threads: int, total: float) -> float:
    """Bytes of one stack: what the cache holds, but not so many that a thread has no stack."""
    if device.type == "cuda":
        return _shares.get(str(device), SHARE) * torch.cuda.mem_get_info(device)[0]
    return min(CACHE, max(SMALL_STACK, total / threads))


def free_memory(device: torch.device) -> None:
    """Give back what a stack held that was too large; later ones may be half as large."""
    _shares[str(device)] = _shares.get(str(device), SHARE) / 2
    if device.type == "cuda":
        torch.cuda.empty_cache()


def cpu_count() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def claim_thread() -> None:
    """Set up an engine thread: one thread an operation, no denormal numbers.

    Momentum of a silent unit decays into denormals and, rounded, stays there; many processors
    multiply those a hundred times slower.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
