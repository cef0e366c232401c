"""Students as measures see them: of real tasks, with weights near their initialization."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tsframe.inputs import Gaussian
from tsframe.measures.asking import Measure
from tsframe.measures.learned import Learned
from tsframe.spectra import Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.mlp import MLP
from tsframe.tasks import draw_tasks
from tsframe.teachers import Teacher
from tsframe.training.sgd import SGD
from tsframe.trial import Trial

TASK = Trial(
    inputs=Gaussian(dim=6, spectrum=Sloppy(0.3)),
    teacher=Teacher(width=8, classes=3),
    student=MLP(5, depth=2, activation="tanh"),
    training=SGD(lr=0.1),
    n_train=30,
    n_test=5,
    label_noise=0.2,
)


def learned(trial: Trial = TASK, seeds: Sequence[int] = (0, 1, 2), away: float = 0.5) -> Learned:
    tasks = [replace(trial, seed=seed) for seed in seeds]
    assert isinstance(trial.student, MLP)
    drawn = [
        trial.student.initial_weights(trial.inputs.dim, trial.teacher.outputs, seed)
        for seed in seeds
    ]
    initial = [torch.as_tensor(np.stack(layers)) for layers in zip(*drawn, strict=True)]
    steps = [
        np.stack([np.random.default_rng((seed, k)).standard_normal(w.shape[1:]) for seed in seeds])
        for k, w in enumerate(initial)
    ]
    weights = [w + away * torch.as_tensor(step) for w, step in zip(initial, steps, strict=True)]
    activation = ACTIVATIONS[trial.student.activation]
    return Learned(activation, weights, initial, draw_tasks(tasks), tasks)


def assert_same_bits_in_any_batch(measure: Measure, trial: Trial = TASK) -> None:
    everyone = learned(trial, seeds=range(4))
    together = measure(everyone)
    assert set(together) == set(measure.declare(everyone.shape))
    for chosen in ([2], [3, 2], [1, 2, 0]):
        some = measure(everyone.some(chosen))
        for name, values in together.items():
            np.testing.assert_array_equal(some[name], values[chosen], err_msg=name)
