"""Time the phase-diagram workload, cold: tsframe against one jitted JAX program per shape.

8 slopes x widths 10, 30, 100, 300 x depths 1, 2 x 4 seeds = 256 students; dim 200, n_train 1000,
10 classes, SGD with momentum 0.9 on minibatches of 100 for 500 steps. All engines get the same
inputs, labels, initial weights and minibatches, compute in IEEE float32 on the same cores, and end
with the test error of every student. Each run is a process of its own; its time leaves out imports
and process start and includes everything else: drawing data, compiling, training, evaluating.
Engines take turns; the table gives medians.

The timing counts only if the train losses after 100 steps agree with a float64 run of tsframe
within 1e-4 relative (median over students; the worst student is printed too).

    python tests/benchmarks/phase_diagram.py [--repeats 3] [--steps 500]

JAX: pip install "tsframe[bench]".
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

WIDTHS, DEPTHS, SEEDS = (10, 30, 100, 300), (1, 2), range(4)
SLOPES = np.geomspace(0.005, 0.5, 8)
DIM, N_TRAIN, N_TEST, BATCH, LR, MOMENTUM = 200, 1000, 1000, 100, 0.05, 0.9
ENGINES = ("tsframe", "jax vmap", "jax loop")
GATE = 1e-4


def trials(steps: int, precision: str = "float32") -> list[Any]:
    """Describe the students, all seeds of a shape together."""
    import tsframe

    return [
        tsframe.Trial(
            inputs=tsframe.Gaussian(dim=DIM, spectrum=tsframe.Sloppy(slope)),
            teacher=tsframe.Teacher(width=100),
            student=tsframe.MLP(width, depth),
            training=tsframe.SGD(LR, momentum=MOMENTUM, batch_size=BATCH, max_steps=steps),
            n_train=N_TRAIN,
            n_test=N_TEST,
            seed=seed,
            precision=precision,
        )
        for depth, width, slope, seed in itertools.product(DEPTHS, WIDTHS, SLOPES, SEEDS)
    ]


def run_tsframe(steps: int, precision: str = "float32") -> dict[str, Any]:
    """Train through `tsframe.train`."""
    import tsframe

    students = trials(steps, precision)
    start = time.perf_counter()
    result = tsframe.train(students, device="cpu")
    seconds = time.perf_counter() - start
    return dict(
        seconds=seconds,
        train_loss=result.train_loss.values.tolist(),
        test_error=result.test_error.values.tolist(),
        note=result.attrs["products"],
    )


def run_jax(steps: int, vmapped: bool) -> dict[str, Any]:
    """Train with one jitted program a shape: scan over steps, vmap or a loop over students."""
    import jax
    import jax.numpy as jnp

    from tsframe.samples import draw_samples
    from tsframe.training.minibatches import epoch_order

    jax.config.update("jax_default_matmul_precision", "highest")
    jnp.zeros(1).block_until_ready()  # the start of the backend is not timed
    students = trials(steps)

    def logits(weights: Any, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w.T + b)
        w, b = weights[-1]
        return x @ w.T + b

    def loss(weights: Any, x: Any, y: Any) -> Any:
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits(weights, x)), y[:, None], 1)
        return -jnp.mean(picked)

    def fit(weights: Any, x: Any, y: Any, order: Any, x_test: Any, y_test: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            weights, velocity = carry
            gradient = jax.grad(loss)(weights, x[rows], y[rows])
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            return (jax.tree.map(lambda w, v: w - LR * v, weights, velocity), velocity), None

        still = jax.tree.map(jnp.zeros_like, weights)
        (weights, _), _ = jax.lax.scan(step, (weights, still), order)
        error = jnp.mean(jnp.argmax(logits(weights, x_test), 1) != y_test)
        return loss(weights, x, y), error

    start = time.perf_counter()
    drawn: dict[Any, Any] = {}
    for t in students:
        if t.sharing_key not in drawn:
            s = draw_samples(t.inputs, t.teacher, N_TRAIN, N_TEST, 0.0, t.seed)
            epochs = -(-steps * BATCH // N_TRAIN)
            order = np.concatenate([epoch_order(t.seed, N_TRAIN, e) for e in range(epochs)])
            drawn[t.sharing_key] = (
                s.x_train.astype(np.float32),
                s.y_train.astype(np.int32),
                order[: steps * BATCH].reshape(steps, BATCH).astype(np.int32),
                s.x_test.astype(np.float32),
                s.y_test.astype(np.int32),
            )
    losses, errors = [], []
    for _, group in itertools.groupby(students, key=lambda t: t.student):
        members = list(group)
        weights = [
            [
                (w[:, :-1].astype(np.float32), w[:, -1].astype(np.float32))
                for w in t.student.initial_weights(DIM, 10, t.seed)
            ]
            for t in members
        ]
        data = [drawn[t.sharing_key] for t in members]
        if vmapped:
            stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
            columns = [jnp.stack(column) for column in zip(*data, strict=True)]
            got = jax.jit(jax.vmap(fit), donate_argnums=0)(stack, *columns)
            losses += np.asarray(got[0]).tolist()
            errors += np.asarray(got[1]).tolist()
        else:
            program = jax.jit(fit)
            pairs = [program(w, *d) for w, d in zip(weights, data, strict=True)]
            losses += [float(pair[0]) for pair in pairs]
            errors += [float(pair[1]) for pair in pairs]
    return dict(
        seconds=time.perf_counter() - start,
        train_loss=losses,
        test_error=errors,
        note=f"jax {jax.__version__}",
    )


def product_rate(engine: str) -> float:
    """Rate of one plain 2048^2 float32 product of the engine's library, in GFLOP/s."""
    n = 2048
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    if engine == "tsframe":
        import torch

        from tsframe.training.products import product_route

        x = torch.as_tensor(a)
        with product_route(torch.device("cpu"), torch.float32):
            times = [_timed(lambda: x @ x) for _ in range(9)]
    else:
        import jax
        import jax.numpy as jnp

        y = jnp.asarray(a)
        times = [_timed(lambda: jax.block_until_ready(y @ y)) for _ in range(9)]
    return 2 * n**3 / statistics.median(times[2:]) / 1e9


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run(engine: str, steps: int, precision: str) -> dict[str, Any]:
    """Run one engine in this process."""
    if engine == "tsframe":
        result = run_tsframe(steps, precision)
    else:
        result = run_jax(steps, vmapped=engine == "jax vmap")
    return result | dict(rate=product_rate(engine))


