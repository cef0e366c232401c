"""What trials cost in work and memory, so that a plan knows before it runs.

All work is told in operations of a float32 product that one core does in the same time; steps cost
what `tsframe.training.prices` says.

To these come what optimizers other than SGD do to weights, their noise, masks of dropout and
augmentations. Their constants were fitted to seven stacks of widths 10 to 300, depths 1 to 4 and
batches of 32 to 256, each within 13 percent; `python -m tests.benchmarks.extra_costs` compares
what is predicted with what others take. Weight decay, 2 to 5 percent, is left out.
"""

from collections.abc import Hashable, Sequence
from typing import cast, Protocol

from tsframe.augmentations import FlatNoise
from tsframe.batch import pools, step_cost, StepTask
from tsframe.inputs import KEPT
from tsframe.solving.cost import work, working_set
from tsframe.solving.exact import ExactTask
from tsframe.teachers import REFERENCE_ROWS, Teacher
from tsframe.together import AnyTask
from tsframe.training.adam import Adam
from tsframe.training.devices import resolve_device, stack_bytes
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.langevin import Langevin
from tsframe.training.minibatches import ROWS_AT_ONCE
from tsframe.training.optimizer import Optimizer
from tsframe.training.parle import Parle
from tsframe.training.prices import NORM_VALUES, StepCost
from tsframe.training.products import PRECISIONS
from tsframe.training.sam import SAM
from tsframe.training.stopping import BestValidation

__all__ = ["CostedTask", "memory_of", "shared_work", "work_of", "working_set_of"]

NORMAL, NUMBER = 2000.0, 800.0  # to draw a standard normal, and to make a labeled input of it
TEACHER = 6.5e8  # to calibrate a teacher on reference inputs
CARE: dict[type, tuple[float, float]] = {  # beyond SGD, a gradient: for a weight, for a layer
    Adam: (180.0, 1.3e7),
    Langevin: (0.0, 6.5e6),
    SAM: (180.0, 5.5e6),
    EntropySGD: (220.0, 9e5),
    Parle: (400.0, 9e5),
}
DROPPED, MASKS = 785.0, 4.4e7  # to draw whether a hidden unit is silent; for a shape of students
VARIED, VARYING = 1000.0, 2e7  # for a number that an augmentation varies; for a data set
TURNED = 500.0  # more, if inputs are rotated, besides the products with the basis
DATA = 12.0  # bytes of an input, in float64 and as the engine has it
PROCESS = 5e8  # bytes of a process with torch and zarr in it that has trained something small


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
    own = cost.own + cost.steps * _care(training)[0] * cost.weights
    own += training.max_steps * _normals(training) * cost.weights * NORMAL
    if stepping.student.dropout:
        hidden = cost.units - cost.shapes[-1][0]
        own += _minibatches(training) * cost.batch * hidden * DROPPED
    return own + cost.looks(rows) + (1 + len(stepping.measure_steps)) * asked


def shared_work(task: CostedTask) -> dict[Hashable, float]:
    """Predict work that is done once for all tasks of a call that have it under an equal key."""
    if task.exact:
        return {}
    stepping = cast(StepTask, task)
    cost, minibatches = _steps(stepping), _minibatches(stepping.training)
    varying = minibatches * _varying(stepping)
    layer = cost.steps * _care(stepping.training)[1]
    taught, rows = isinstance(task.teacher, Teacher), task.n_train + task.n_test
    normals = NORMAL * (rows + taught * REFERENCE_ROWS) * task.inputs.dim
    drawing = NUMBER * rows * task.inputs.dim + taught * TEACHER
    return {
        ("normals", task.inputs.dim, rows, taught, task.seed): normals,
        ("drawing", task.sharing_key): drawing,
        ("minibatches", stepping.minibatch_key): cost.of_data_set + varying,
        ("stack", task.step_key): cost.of_stack + layer,
        ("shape", task.shape_key): cost.of_shape + layer * (len(cost.shapes) - 1),
        **({("masks", task.shape_key): minibatches * MASKS} if stepping.student.dropout else {}),
    }


def _care(training: Optimizer) -> tuple[float, float]:
    return CARE.get(type(training), (0.0, 0.0))


def _minibatches(training: Optimizer) -> int:
    return training.minibatches * training.max_steps


def _normals(training: Optimizer) -> int:
    """Count the standard normals that a step draws for every weight."""
    if isinstance(training, Langevin):
        return 1
    chain = training.base if isinstance(training, Parle) else training
    noisy = isinstance(chain, EntropySGD) and chain.temperature > 0.0
    return training.minibatches if noisy else 0


def _varying(task: StepTask) -> float:
    """Work of augmenting a minibatch of one data set."""
    change, dim = task.augmentation, task.inputs.dim
    if change is None:
        return 0.0
    rows, varied = task.training.batch_size or task.n_train, dim - change.first
    draws = NORMAL if isinstance(change, FlatNoise) else NUMBER
    turned = TURNED * dim + 8.0 * dim * varied if getattr(task.inputs, "rotate", False) else 0.0
    return VARYING + rows * (VARIED * dim + draws * varied + turned)


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
