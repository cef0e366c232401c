"""What trials cost in work and memory, so that a plan knows before it runs.

All work is told in operations of a float32 product that one core does in the same time; steps cost
what `tsframe.training.prices` says.
"""

from collections.abc import Hashable, Sequence
from typing import cast, Protocol

from tsframe.batch import pools, step_cost, StepTask
from tsframe.inputs import KEPT
from tsframe.solving.cost import work, working_set
from tsframe.solving.exact import ExactTask
from tsframe.teachers import REFERENCE_ROWS, Teacher
from tsframe.together import AnyTask
from tsframe.training.devices import resolve_device, stack_bytes
from tsframe.training.minibatches import ROWS_AT_ONCE
from tsframe.training.prices import NORM_VALUES, StepCost
from tsframe.training.products import PRECISIONS
from tsframe.training.stopping import BestValidation

__all__ = ["CostedTask", "memory_of", "shared_work", "work_of", "working_set_of"]

NORMAL, NUMBER = 2000.0, 800.0  # to draw a standard normal, and to make a labeled input of it
TEACHER = 6.5e8  # to calibrate a teacher on reference inputs
DATA = 12.0  # bytes of an input, in float64 and as the engine has it
PROCESS = 4.5e8  # bytes of a process with torch in it that has trained something small


class CostedTask(AnyTask, Protocol):
    """A task with all keys; see `tsframe.trial.Trial`."""

    @property
    def shape_key(self) -> Hashable: ...  # noqa: D102 - described by Trial


def work_of(task: CostedTask) -> float:
    """Predict the work of a student that is its own, if its whole budget of steps is used."""
    if task.exact:
        return work(cast(ExactTask, task))
    stepping = cast(StepTask, task)
    cost, training = _steps(stepping), stepping.training
    wholes = 1 + len(stepping.curve_steps)
    folding = len(cost.shapes) - 1 if cost.normalized else 0  # passes: one for each hidden layer
    rows = wholes * ((1 + folding) * task.n_train + task.n_test)
    if (stop := training.stop) is not None:
        look = min(task.n_train, ROWS_AT_ONCE)  # mostly they are over after the first block
        if isinstance(stop, BestValidation):
            look = task.n_train + stop.rows
        rows += training.max_steps // stop.check_every * (folding * task.n_train + look)
    asked = sum(measure.flops(stepping.student_shape) for measure in stepping.measures)
    return cost.own + cost.looks(rows) + (1 + len(stepping.measure_steps)) * asked


def shared_work(task: CostedTask) -> dict[Hashable, float]:
    """Predict work that is done once for all tasks of a call that have it under an equal key."""
    if task.exact:
        return {}
    cost = _steps(cast(StepTask, task))
    taught, rows = isinstance(task.teacher, Teacher), task.n_train + task.n_test
    normals = NORMAL * (rows + taught * REFERENCE_ROWS) * task.inputs.dim
    drawing = NUMBER * rows * task.inputs.dim + taught * TEACHER
    return {
        ("normals", task.inputs.dim, rows, taught, task.seed): normals,
        ("drawing", task.sharing_key): drawing,
        ("minibatches", cast(StepTask, task).minibatch_key): cost.of_data_set,
        ("stack", task.step_key): cost.of_stack,
        ("shape", task.shape_key): cost.of_shape,
    }


def working_set_of(task: CostedTask) -> float:
    """Give the bytes that a student goes through in every step: what a cache should hold."""
    if task.exact:
        return working_set(cast(ExactTask, task))
    cost, copies = _steps(cast(StepTask, task)), cast(StepTask, task).training.copies
    values = 4.0 * cost.units + NORM_VALUES * cost.normalized_units
    numbers = copies * cost.weights + values * cost.batch
    return PRECISIONS[str(task.precision)].itemsize * numbers


def memory_of(tasks: Sequence[CostedTask], threads: int) -> float:
    """Predict the memory of a process that trains these together on the CPU, in bytes."""
    stepping = [task for task in tasks if not task.exact]
    keys = [cast(StepTask, task).minibatch_key for task in stepping]
    numbers = [(task.n_train + task.n_test) * task.inputs.dim for task in stepping]
    sets = dict(zip(keys, numbers, strict=True))
    sizes = [PRECISIONS[str(task.precision)].itemsize for task in stepping]
    engine = sum(
        _steps(cast(StepTask, task)).bytes(itemsize)
        for task, itemsize in zip(stepping, sizes, strict=True)
    )
    held = sum(task.bytes for task in stepping)
    stepped = cast(Sequence[StepTask], stepping)
    at_once = (
        threads * stack_bytes(resolve_device("cpu"), threads, held, pools(stepped)) / max(held, 1.0)
    )
    exact = sorted((task.bytes for task in tasks if task.exact), reverse=True)[:threads]
    drawn = {
        (task.inputs.dim, task.seed): (REFERENCE_ROWS + task.n_train + task.n_test)
        * task.inputs.dim
        for task in tasks
    }
    normals = min(KEPT, 8.0 * sum(drawn.values()))
    return PROCESS + normals + min(1.0, at_once) * (engine + DATA * sum(sets.values())) + sum(exact)


def _steps(task: StepTask) -> StepCost:
    return step_cost(task, task.training.gradients * task.training.max_steps)