def in_a_process(engine: str, steps: int, precision: str = "float32") -> dict[str, Any]:
    """Run one engine in a fresh process and read what it prints."""
    command = [sys.executable, __file__, "--engine", engine, "--steps", str(steps)]
    out = subprocess.run(
        [*command, "--precision", precision], check=True, capture_output=True, text=True
    )
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Take turns, check that all computed the same, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--engine", choices=ENGINES, help="run one engine here; print JSON")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(run(options.engine, options.steps, options.precision)))
        return

    truth = np.array(in_a_process("tsframe", 100, "float64")["train_loss"])
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {len(truth)} students")
    for engine in ENGINES:
        off = np.abs(np.array(in_a_process(engine, 100)["train_loss"]) / truth - 1)
        verdict = "ok" if np.median(off) < GATE else "VOID"
        print(f"gate, {engine:9}: median {np.median(off):.1e}, worst {off.max():.1e}  {verdict}")
    runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in ENGINES}
    for _ in range(options.repeats):
        for engine in ENGINES:
            runs[engine].append(in_a_process(engine, options.steps))
            print(f"  {engine:9} {runs[engine][-1]['seconds']:6.1f} s", flush=True)
    ours = statistics.median(r["seconds"] for r in runs["tsframe"])
    steps = len(truth) * options.steps
    print(
        f"\n{'engine':10}{'median s':>9}{'spread':>13}"
        f"{'us/step':>9}{'product GF/s':>14}{'ratio':>7}"
    )
    for engine, results in runs.items():
        times = [r["seconds"] for r in results]
        median = statistics.median(times)
        rate = statistics.median(r["rate"] for r in results)
        print(
            f"{engine:10}{median:9.1f}{min(times):7.1f}-{max(times):<5.1f}"
            f"{median / steps * 1e6:9.0f}{rate:14.0f}{median / ours:7.2f}  {results[0]['note']}"
        )
    errors = {e: np.mean(r[0]["test_error"]) for e, r in runs.items()}
    print("mean test error:", ", ".join(f"{e} {v:.4f}" for e, v in errors.items()))


if __name__ == "__main__":
    main()
