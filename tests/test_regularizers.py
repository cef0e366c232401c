"""What regularizers change, on a small sweep with its intervals, and what they do not."""

from dataclasses import replace
from typing import Any

import numpy as np

from tsframe.augmentations import FlatNoise
from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.mlp import MLP
from tsframe.teachers import Teacher
from tsframe.training.sgd import SGD
from tsframe.trial import train, Trial

SEEDS = 8
STEPS = SGD(lr=0.05, momentum=0.9, batch_size=25, max_steps=300)
PLAIN = Trial(
    inputs=Gaussian(dim=30, spectrum=Sloppy(0.02)),
    teacher=Teacher(width=30, classes=4),
    student=MLP(60, 2),
    training=STEPS,
    n_train=100,
    n_test=1000,
)
REGULARIZERS: dict[str, dict[str, Any]] = {
    "none": dict(),
    "weight decay": dict(training=replace(STEPS, weight_decay=0.01)),
    "dropout": dict(student=MLP(60, 2, dropout=0.2)),
    "flat noise": dict(augmentation=FlatNoise(20, 0.5)),
}


def test_regularizers_change_the_test_error_and_not_the_ability_to_fit() -> None:
    noises = (0.0, 1.0)
    trials = [
        replace(PLAIN, label_noise=noise, seed=seed, **changes)
        for changes in REGULARIZERS.values()
        for noise in noises
        for seed in range(SEEDS)
    ]
    measured = train(trials, device="cpu")
    shape = (len(REGULARIZERS), len(noises), SEEDS)
    fitted = measured.interpolated.values.reshape(shape)
    assert (fitted == 1.0).all(), "true labels and random ones are fitted exactly by all"
    errors = measured.test_error.values.reshape(shape)
    change = errors[1:, 0] - errors[0, 0]  # in pairs of students of one seed
    sure = np.abs(change.mean(1)) > 5 * change.std(1, ddof=1) / np.sqrt(SEEDS)
    assert sure[0] and change[0].mean() < 0.0, "weight decay lowers it"
    at_random = errors[:, 1].mean(1)
    error = errors[:, 1].std(1, ddof=1) / np.sqrt(SEEDS)
    assert (np.abs(at_random - 0.75) < 5 * error).all(), "random labels leave it at chance"
