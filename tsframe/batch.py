"""One batch: students that step together are drawn, seated, trained and measured.

spectrum -> inputs -> teacher -> samples -> students -> training -> measures, in the order of the
picture. Everything random hangs on the seeds of the tasks; nothing here is random by itself.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch

from tsframe.arrays import check_rows
from tsframe.augmentations import Augmentation
from tsframe.checks import check_steps_asked
from tsframe.measures.classes import class_measures
from tsframe.measures.errors import errors, is_interpolated
from tsframe.measures.norms import distance, weight_norm
from tsframe.measures.taking import AskingTask, blank_measures, take_measures
from tsframe.samples import Samples
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.layout import Layout
from tsframe.students.mlp import MLP
from tsframe.students.stack import Stack
from tsframe.tasks import draw_tasks, draw_validation, Each
from tsframe.training.adam import Adam
from tsframe.training.batching import tables_of
from tsframe.training.devices import ALONE, EngineThreads, table_bytes
from tsframe.training.engine import Snapshot, train_stack
from tsframe.training.folding import folded
from tsframe.training.graphs import Replays
from tsframe.training.minibatches import SampleSet, TrainingSet, Vary
from tsframe.training.optimizer import Optimizer
from tsframe.training.prices import StepCost, table_price
from tsframe.training.products import PRECISIONS, Route
from tsframe.training.residing import rehearsal_of, stays
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation

__all__ = [
    "MEASURES",
    "MEASURES_OF_CLASSES",
    "MEASURES_OVER_STEPS",
    "Drawn",
    "StepTask",
    "check_steps",
    "draw_batch",
    "is_resident",
    "pools",
    "step_cost",
    "train_batch",
]

MEASURES_OVER_STEPS = ("train_error", "test_error", "train_loss", "test_loss")
MEASURES = (*MEASURES_OVER_STEPS, "steps", "interpolated", "weight_norm", "distance_from_init")
MEASURES_OF_CLASSES = ("class_perplexity", "majority_error")


class StepTask(AskingTask, Protocol):
    """A task whose student is trained step by step."""

    @property
    def student(self) -> MLP: ...  # noqa: D102 - described by Trial
    @property
    def training(self) -> Optimizer: ...  # noqa: D102
    @property
    def augmentation(self) -> Augmentation | None: ...  # noqa: D102
    @property
    def curve_steps(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    @property
    def order_key(self) -> int | None: ...  # noqa: D102
    @property
    def minibatch_key(self) -> Hashable: ...  # noqa: D102
    @property
    def bytes(self) -> float: ...  # noqa: D102


def check_steps(task: StepTask) -> None:
    """Refuse a training that does not fit its task, e.g. while a trial is built.

    Raises
    ------
    ValueError
        If minibatches, steps or rates cannot be.
    """
    training, batch_size = task.training, task.training.batch_size
    if batch_size is not None and batch_size > task.n_train:
        raise ValueError(
            f"batch_size must be at most n_train={task.n_train}; got batch_size={batch_size}. "
            "Use batch_size=None for full batch."
        )
    if task.student.normalized and 1 in (batch_size, task.n_train):
        raise ValueError(
            "batch_norm=True needs minibatches of at least 2 samples to take a variance over; got "
            f"batch_size={batch_size}, n_train={task.n_train}."
        )
    if isinstance(training.stop, BestValidation):  # its rows follow those of training
        check_rows(task.inputs, task.teacher, task.n_train + training.stop.rows, task.n_test)
    check_steps_asked("curve_steps", task.curve_steps, training.max_steps)
    scaled = isinstance(task.student.initialization, Jacot2018)
    if scaled and (not isinstance(training, SGD) or training.weight_decay):
        raise ValueError(
            "Jacot2018 sets the learning rate of each layer, as only SGD without weight decay "
            f"takes it; got training={training!r}. Use SGD(lr), or another initialization."
        )


def pools(tasks: Sequence[StepTask]) -> bool:
    """Whether tasks that can step together pay in larger stacks, of several tables.

    So it is where students end at times of their own. What is drawn on the host is drawn in one
    order, at one table.
    """
    return any(task.training.stop is not None for task in tasks) and all(
        isinstance(task.training, SGD | Adam)
        and not task.student.dropout
        and task.augmentation is None
        for task in tasks
    )


class Drawn(NamedTuple):
    """The data of a stack, task by task; fresh rows for validation, if its rule asks for them."""

    samples: list[Samples]
    validation: list[Samples] | None


def draw_batch(tasks: Sequence[StepTask], each: Each = map) -> Drawn:
    """Draw the data of tasks that can step together; `each` as in `tsframe.tasks.draw_tasks`."""
    samples, stop = draw_tasks(tasks, each), tasks[0].training.stop
    if not isinstance(stop, BestValidation):  # which all have or none, with as many rows
        return Drawn(samples, None)
    return Drawn(samples, draw_validation(tasks, stop.rows, each))


def step_cost(task: StepTask, steps: int = 1) -> StepCost:
    """Give the cost of so many gradients of a task."""
    shapes = task.student.layer_shapes(task.inputs.dim, task.teacher.outputs)
    batch = task.training.batch_size or task.n_train
    return StepCost(shapes, batch, steps, task.student.normalized)


def is_resident(task: StepTask, route: Route, device: torch.device) -> bool:
    """Whether the student of a task stays on the chip of a device, whoever else is trained.

    The first time it may have to be tried, see `tsframe.training.residing`.
    """
    if not route.residents or task.augmentation is not None:
        return False
    told = task.inputs.dim, task.teacher.outputs, task.n_train
    return stays(rehearsal_of(task.student, task.training, task.objective, *told), device)


def train_batch(
    tasks: Sequence[StepTask],
    device: torch.device,
    route: Route,
    interrupted: Callable[[], bool],
    engine_threads: EngineThreads = ALONE,
    replays: Replays | None = None,
    draw: Callable[[], Drawn] | None = None,
) -> dict[str, np.ndarray]:
    """Train the students of tasks that can step together.

    The `step_key` of their trials are equal, and all are residents or none is.

    Parameters
    ----------
    tasks : sequence of StepTask
        One student each.
    device : torch.device
        Where to train.
    route : Route
        How products are computed now. Where rows of a product are not independent, all students
        must have one shape.
    interrupted : callable
        Asked before every step; training ends with InterruptedError once it says so.
    engine_threads : EngineThreads
        Whose threads may share an operation.
    replays : Replays, optional
        Records whole steps; see `tsframe.training.graphs`.
    draw : callable, optional
        Gives their data; by default they are drawn here and now.

    Returns
    -------
    dict of ndarray, shapes (tasks, *inner dims)
        The measures by name, vectors as long as the longest, and ``diverged``.
    """
    first, students = tasks[0], len(tasks)
    dim, outputs = first.inputs.dim, first.teacher.outputs
    places: dict[Hashable, int] = {}  # of the data sets, in the order of their first tasks
    data = [places.setdefault(task.minibatch_key, len(places)) for task in tasks]
    shapes = [(task.student.width, task.student.depth) for task in tasks]
    samples, fresh = draw() if draw is not None else draw_batch(tasks)
    train, test = _on_device(tasks, samples, data, device)
    validation = None if fresh is None else _on_device(tasks, fresh, data, device)[0]

    def arrange(chosen: Sequence[int]) -> Layout:
        return Layout.arrange(
            chosen,
            shapes,
            data,
            dim,
            outputs,
            share_rows=route.rows_independent,
            min_slots=route.min_slots,
            min_work=route.min_work,
            fewest_rows=min(
                train.batch_size,
                *(rows.smallest_block for rows in (train, test, validation) if rows is not None),
            ),
        )

    sizes = [task.bytes for task in tasks]
    costs = dict(zip(shapes, map(step_cost, tasks), strict=True))
    of_table = partial(table_price, costs)
    known = device.type == "cpu"  # whose prices they are
    several, resident = known and pools(tasks), is_resident(first, route, device)

    def cut(chosen: list[int]) -> list[list[int]]:
        limit = table_bytes(device)
        return tables_of(chosen, data, shapes, sizes, limit, of_table) if several else [chosen]

    def price(layout: Layout) -> float:
        if resident:  # a vacant seat costs them nothing
            return sum(costs[shapes[k]].own for k in layout.students.tolist())
        return of_table(layout.groups, layout.places) if known else layout.work

    activation = ACTIVATIONS[first.student.activation]
    start = Stack.zeros(
        arrange(range(students)),
        activation,
        train.inputs,
        first.student.normalized,
        route.products,
    )
    for k, task in enumerate(tasks):
        start.seat(k, task.student.initial_weights(dim, outputs, task.seed))

    initial = folded(start, train)
    rates = [task.student.rates(dim, outputs) for task in tasks]
    scales = [one for one in rates if one is not None] or None  # all have them, or none

    curves = np.full((len(MEASURES_OVER_STEPS), students, len(first.curve_steps)), np.nan)
    asked, measured = blank_measures(tasks), np.full(students, -1)
    for snapshot in train_stack(
        start,
        train,
        first.objective,
        [task.training for task in tasks],
        arrange,
        (*first.curve_steps, *first.measure_steps),
        interrupted,
        scales,
        engine_threads,
        validation,
        [task.student.dropout for task in tasks],
        replays if route.recordable else None,
        cut,
        price,
        resident,
    ):
        now = errors(snapshot, test, first.objective)
        # What is known now holds until a later snapshot says otherwise: a student that stopped
        # stays as it is.
        later = np.searchsorted(first.curve_steps, snapshot.step)
        for curve, name in zip(curves, MEASURES_OVER_STEPS, strict=True):
            curve[:, later:] = now[name][:, None]
        if snapshot.step in first.measure_steps:
            _measure(asked, measured, snapshot, initial, samples, tasks, route, interrupted)
    _measure(asked, measured, snapshot, initial, samples, tasks, route, interrupted)
    rows = now | {
        "steps": snapshot.steps.astype(float),
        "diverged": snapshot.diverged,
        "weight_norm": weight_norm(snapshot.stack, students),
        "distance_from_init": distance(snapshot.stack, initial, students),
    }
    targets = np.stack([s.y_train for s in samples])
    fitted = is_interpolated(rows["train_error"], targets, first.objective) & ~snapshot.diverged
    rows["interpolated"] = fitted.astype(float)
    if first.objective.classes is not None:
        rows |= class_measures(samples)
    if first.curve_steps:
        for curve, name in zip(curves, MEASURES_OVER_STEPS, strict=True):
            rows[f"{name}_curve"] = curve
    return rows | asked


def _measure(
    asked: dict[str, np.ndarray],
    measured: np.ndarray,
    snapshot: Snapshot,
    initial: Stack,
    samples: list[Samples],
    tasks: Sequence[StepTask],
    route: Route,
    interrupted: Callable[[], bool],
) -> None:
    """Take what was asked for of those who have gone on; it holds until they go on again.

    `measured` is the step at which each was measured last; it is written over. Measures have
    products and sums of their own, which are exact for each student on the CPU only.
    """
    done, stack = snapshot.steps, snapshot.stack
    changed = done != measured
    if not asked or not changed.any():
        return
    measured[:] = done
    steps = tasks[0].measure_steps
    names = [name for name in asked if f"{name}_curve" in asked] if steps else list(asked)
    now = {name: asked[name] for name in names}
    for values in now.values():
        values[changed] = np.nan  # who has diverged since has no number any more
    if route.strict and stack.weights[0].is_cuda:
        stack, initial = stack.on_cpu(), initial.on_cpu()
    chosen = changed & ~snapshot.diverged
    take_measures(now, stack, initial, samples, tasks, chosen, done, interrupted)
    later = int(np.searchsorted(steps, snapshot.step))
    for name in names if steps else ():
        asked[f"{name}_curve"][:, later:] = now[name][:, None]


def _on_device(
    tasks: Sequence[StepTask], samples: list[Samples], data: list[int], device: torch.device
) -> tuple[TrainingSet, SampleSet]:
    """Put the samples on the device.

    Inputs are one array a data set with a last column of ones, targets one row a task.
    """
    dtype = PRECISIONS[tasks[0].precision]

    def varied(task: StepTask) -> Vary | None:
        change = task.augmentation
        if change is None:
            return None
        return lambda rows, draws: change(rows, task.inputs, task.seed, draws)

    firsts = [data.index(k) for k in range(max(data) + 1)]

    def inputs(arrays: list[np.ndarray]) -> torch.Tensor:
        rows, dim = arrays[0].shape
        x = torch.ones(len(firsts), rows, dim + 1, dtype=dtype)
        for own, k in zip(x, firsts, strict=True):  # one after another: no second copy of all
            own[:, :dim] = torch.as_tensor(arrays[k])
        return x.to(device)

    def targets(arrays: list[np.ndarray]) -> torch.Tensor:
        y = torch.as_tensor(np.stack(arrays))
        return (y if tasks[0].objective.classes is not None else y.to(dtype)).to(device)

    train = TrainingSet(
        inputs([s.x_train for s in samples]),
        targets([s.y_train for s in samples]),
        [tasks[k].seed for k in firsts],
        tasks[0].training.batch_size or tasks[0].n_train,
        [varied(tasks[k]) for k in firsts],
        [tasks[k].order_key for k in firsts],
    )
    return train, SampleSet(
        inputs([s.x_test for s in samples]), targets([s.y_test for s in samples])
    )
