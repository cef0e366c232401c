"""What both ways to find students need of a trial, and the samples it tells of."""

from collections.abc import Hashable, Sequence
from typing import Protocol

from tsframe.corruptions import Corruption
from tsframe.inputs import Inputs
from tsframe.samples import AnyTeacher, draw_samples, Samples
from tsframe.training.losses import Objective

__all__ = ["Task", "draw_tasks"]


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


def draw_tasks(tasks: Sequence[Task]) -> list[Samples]:
    """Draw the samples of every task; tasks that learn the same sample get the same object."""
    keys = [(task.sharing_key, task.teacher, task.label_noise) for task in tasks]
    drawn: dict[Hashable, Samples] = {}
    for key, task in sorted(zip(keys, tasks, strict=True), key=lambda pair: pair[1].seed):
        if key not in drawn:  # seed by seed, for samples of one seed begin with the same normals
            drawn[key] = draw_samples(
                task.inputs,
                task.teacher,
                task.n_train,
                task.n_test,
                task.label_noise,
                task.seed,
                task.corruption,
            )
    return [drawn[key] for key in keys]
