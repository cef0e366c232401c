"""Rows of the table of a device about the kernels of our own: rates, what fusing saves, residents.

Where the kernels do not pass their self-test every row says so, and the reason stands on stderr.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from tsframe.students.activations import ACTIVATIONS
from tsframe.students.layout import Layout
from tsframe.students.stack import Stack
from tsframe.training.backward import backward
from tsframe.training.cohort import Cohort
from tsframe.training.kernels.rehearsal import refusal_of_residents, Rehearsal
from tsframe.training.kernels.trust import refusal
from tsframe.training.losses import Objective
from tsframe.training.sgd import SGD

__all__ = ["Row", "captured", "kernel_rows"]

Row: TypeAlias = tuple[str, str, Callable[[], float]]
Draw: TypeAlias = Callable[..., Tensor]
Clock: TypeAlias = Callable[[Callable[[], object]], float]
CLASSES = Objective("cross_entropy", 10)
DIM, BATCH, STEPS = 200, 128, 50  # of students on the chip
SHAPES = ((10, 1), (63, 1), (31, 2))  # width and depth of theirs


def kernel_rows(
    device: torch.device, size: Callable[[int], int], draw: Draw, clock: Clock
) -> Iterator[Row]:
    """List what is measured of the kernels.

    Parameters
    ----------
    device : torch.device
        Where.
    size : callable (full)
        Cuts a full size down to the share of it that is wanted.
    draw : callable (*shape)
        Draws numbers on the device.
    clock : callable (call)
        Gives the seconds of a call.

    Yields
    ------
    Row
        What is measured, its unit, and the measurement, NaN where the kernels do not run.
    """
    students = size(1024)
    for precision in ("ieee", "tf32x3"):
        refused = partial(_told, refusal, device, precision)
        for samples in (128, size(5000)):
            shapes = (students, 100, 100), (students, 100, samples)
            what = f"own product [{students}, 100, 100, {samples}], {precision}"
            yield what, "TFLOP/s", partial(_rate, refused, clock, draw, *shapes, precision)
            shapes = (students, 100, samples), (students, samples, 100)
            what = f"own weight gradient [{students}, 100, {samples}, 100], {precision}"
            yield what, "TFLOP/s", partial(_rate, refused, clock, draw, *shapes, precision)
        rows, samples = 100 * students, size(5000)
        what = f"own wide first layer [{rows}, 200, {samples}], {precision}"
        shapes = (1, rows, 200), (1, 200, samples)
        yield what, "TFLOP/s", partial(_rate, refused, clock, draw, *shapes, precision, wide=True)
        what = f"relative error of own products of contraction 1000, {precision}"
        yield what, "1e-7", partial(_error, refused, draw, precision)
    for fused in (True, False):
        name = "fused" if fused else "apart"
        for what, call in (
            ("product and activation", _activate),
            ("pulled product and derivative of the activation", _pull),
            ("gradient of cross-entropy", _descend),
            ("weight gradient and step of SGD", _follow),
        ):
            refused = partial(_told, refusal, device, "ieee")
            yield (
                f"{what}, {name}, {students} students of width 100",
                "ms",
                partial(_milliseconds, refused, clock, call, draw, students, fused),
            )
    for width, depth in SHAPES:
        rehearsal = Rehearsal(width, depth, DIM, 10, "relu", CLASSES)
        refused = partial(_told, refusal_of_residents, device, rehearsal)
        many = size(4096)
        what = f"{many} students of width {width}, depth {depth}, batch {BATCH}"
        shape = (device, many, width, depth)
        yield f"{what}, on the chip", "us a student-step", partial(_stay, refused, clock, *shape)
        yield (
            f"{what}, torch, a graph a step" if device.type == "cuda" else f"{what}, torch",
            "us a student-step",
            partial(_plain, refused, clock, *shape),
        )


def _told(ask: Callable[..., str | None], device: torch.device, what: object) -> bool:
    """Ask whether kernels are refused, and say why; the interpreter is not measured."""
    if device.type != "cuda":
        return True
    reason = ask(device, what)
    if reason is not None:
        print(f"{what}: {reason}", file=sys.stderr)
    return reason is not None


def _rate(
    refused: Callable[[], bool],
    clock: Clock,
    draw: Draw,
    left: tuple[int, int, int],
    right: tuple[int, int, int],
    precision: str,
    wide: bool = False,
) -> float:
    """Give the rate of a product in TFLOP/s."""
    if refused():
        return float("nan")
    from tsframe.training.kernels.products import bmm

    a, b = draw(*left), draw(*right)
    out = draw(left[0], left[1], right[2])
    flops = 2.0 * out.numel() * left[2]
    return 1e-12 * flops / clock(lambda: bmm(a, b, out, precision=precision, wide=wide))


def _error(refused: Callable[[], bool], draw: Draw, precision: str) -> float:
    """Give the relative error of products against float64, in units of 1e-7."""
    if refused():
        return float("nan")
    from tsframe.training.kernels.products import bmm

    a, b, out = draw(4, 100, 1000), draw(4, 1000, 100), draw(4, 100, 100)
    exact = a.double() @ b.double()
    bmm(a, b, out, precision=precision)
    return 1e7 * float((out - exact).norm() / exact.norm())


def _milliseconds(
    refused: Callable[[], bool],
    clock: Clock,
    make: Callable[[Draw, int, bool], Callable[[], object]],
    draw: Draw,
    students: int,
    fused: bool,
) -> float:
    """Time one part of a step."""
    return float("nan") if refused() else 1e3 * clock(make(draw, students, fused))


def _activate(draw: Draw, students: int, fused: bool) -> Callable[[], object]:
    from tsframe.training.kernels.products import activated_bmm, bmm

    weights, inputs, z = (
        draw(students, 100, 101),
        draw(students, 101, 128),
        draw(students, 100, 128),
    )
    value, activation = draw(students, 101, 128)[:, :100], ACTIVATIONS["tanh"]
    if fused:
        return lambda: activated_bmm(weights, inputs, z, value, "tanh")
    return lambda: activation.value(bmm(weights, inputs, z), value)


def _pull(draw: Draw, students: int, fused: bool) -> Callable[[], object]:
    from tsframe.training.kernels.products import bmm, pulled_bmm

    weights, delta = draw(students, 100, 101).mT, draw(students, 100, 128)
    value, z, activation = (
        draw(students, 100, 128),
        draw(students, 100, 128),
        ACTIVATIONS["tanh"],
    )
    whole = draw(students, 101, 128)
    if fused:
        return lambda: pulled_bmm(weights[:, :100], delta, value, z, "tanh")
    return lambda: activation.pullback_(bmm(weights, delta, whole)[:, :100], value, z)


def _descend(draw: Draw, students: int, fused: bool) -> Callable[[], object]:
    from tsframe.training.kernels.losses import gradient_

    logits = draw(students, 10, 128)
    targets = (1e6 * draw(students, 128).abs()).long() % 10
    if fused:
        return lambda: gradient_(CLASSES, logits, targets)
    return lambda: CLASSES.gradient_(logits, targets)


def _follow(draw: Draw, students: int, fused: bool) -> Callable[[], object]:
    from tsframe.training.kernels.products import bmm, followed_bmm

    delta, inputs = draw(students, 100, 128), draw(students, 101, 128).mT
    velocity, weights = draw(students, 100, 101), draw(students, 100, 101)
    gradient = torch.empty_like(velocity)
    rates, momenta = 1e-6 * draw(students, 1, 1).abs(), 0.0 * draw(students, 1, 1) + 0.9
    if fused:
        return lambda: followed_bmm(delta, inputs, velocity, weights, rates, momenta=momenta)

    def apart() -> None:
        torch.addcmul(bmm(delta, inputs, gradient), velocity, momenta, out=velocity)
        weights.addcmul_(velocity, rates, value=-1.0)

    return apart


def _bucket(
    device: torch.device, students: int, width: int, depth: int
) -> tuple[Stack, list[SGD], Tensor, Tensor]:
    """Seat students, sixteen on each data set, and draw them, their inputs and their targets."""
    sets = -(-students // 16)
    data, shapes = [k // 16 for k in range(students)], [(width, depth)] * students
    layout = Layout.arrange(range(students), shapes, data, DIM, 10, share_rows=True)
    weights = [
        torch.randn(shape, device=device) / shape[2] ** 0.5 for shape in layout.weight_shapes()
    ]
    inputs = torch.randn(sets, 1000, DIM + 1, device=device)
    targets = torch.randint(10, (len(layout.slots), 1000), device=device)
    return Stack(layout, ACTIVATIONS["relu"], weights), [SGD(1e-6, 0.9)] * students, inputs, targets


def _stay(
    refused: Callable[[], bool],
    clock: Clock,
    device: torch.device,
    students: int,
    width: int,
    depth: int,
) -> float:
    """Time students that stay on the chip."""
    if refused():
        return float("nan")
    from tsframe.training.kernels.residents import train_residents

    stack, specs, inputs, targets = _bucket(device, students, width, depth)
    velocity = [torch.zeros_like(w) for w in stack.weights]
    told = (
        stack.layout.by_student(stack.weights)[0],
        stack.layout.by_student(velocity)[0],
        inputs,
        targets,
        torch.as_tensor(stack.layout.data, device=device),
        torch.randint(1000, (len(inputs), STEPS, BATCH), device=device),
        torch.full((len(targets), STEPS), specs[0].lr, device=device),
        torch.ones(len(targets), depth + 1, 2, device=device),
        torch.full((len(targets),), specs[0].momentum, device=device),
    )

    def call() -> None:
        train_residents(*told, objective=CLASSES, activation="relu")

    return 1e6 / students / STEPS * clock(call)


def _plain(
    refused: Callable[[], bool],
    clock: Clock,
    device: torch.device,
    students: int,
    width: int,
    depth: int,
) -> float:
    """Time the same students, in steps of the engine."""
    if refused():
        return float("nan")
    stack, specs, inputs, targets = _bucket(device, students, width, depth)
    state = specs[0].start(Cohort(stack.layout, stack.weights, specs, [0] * len(inputs)))
    groups = torch.as_tensor(stack.layout.slot_groups, device=device)
    rows = torch.randint(1000, (len(inputs), BATCH), device=device)
    sets = torch.arange(len(inputs), device=device)[:, None]

    def step() -> None:
        x, y = inputs[sets, rows], targets.gather(1, rows[groups])

        def pull(absorb, minibatch: int = 0) -> None:
            buffers = stack.forward(x)
            CLASSES.gradient_(buffers.logits, y)
            backward(stack, buffers, x, absorb)

        state.step(pull)

    call: Callable[[], object] = step if device.type != "cuda" else captured(step, device)
    return 1e6 / students * clock(call)


def captured(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Capture a call into a CUDA graph and give what replays it."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
