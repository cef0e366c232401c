"""Engines that train the same trials: tsframe, torch and JAX, batched by vmap or in a loop.

All get the same inputs, labels, initial weights and minibatches, compute in IEEE float32 (or what
their name says), and end with the train loss and the test error of every student. torch and JAX get
each student's data set beside the student, as one writes it there. On a GPU the loops of torch take
their time at a student, not at a batch: they train some students, and their time is scaled up.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

import tsframe
from tests.benchmarks.cases import DIM, MOMENTUM
from tsframe.samples import draw_samples
from tsframe.training.orders import order_key, orders

__all__ = ["ENGINES", "product_rate", "run"]

Data = tuple[np.ndarray, ...]  # x_train, y_train, minibatches (steps, batch), x_test, y_test
Results = tuple[Any, ...]  # train losses, test errors, and words if there are any to say
FEW = 8  # students of a batch that a loop trains on a GPU


def run(engine: str, trials: list[tsframe.Trial], device: str = "cpu") -> dict[str, Any]:
    """Train all trials; time leaves out imports and includes drawing, compiling, evaluating."""
    prepare, train = ENGINES[engine]
    note = prepare(device)
    some = trials[:FEW] if engine.endswith("loop") and device != "cpu" else trials
    if len(some) < len(trials):
        note += f", scaled up from {FEW} students"
    start = time.perf_counter()
    losses, errors, *words = train(some, device)
    seconds = (time.perf_counter() - start) * len(trials) / len(some)
    note = ", ".join([note, *words, *memory(engine, device)])
    return dict(seconds=seconds, train_loss=losses, test_error=errors, note=note)


def memory(engine: str, device: str) -> list[str]:
    """Say how much of a GPU torch took, where it did."""
    if device == "cpu" or engine.startswith("jax"):
        return []
    import torch

    return [f"{1e-6 * torch.cuda.max_memory_allocated(device):.0f} MB"]


def run_tsframe(mode: str, precision: str | None = None) -> Callable[..., Results]:
    """Train through `tsframe.train`."""

    def train(trials: list[tsframe.Trial], device: str) -> Results:
        if precision:
            trials = [replace(trial, precision=precision) for trial in trials]
        result = tsframe.train(trials, device=device, mode=mode)
        losses, errors = result.train_loss.values.tolist(), result.test_error.values.tolist()
        attrs = result.attrs
        if "graphs" not in attrs:
            return losses, errors
        return losses, errors, f"{attrs['graphs']} graphs in {attrs['graph_seconds']} s"

    return train


def groups_of(trials: list[tsframe.Trial]) -> Iterator[tuple[list[Any], list[Data], np.ndarray]]:
    """Group the trials by the shape of their students.

    Yields
    ------
    tuple
        Initial weights, data and learning rates of the students of one shape.
    """
    drawn: dict[Any, Data] = {}
    for _, some in itertools.groupby(trials, key=lambda t: t.student):
        members: list[Any] = list(some)
        for t in members:
            if t.sharing_key not in drawn:
                drawn[t.sharing_key] = draw(t)
        weights = [
            [
                (w[:, :-1].astype(np.float32), w[:, -1].astype(np.float32))
                for w in t.student.initial_weights(DIM, t.teacher.outputs, t.seed)
            ]
            for t in members
        ]
        rates = np.array([t.training.lr for t in members], dtype=np.float32)
        yield weights, [drawn[t.sharing_key] for t in members], rates


def draw(t: Any) -> Data:
    """Draw the samples of a trial and lay out its minibatches."""
    s = draw_samples(t.inputs, t.teacher, t.n_train, t.n_test, 0.0, t.seed)
    steps, batch = t.training.max_steps, t.training.batch_size
    in_epoch = t.n_train // batch
    epochs = torch.arange(-(-steps // in_epoch))
    order = orders(torch.full_like(epochs, order_key(t.seed)), epochs, t.n_train)
    minibatches = order[:, : in_epoch * batch].reshape(-1, batch)[:steps].int().numpy()
    return (
        s.x_train.astype(np.float32),
        s.y_train.astype(np.int32),
        minibatches,
        s.x_test.astype(np.float32),
        s.y_test.astype(np.int32),
    )


def prepare_jax(device: str) -> str:
    """Import JAX and start its backend, which must be the one asked for."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", device.split(":")[0])
    jax.config.update("jax_default_matmul_precision", "highest")
    jnp.zeros(1).block_until_ready()
    return f"jax {jax.__version__}"


