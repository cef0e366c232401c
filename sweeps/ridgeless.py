"""Ridgeless and ridge regression: does theory hold, cell by cell, at any spectrum?

Linear students are solved exactly on Gaussian inputs of five spectra, beside a linear teacher of
equal power on every mode, with and without label noise, with and without a penalty, for fewer and
for more samples than dimensions. `analysis/ridgeless.py` lays `tsframe.theory.ridge` over their
test errors and shows what is left in standard errors; `finite_size` asks how fast that vanishes.

Spectra and penalty are given in units of n_train, so that another size is the same problem. The
values of n_over_p keep 32 dimensions away from 1: at a distance of 1 the mean of the error is
infinite, below 4 its variance, and below 8 the standard errors of a hundred students are not to be
trusted. Students of one seed share their random numbers at every spectrum; with more samples than
dimensions and without penalty their errors are then the same, for there no spectrum matters.

16,000 students; 1 minute on 2 cores.
"""

from tsframe import (
    Gaussian,
    Isotropic,
    Linear,
    LinearTeacher,
    PowerLaw,
    Ridge,
    Sloppy,
    Spiked,
    Sweep,
    Trial,
)

SPECTRA = {  # of the covariance, for students of n samples; the average variance is one
    "isotropic": lambda n: Isotropic(),
    "power law": lambda n: PowerLaw(exponent=1.5),
    "exponential": lambda n: Sloppy(slope=5 / n),
    "exponential + floor": lambda n: Sloppy(slope=20 / n, floor=0.01),
    "spiked": lambda n: Spiked((50.0,) * (n // 8)),
}
N_TRAIN = 256
DIMS = [1024, 640, 400, 288, 224, 160, 96, 48]


def trial(spectrum, n_over_p, penalty_over_n, noise, seed, n_train=N_TRAIN):
    """One student; the penalty stands beside the sum of squares."""
    return Trial(
        inputs=Gaussian(dim=round(n_train / n_over_p), spectrum=SPECTRA[spectrum](n_train)),
        teacher=LinearTeacher(norm=1.0, noise=noise),
        student=Linear(),
        training=Ridge(penalty_over_n * n_train),
        n_train=n_train,
        n_test=500,
        seed=seed,
    )


sweep = Sweep(
    trial,
    spectrum=list(SPECTRA),
    n_over_p=[N_TRAIN / dim for dim in DIMS],
    penalty_over_n=[0.0, 0.1],
    noise=[0.0, 0.5],
    seed=range(100),
)
