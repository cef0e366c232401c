"""Benign overfitting: when does fitting noisy labels exactly do no harm?

Students of five widths and two depths learn from a random tanh network, on Gaussian inputs whose
covariance eigenvalues fall off as exp(-slope i). They are trained until every training label is
fitted or the budget ends, with clean labels and with a fifth of the labels redrawn, on fewer and on
more samples than input dimensions. Test error is measured against the noise-free teacher.

960 students; 3 minutes on 2 cores.
"""

import numpy as np

from tsframe import Gaussian, MLP, SGD, Sloppy, Sweep, Teacher, Trial, ZeroTrainError


def trial(slope, width, depth, label_noise, n_train, seed):
    """One student; the trace of the input covariance is the same at every slope."""
    return Trial(
        inputs=Gaussian(dim=200, spectrum=Sloppy(slope)),
        teacher=Teacher(width=100, classes=10),
        n_train=n_train,
        n_test=2000,
        label_noise=label_noise,
        student=MLP(width, depth),
        training=SGD(lr=0.05, momentum=0.9, batch_size=100, max_steps=3000, stop=ZeroTrainError()),
        seed=seed,
    )


sweep = Sweep(
    trial,
    slope=np.geomspace(0.005, 0.5, 8),
    width=[4, 12, 36, 108, 324],
    depth=[1, 2],
    label_noise=[0.0, 0.2],
    n_train=[100, 800],
    seed=range(3),
)
