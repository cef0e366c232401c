"""The workloads on which engines are compared: dim 200, 10 classes, SGD with momentum 0.9."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tsframe

__all__ = ["CASES", "DIM", "MOMENTUM", "Case", "flops"]

DIM, CLASSES, MOMENTUM = 200, 10, 0.9


@dataclass(frozen=True)
class Case:
    """A workload.

    Attributes
    ----------
    what : str
        In words.
    steps : int
        Optimizer steps of each student in a timed run.
    engines : tuple of str
        Who takes part.
    build : callable (steps, precision)
        Gives the trials; students of one shape lie side by side.
    device : str
        What it is made for.
    timed : int
        So many of them are timed; all are judged by their losses.
    """

    what: str
    steps: int
    engines: tuple[str, ...]
    build: Callable[[int, str], list[tsframe.Trial]]
    device: str = "cpu"
    timed: int = 10**9


def flops(trials: list[tsframe.Trial]) -> float:
    """Count the operations of the products of one step of all trials."""
    total = 0.0
    for one in trials:
        assert isinstance(one.student, tsframe.MLP) and isinstance(one.training, tsframe.SGD)
        shapes = one.student.layer_shapes(DIM, CLASSES)
        weights = [after * before for after, before in shapes]
        total += 2.0 * (one.training.batch_size or one.n_train) * (3 * sum(weights) - weights[0])
    return total


def trial(
    student: tsframe.MLP,
    steps: int,
    precision: str,
    *,
    seed: int,
    slope: float = 0.05,
    lr: float = 0.05,
    n_train: int = 1024,
    batch_size: int = 128,
) -> tsframe.Trial:
    """Describe one student."""
    return tsframe.Trial(
        inputs=tsframe.Gaussian(dim=DIM, spectrum=tsframe.Sloppy(slope)),
        teacher=tsframe.Teacher(width=100, classes=CLASSES),
        student=student,
        training=tsframe.SGD(lr, momentum=MOMENTUM, batch_size=batch_size, max_steps=steps),
        n_train=n_train,
        n_test=1000,
        seed=seed,
        precision=precision,
    )


def phase_diagram(steps: int, precision: str) -> list[tsframe.Trial]:
    """Build 8 slopes x widths 10, 30, 100, 300 x depths 1, 2 x 4 seeds, n_train 1000, batch 100."""
    widths, slopes = (10, 30, 100, 300), np.geomspace(0.005, 0.5, 8).tolist()
    return [
        trial(
            tsframe.MLP(width, depth),
            steps,
            precision,
            seed=seed,
            slope=slope,
            n_train=1000,
            batch_size=100,
        )
        for depth, width, slope, seed in itertools.product((1, 2), widths, slopes, range(4))
    ]


def alike(
    students: int, width: int, depth: int, on_one_data_set: int
) -> Callable[[int, str], list[tsframe.Trial]]:
    """Build students of one shape, some on each data set, that differ by their learning rates."""
    rates = np.geomspace(0.01, 0.1, on_one_data_set).tolist()

    def build(steps: int, precision: str) -> list[tsframe.Trial]:
        return [
            trial(
                tsframe.MLP(width, depth),
                steps,
                precision,
                seed=k // on_one_data_set,
                lr=rates[k % on_one_data_set],
            )
            for k in range(students)
        ]

    return build


PEERS = ("tsframe", "jax vmap", "jax loop", "torch vmap", "torch loop")
JAX = ("tsframe", "jax vmap", "jax loop")
LOOP = ("tsframe", "torch loop", "jax loop")
GPU = ("tsframe", "tsframe fast", "tsframe tf32x3", "jax vmap", "torch vmap", "torch loop")

CASES = {
    "phase_diagram": Case(
        "8 slopes x widths 10, 30, 100, 300 x depths 1, 2 x 4 seeds", 500, JAX, phase_diagram
    ),
    "narrow": Case(
        "256 students, width 10, depth 1, 16 on each data set", 1000, PEERS, alike(256, 10, 1, 16)
    ),
    "narrow_own": Case(
        "256 students, width 10, depth 1, each its own data", 1000, JAX, alike(256, 10, 1, 1)
    ),
    "medium": Case(
        "64 students, width 100, depth 2, 16 on each data set", 800, PEERS, alike(64, 100, 2, 16)
    ),
    "wide": Case(
        "32 students, width 500, depth 2, 16 on each data set", 100, JAX, alike(32, 500, 2, 16)
    ),
    "alone_10": Case("one student, width 10, depth 1", 4000, LOOP, alike(8, 10, 1, 1), timed=1),
    "alone_100": Case("one student, width 100, depth 2", 2000, LOOP, alike(8, 100, 2, 1), timed=1),
    "alone_500": Case("one student, width 500, depth 2", 500, LOOP, alike(8, 500, 2, 1), timed=1),
    "gpu_narrow": Case(
        "4096 students, width 10, depth 1, 16 on each data set",
        4000,
        GPU,
        alike(4096, 10, 1, 16),
        "cuda",
    ),
    "gpu_medium": Case(
        "1024 students, width 100, depth 2, 16 on each data set",
        4000,
        GPU,
        alike(1024, 100, 2, 16),
        "cuda",
    ),
    "gpu_own": Case(
        "1024 students, width 100, depth 2, each its own data",
        4000,
        GPU,
        alike(1024, 100, 2, 1),
        "cuda",
    ),
    "gpu_wide": Case(
        "128 students, width 500, depth 2, 16 on each data set",
        1000,
        GPU,
        alike(128, 500, 2, 16),
        "cuda",
    ),
}
