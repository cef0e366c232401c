"""Time exact Fisher spectra of many students, against dense Jacobians one after another.

    python -m tests.benchmarks.curvature [--students 16] [--dense 3]

Students 200-100-100-10 on 500 probe points, float64: matrices of side 500 * 9 = 4500. Students go
side by side, a core each, as the engine measures them. The dense way is what one would write with
torch.func: Jacobians of the 9 rows of every sample by vmap and jacrev, their product and its
eigenvalues by torch, all cores for one student after another; only some students are done so, and
their mean counts. The eigenvalue solver alone gets as many matrices as there are students. Spectra
of both ways must agree to 1e-8 of the largest eigenvalue.
"""

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from tsframe.measures.curvature import fisher_spectrum
from tsframe.measures.gram import gram
from tsframe.measures.sensitivities import forward, sensitivities
from tsframe.measures.start_rows import fisher_factor
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.mlp import MLP
from tsframe.training.devices import cpu_count

DIM, WIDTH, DEPTH, CLASSES, PROBE = 200, 100, 2, 10, 500
RELU = ACTIVATIONS["relu"]


def student(seed: int) -> list[Tensor]:
    """Draw a student."""
    drawn = MLP(WIDTH, DEPTH).initial_weights(DIM, CLASSES, seed)
    return [torch.as_tensor(layer) for layer in drawn]


def dense(weights: list[Tensor], x: Tensor) -> np.ndarray:
    """Give the Fisher spectrum through the Jacobian of every sample."""

    def logits(layers: list[Tensor], one: Tensor) -> Tensor:
        h = one
        for layer in layers[:-1]:
            h = torch.relu(layer[:, :-1] @ h + layer[:, -1])
        return layers[-1][:, :-1] @ h + layers[-1][:, -1]

    with torch.no_grad():
        factors = fisher_factor(vmap(lambda one: logits(weights, one))(x))
    parts = vmap(
        jacrev(lambda layers, one, factor: factor @ logits(layers, one)), in_dims=(None, 0, 0)
    )(weights, x, factors)
    jacobian = torch.cat([part.flatten(2) for part in parts], dim=2).flatten(0, 1)
    product = jacobian @ jacobian.T / len(x)
    return np.asarray(torch.linalg.eigvalsh(product).numpy()[::-1])


def timed(work: Callable[[], object]) -> float:
    """Give the seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> float:
    """Give the most memory that this process has ever held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Time the three and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=16)
    parser.add_argument("--dense", type=int, default=3)
    arguments = parser.parse_args()
    count, cores = arguments.students, cpu_count()
    x = torch.randn(PROBE, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = [student(seed) for seed in range(count)]
    torch.set_num_threads(1)
    side = PROBE * (CLASSES - 1)
    torch.linalg.eigvalsh(torch.eye(300, dtype=torch.float64))  # load the solver
    before = peak()
    spectra: list[np.ndarray] = []
    with ThreadPoolExecutor(cores) as pool:
        ours = timed(
            lambda: spectra.extend(
                pool.map(lambda own: fisher_spectrum(forward(own, RELU, x)).values, weights)
            )
        )
        held = cores * side**2 * 8 / 1e9
        beyond = peak() - before - held
        passed = forward(weights[0], RELU, x)
        matrix = gram(passed, sensitivities(passed, fisher_factor(passed.outputs))) / PROBE
        solver = timed(lambda: list(pool.map(torch.linalg.eigvalsh, [matrix] * count)))
    torch.set_num_threads(cores)
    sampled, seconds = range(min(arguments.dense, count)), []
    for k in sampled:
        start = time.perf_counter()
        truth = dense(weights[k], x)
        seconds.append(time.perf_counter() - start)
        off = np.abs(spectra[k] - truth).max() / truth[0]
        assert off < 1e-8, f"student {k}: spectra differ by {off:.1e} of the largest eigenvalue"
    slow = float(np.mean(seconds))
    print(f"{count} exact Fisher spectra of side {side} on {cores} cores: {ours:.1f} s")
    print(f"  eigenvalue solver alone: {solver:.1f} s; all of it takes {ours / solver:.2f} of that")
    print(
        f"  dense Jacobians, mean of {len(seconds)} students: {slow:.1f} s each, so "
        f"{slow * count / ours:.1f} times as long"
    )
    print(f"  memory beyond {cores} Gram matrices of {held / cores:.2f} GB: {beyond:.2f} GB")


if __name__ == "__main__":
    main()
