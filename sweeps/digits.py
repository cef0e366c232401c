"""Are natural data sloppy, and is it their spectrum that makes them easy?

Networks learn the bundled digits of scikit-learn, 1,797 images of 8 x 8 pixels, beside inputs that
share less and less with them: the digits labeled by a random tanh network instead of by their own
labels; Gaussian inputs of the same second moments, a synthetic twin; Gaussian inputs of the same
size without any slope. Labels are clean or half of them redrawn, and students are trained until all
are fitted. Pixels are scaled to a mean square of one, and not centered.

Needs scikit-learn: ``pip install "tsframe[digits]"``. 576 students; 2 minutes on 2 cores.
"""

import numpy as np
from sklearn.datasets import load_digits

from tsframe import (
    Adam,
    ArrayInputs,
    Gaussian,
    Isotropic,
    Measured,
    MLP,
    OwnLabels,
    Sweep,
    Teacher,
    Trial,
    ZeroTrainError,
)

X, Y = load_digits(return_X_y=True)
X = X / np.sqrt(np.mean(X**2))

DIGITS = ArrayInputs(X, Y)
TWIN = Gaussian(dim=64, spectrum=Measured.from_data(X))
FLAT = Gaussian(dim=64, spectrum=Isotropic())
TEACHER = Teacher(width=100, classes=10)
TASKS = {
    "digits, own labels": (DIGITS, OwnLabels(classes=10)),
    "digits, a teacher's labels": (DIGITS, TEACHER),
    "Gaussian twin, a teacher's labels": (TWIN, TEACHER),
    "isotropic, a teacher's labels": (FLAT, TEACHER),
}


def trial(task, width, n_train, label_noise, seed):
    """One student; rows of the digits are drawn by the seed, and none is in both samples."""
    inputs, teacher = TASKS[task]
    return Trial(
        inputs=inputs,
        teacher=teacher,
        n_train=n_train,
        n_test=500,
        label_noise=label_noise,
        student=MLP(width, depth=1),
        training=Adam(lr=3e-3, batch_size=50, max_steps=4000, stop=ZeroTrainError()),
        seed=seed,
    )


sweep = Sweep(
    trial,
    task=list(TASKS),
    width=[8, 32, 128],
    n_train=[50, 100, 200, 400, 800, 1200],
    label_noise=[0.0, 0.5],
    seed=range(4),
)
