"""How fast this machine does predicted work: measured once a device, and kept."""

import json
import os
import platform
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import platformdirs
import torch

from tsframe.training.devices import device_name
from tsframe.training.residing import wanted

__all__ = ["Costed", "kept_speed", "predicted_work"]

# (width, data sets, students on each, steps)
SMALL_SWEEPS = ((10, 8, 8, 200), (60, 4, 4, 120), (300, 1, 4, 30))


class Costed(Protocol):
    """Something to be trained that knows its work, see `tsframe.contract.TrialLike`."""

    @property
    def flops(self) -> float: ...  # noqa: D102
    @property
    def shared_flops(self) -> Mapping[Hashable, float]: ...  # noqa: D102


T = TypeVar("T", bound=Costed)


def kept_speed(
    device: torch.device,
    make: Callable[[int, int, float, int], T],
    train: Callable[[list[T]], Any],
) -> float:
    """Give the speed of a device, in predicted operations a second on one engine thread.

    Parameters
    ----------
    device : torch.device
        Where.
    make : callable (width, seed, lr, max_steps)
        Makes a trial.
    train : callable
        Trains a list of them on one engine thread.

    Returns
    -------
    float
    """
    # Predicted work is in the name: when predictions change, what was measured means nothing.
    work = predicted_work([make(60, 0, 0.01, 100)])
    name = f"{platform.node()}, {device_name(device)}, torch {torch.__version__}, {work:.4g}"
    name += "" if wanted() else ", no residents"
    path = Path(platformdirs.user_cache_dir("tsframe")) / "speed.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return float(known[name])
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    speed = float(np.median([_speed(make, train, 100 * k) for k in range(3)]))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        pass
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps({**known, name: speed}, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError:
        pass  # it is measured again next time
    return speed


def _speed(
    make: Callable[[int, int, float, int], T], train: Callable[[list[T]], Any], first: int
) -> float:
    """Train some small sweeps; give their predicted work by the seconds taken.

    Their seeds, from `first` on, are new to this process: what was drawn before is kept, and sweeps
    do not find it so.
    """
    work, seconds = 0.0, 0.0
    for width, sets, students, steps in SMALL_SWEEPS:
        rates = [0.01 * (k + 1) for k in range(students)]
        seeds = range(first + 1, first + 1 + sets)
        first += 1 + sets
        trials = [make(width, seed, lr, steps) for seed in seeds for lr in rates]
        train([make(width, seeds[0] - 1, 0.01, 1)])  # compiles its kernels
        start = time.perf_counter()
        train(trials)
        seconds += time.perf_counter() - start
        work += predicted_work(trials)
    return work / seconds


def predicted_work(trials: Sequence[Costed]) -> float:
    """Predict the work of training them together, in operations."""
    shared = {key: cost for trial in trials for key, cost in trial.shared_flops.items()}
    return sum(trial.flops for trial in trials) + sum(shared.values())