def run_jax(trials: list[tsframe.Trial], vmapped: bool) -> Results:  # where it was prepared
    """Train with one jitted program a shape: scan over steps, vmap or a loop over students."""
    import jax
    import jax.numpy as jnp

    def logits(weights: Any, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w.T + b)
        w, b = weights[-1]
        return x @ w.T + b

    def loss(weights: Any, x: Any, y: Any) -> Any:
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits(weights, x)), y[:, None], 1)
        return -jnp.mean(picked)

    def fit(weights: Any, lr: Any, x: Any, y: Any, order: Any, x_test: Any, y_test: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            weights, velocity = carry
            gradient = jax.grad(loss)(weights, x[rows], y[rows])
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            return (jax.tree.map(lambda w, v: w - lr * v, weights, velocity), velocity), None

        still = jax.tree.map(jnp.zeros_like, weights)
        (weights, _), _ = jax.lax.scan(step, (weights, still), order)
        error = jnp.mean(jnp.argmax(logits(weights, x_test), 1) != y_test)
        return loss(weights, x, y), error

    losses: list[float] = []
    errors: list[float] = []
    for weights, data, rates in groups_of(trials):
        if vmapped:
            stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
            columns = [jnp.stack(column) for column in zip(*data, strict=True)]
            got = jax.jit(jax.vmap(fit), donate_argnums=0)(stack, jnp.asarray(rates), *columns)
            losses += np.asarray(got[0]).tolist()
            errors += np.asarray(got[1]).tolist()
        else:
            program = jax.jit(fit)
            pairs = [program(w, lr, *d) for w, lr, d in zip(weights, rates, data, strict=True)]
            losses += [float(pair[0]) for pair in pairs]
            errors += [float(pair[1]) for pair in pairs]
    return losses, errors


def prepare_torch(device: str) -> str:
    """Import torch and start the device."""
    import torch

    torch.zeros(1, device=device)
    return f"torch {torch.__version__}"


def run_torch_loop(trials: list[tsframe.Trial], device: str) -> Results:
    """Train one student after the other: torch.nn, autograd, torch.optim.SGD."""
    import torch
    from torch import nn

    losses: list[float] = []
    errors: list[float] = []
    for weights, data, rates in groups_of(trials):
        for layers, arrays, lr in zip(weights, data, rates.tolist(), strict=True):
            x, y, order, x_test, y_test = (torch.as_tensor(a, device=device) for a in arrays)
            y = y.long()
            modules: list[nn.Module] = []
            for w, b in layers:
                linear = nn.Linear(w.shape[1], w.shape[0])
                with torch.no_grad():
                    linear.weight.copy_(torch.as_tensor(w))
                    linear.bias.copy_(torch.as_tensor(b))
                modules += [linear, nn.ReLU()]
            model = nn.Sequential(*modules[:-1]).to(device)
            optimizer = torch.optim.SGD(
                model.parameters(), lr, momentum=MOMENTUM, fused=device != "cpu"
            )
            for rows in order:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            with torch.no_grad():
                losses.append(float(nn.functional.cross_entropy(model(x), y)))
                errors.append(float((model(x_test).argmax(1) != y_test).float().mean()))
    return losses, errors


def run_torch_vmap(trials: list[tsframe.Trial], device: str) -> Results:
    """Train the students of a shape together: torch.func.grad under vmap, momentum by hand."""
    import torch
    from torch.func import grad, vmap

    def logits(weights: Any, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = torch.relu(x @ w.T + b)
        w, b = weights[-1]
        return x @ w.T + b

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits(weights, x), y)

    losses: list[float] = []
    errors: list[float] = []
    for weights, data, rates in groups_of(trials):
        stack = [
            tuple(
                torch.as_tensor(np.stack(arrays), device=device)
                for arrays in zip(*layer, strict=True)
            )
            for layer in zip(*weights, strict=True)
        ]
        still = [tuple(torch.zeros_like(p) for p in layer) for layer in stack]
        columns = [np.stack(column) for column in zip(*data, strict=True)]
        x, y, order, x_test, y_test = (torch.as_tensor(a, device=device) for a in columns)
        y, order, each = y.long(), order.long(), torch.arange(len(x), device=device)[:, None]
        lr = torch.as_tensor(rates, device=device)
        for rows in order.unbind(1):
            gradient = vmap(grad(loss))(stack, x[each, rows], y[each, rows])
            for layer, speeds, slopes in zip(stack, still, gradient, strict=True):
                for p, v, g in zip(layer, speeds, slopes, strict=True):
                    v.mul_(MOMENTUM).add_(g)
                    p.sub_(lr.view(-1, *[1] * (p.ndim - 1)) * v)
        losses += vmap(loss)(stack, x, y).tolist()
        wrong = vmap(logits)(stack, x_test).argmax(2) != y_test
        errors += wrong.float().mean(1).tolist()
    return losses, errors


Train = Callable[[list[tsframe.Trial], str], Results]
ENGINES: dict[str, tuple[Callable[[str], str], Train]] = {
    "tsframe": (prepare_torch, run_tsframe("strict")),
    "tsframe fast": (prepare_torch, run_tsframe("fast")),
    "tsframe tf32x3": (prepare_torch, run_tsframe("strict", "tf32x3")),
    "jax vmap": (prepare_jax, lambda trials, _: run_jax(trials, vmapped=True)),
    "jax loop": (prepare_jax, lambda trials, _: run_jax(trials, vmapped=False)),
    "torch vmap": (prepare_torch, run_torch_vmap),
    "torch loop": (prepare_torch, run_torch_loop),
}


def product_rate(engine: str, device: str = "cpu") -> float:
    """Rate of one plain square IEEE float32 product of the engine's library, in GFLOP/s.

    Of side 2048 on the CPU, 4096 on a GPU.
    """
    n = 2048 if device == "cpu" else 4096
    a = np.random.default_rng(0).standard_normal((n, n)).astype(np.float32)
    if engine.startswith("jax"):
        import jax
        import jax.numpy as jnp

        y = jnp.asarray(a)
        times = [_timed(lambda: jax.block_until_ready(y @ y)) for _ in range(9)]
    else:
        import torch

        x = torch.as_tensor(a, device=device)

        def multiply() -> None:
            x @ x
            if device != "cpu":
                torch.cuda.synchronize(device)

        if engine.startswith("tsframe"):
            from tsframe.training.products import product_route

            with product_route(torch.device(device), mode="fast"):  # by torch on any device
                times = [_timed(multiply) for _ in range(9)]
        else:
            times = [_timed(multiply) for _ in range(9)]
    return 2 * n**3 / statistics.median(times[2:]) / 1e9


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
