"""Compare what `tsframe plan` predicts with what `tsframe run` then takes.

    python -m tests.benchmarks.forecasts [NAME]

Four sweeps, or one of them, none of which was used to fit the constants of the prediction: mixed,
narrow and wide students, and some with dropout, noise or augmented inputs. The speed of the
machine is measured anew at first; memory is that of the largest worker.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tsframe
from tests.benchmarks.extra_costs import KINDS


def sweeps() -> dict[str, tsframe.Sweep]:
    """Make a mixed, a narrow and a wide sweep, and one of much besides SGD."""

    def trial(width, depth, slope, seed, dim=150, batch=100, steps=600):
        return tsframe.Trial(
            inputs=tsframe.Gaussian(dim=dim, spectrum=tsframe.Sloppy(slope)),
            teacher=tsframe.Teacher(width=50),
            student=tsframe.MLP(width, depth),
            training=tsframe.SGD(0.02, momentum=0.9, batch_size=batch, max_steps=steps),
            n_train=1000,
            n_test=2000,
            label_noise=0.1,
            seed=seed,
        )

    def narrow(width, slope, seed):
        return trial(width, 1, slope, seed, dim=80, batch=64, steps=2000)

    def wide(width, slope, seed):
        return trial(width, 2, slope, seed, batch=200, steps=250)

    def beyond(kind, slope, seed):
        plain = trial(40, 2, slope, seed, steps=400)
        return KINDS[kind](plain)

    kinds = ["Adam", "Langevin", "SAM", "Entropy-SGD", "dropout", "augmented"]
    slopes = [0.01, 0.03, 0.1, 0.3]
    return {
        "mixed": tsframe.Sweep(
            trial, width=[8, 20, 50, 120, 250], depth=[1, 2, 3], slope=slopes, seed=range(3)
        ),
        "narrow": tsframe.Sweep(narrow, width=[4, 8, 12, 16], slope=slopes, seed=range(24)),
        "wide": tsframe.Sweep(wide, width=[350, 450, 550], slope=slopes, seed=range(3)),
        "beyond": tsframe.Sweep(beyond, kind=kinds, slope=slopes, seed=range(6)),
    }


def main() -> None:
    """Predict, run and compare."""
    if len(sys.argv) > 2:  # a process of its own, for its peak memory
        name, store = sys.argv[1:]
        planned = tsframe.plan(sweeps()[name], n_jobs=2)
        start = time.perf_counter()
        tsframe.run(sweeps()[name], store, n_jobs=2, progress=False)
        seconds = time.perf_counter() - start
        peak = float(tsframe.open_store(store)["ledger"].sel(entry="peak_bytes").max())
        told = math.sqrt(math.prod(planned.estimate[:2]))
        print(json.dumps([told, seconds, planned.memory, peak]))
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        titles = ("predicted", "taken", "ratio", "memory", "peak", "ratio")
        widths = (12, 10, 8, 12, 10, 8)
        print("sweep   " + "".join(f"{t:>{w}}" for t, w in zip(titles, widths, strict=True)))
        for name in sys.argv[1:] or sweeps():
            command = [sys.executable, "-m", "tests.benchmarks.forecasts", name]
            done = subprocess.run(
                [*command, str(Path(folder) / f"{name}.zarr")],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            told, taken, memory, peak = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{name:8}{told:10.1f} s{taken:8.1f} s{told / taken:8.2f}"
                f"{memory / 1e6:9.0f} MB{peak / 1e6:7.0f} MB{memory / peak:8.2f}"
            )


if __name__ == "__main__":
    main()
