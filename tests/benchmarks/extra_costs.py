"""Compare predicted with measured time where training is more than SGD on what was drawn.

    python -m tests.benchmarks.extra_costs

Optimizers with noise or more passes, dropout and augmentations, on three stacks that no constant
of `tsframe.costs` was fitted to. One thread, CPU time; what some steps more take, so that data and
looks drop out. A ratio is that of predicted work to time, divided by the one of SGD on the same
stack: 1 if what comes on top of SGD is predicted as well as SGD.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import tsframe
from tests.benchmarks.growth import Point
from tsframe import Adam, EntropySGD, FlatNoise, Gaussian, Langevin, MLP, Parle, SAM, SGD, Trial

__all__ = ["KINDS", "more", "predicted"]

STACKS = (
    Point(students=12, width=24, depth=3, batch=64, dim=120, shared=3),
    Point(students=24, width=60, depth=1, batch=200, dim=300, shared=4),
    Point(students=6, width=180, depth=2, batch=100, dim=80, shared=1),
)


def _sgd(trial: Trial) -> SGD:
    assert isinstance(trial.training, SGD)
    return trial.training


def _adam(trial: Trial) -> Trial:
    sgd = _sgd(trial)
    return replace(trial, training=Adam(1e-3, batch_size=sgd.batch_size, max_steps=sgd.max_steps))


def _langevin(trial: Trial) -> Trial:
    sgd = _sgd(trial)
    chain = Langevin(1e-3, 1e-6, batch_size=sgd.batch_size, max_steps=sgd.max_steps)
    return replace(trial, training=chain)


def _entropy(trial: Trial, temperature: float = 5e-9) -> EntropySGD:
    few = replace(_sgd(trial), max_steps=max(1, _sgd(trial).max_steps // 4))
    return EntropySGD(few, inner_steps=4, temperature=temperature)


def _dropout(trial: Trial) -> Trial:
    assert isinstance(trial.student, MLP)
    return replace(trial, student=replace(trial.student, dropout=0.3))


def _rotated(trial: Trial) -> Trial:
    assert isinstance(trial.inputs, Gaussian)
    inputs = replace(trial.inputs, rotate=True)
    return replace(trial, augmentation=FlatNoise(30), inputs=inputs)


KINDS: dict[str, Callable[[Trial], Trial]] = {
    "SGD": lambda trial: trial,
    "Adam": _adam,
    "Langevin": _langevin,
    "SAM": lambda trial: replace(trial, training=SAM(_sgd(trial), 0.05)),
    "Entropy-SGD": lambda trial: replace(trial, training=_entropy(trial)),
    "Entropy-SGD, cold": lambda trial: replace(trial, training=_entropy(trial, 0.0)),
    "Parle": lambda trial: replace(trial, training=Parle(_entropy(trial), 2)),
    "dropout": _dropout,
    "augmented": lambda trial: replace(trial, augmentation=FlatNoise(30)),
    "augmented, rotated": _rotated,
}


def predicted(trials: Sequence[Trial]) -> float:
    """Give the predicted work of one call."""
    shared = {key: cost for trial in trials for key, cost in trial.shared_flops.items()}
    return sum(trial.flops for trial in trials) + sum(shared.values())


def taken(trials: Sequence[Trial]) -> float:
    """Give the seconds of CPU time that one call takes."""
    start = time.process_time()
    tsframe.train(trials, device="cpu", threads=1)
    return time.process_time() - start


def more(point: Point, kind: Callable[[Trial], Trial], few: int, many: int) -> tuple[float, float]:
    """Give predicted work and time of as many steps more, the median of three."""
    some, all_of_them = ([kind(trial) for trial in point.trials(n)] for n in (few, many))
    seconds = [taken(all_of_them) - taken(some) for _ in range(3)]
    return predicted(all_of_them) - predicted(some), statistics.median(seconds)


def main() -> None:
    """Print a table."""
    print(f"{'':20}" + "".join(f"{f'width {point.width}':>22}" for point in STACKS))
    rates: list[float] = []
    for name, kind in KINDS.items():
        cells = []
        for k, point in enumerate(STACKS):
            work, seconds = more(point, kind, 8, 8 + round(4000 / point.width))
            rates += [work / seconds] if name == "SGD" else []
            cells.append(f"{seconds:10.2f} s  ratio {work / seconds / rates[k]:.2f}")
        print(f"{name:20}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
    print("GFLOP/s: " + ", ".join(f"{rate / 1e9:.0f}" for rate in rates))


if __name__ == "__main__":
    main()
