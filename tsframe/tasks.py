"""What both ways to find students need of a trial, and the samples it tells of."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias

from tsframe.corruptions import Corruption
from tsframe.inputs import Inputs
from tsframe.samples import AnyTeacher, draw_samples, Samples
from tsframe.training.losses import Objective

__all__ = ["Each", "Task", "draw_tasks", "draw_validation"]


class Task(Protocol):
    """What is needed of a trial; see `tsframe.trial.Trial` for the meaning of each."""

    @property
    def inputs(self) -> Inputs: ...  # noqa: D102 - described by Trial
    @property
    def teacher(self) -> AnyTeacher: ...  # noqa: D102
    @property
    def objective(self) -> Objective: ...  # noqa: D102
    @property
    def sharing_key(self) -> Hashable: ...  # noqa: D102
    @property
    def n_train(self) -> int: ...  # noqa: D102
    @property
    def n_test(self) -> int: ...  # noqa: D102
    @property
    def label_noise(self) -> float: ...  # noqa: D102
    @property
    def corruption(self) -> Corruption | None: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


Each: TypeAlias = Callable[[Callable[[Task], Samples], Iterable[Task]], Iterable[Samples]]


def draw_tasks(tasks: Sequence[Task], each: Each = map) -> list[Samples]:
    """Draw the samples of every task; tasks that learn the same sample get the same object.

    Parameters
    ----------
    tasks : sequence of Task
        In any order.
    each : callable
        Draws for many tasks, as `map` does or side by side; enters no result.

    Returns
    -------
    list of Samples
        In the order of `tasks`.
    """
    return _draw(tasks, 0, each)


def draw_validation(tasks: Sequence[Task], rows: int, each: Each = map) -> list[Samples]:
    """Draw a validation sample for every task: the rows that follow its training sample.

    Parameters
    ----------
    tasks, each
        As in `draw_tasks`.
    rows : int
        Number of validation rows, >= 1.

    Returns
    -------
    list of Samples
        The validation sample in place of the training sample; its test sample is of no use.
    """

    def rest(longer: Samples, n: int) -> Samples:
        return replace(
            longer,
            x_train=longer.x_train[n:],
            y_train=longer.y_train[n:],
            y_train_clean=longer.y_train_clean[n:],
        )

    drawn = _draw(tasks, rows, each)
    return [rest(longer, task.n_train) for longer, task in zip(drawn, tasks, strict=True)]


def _draw(tasks: Sequence[Task], more: int, each: Each) -> list[Samples]:
    """Draw samples with more training rows than a task has, and then with one test row."""

    def draw(task: Task) -> Samples:
        return draw_samples(
            task.inputs,
            task.teacher,
            task.n_train + more,
            1 if more else task.n_test,
            task.label_noise,
            task.seed,
            task.corruption,
        )

    keys = [(task.sharing_key, task.teacher, task.label_noise) for task in tasks]
    # Seed by seed, for samples of one seed begin with the same normals.
    different = dict(sorted(zip(keys, tasks, strict=True), key=lambda pair: pair[1].seed))
    drawn = dict(zip(different, each(draw, different.values()), strict=True))
    return [drawn[key] for key in keys]
