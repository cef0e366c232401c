"""How fast does theory become exact as the sample grows?

`tsframe.theory.ridge` holds in the limit of large n. On a ladder in n each spectrum keeps its shape
as a function of mode / n, and the penalty its ratio to n, so that every step is the same problem at
another size. The teacher is zero and the labels are pure noise: the test error is the noise that
the student amplifies, the part that converges most slowly. Its distance from theory must shrink as
1/n, along the exact law of finite n where one is known.

36,000 students; 1 minute on 2 cores.
"""

from tsframe import (
    Gaussian,
    Isotropic,
    Linear,
    LinearTeacher,
    PowerLaw,
    Ridge,
    Sloppy,
    Sweep,
    Trial,
)

SPECTRA = {  # of the covariance, for students of n samples; the average variance is one
    "isotropic": lambda n: Isotropic(),
    "power law": lambda n: PowerLaw(exponent=1.5),
    "exponential": lambda n: Sloppy(slope=5 / n),
}
REGIMES = {  # dimensions over samples, and penalty over samples
    "p = 2n, no penalty": (2.0, 0.0),
    "p = n/4, no penalty": (0.25, 0.0),
    "p = 2n, penalty n/10": (2.0, 0.1),
}


def trial(spectrum, regime, n_train, seed):
    """One student of pure noise of unit variance."""
    p_over_n, penalty_over_n = REGIMES[regime]
    return Trial(
        inputs=Gaussian(dim=round(p_over_n * n_train), spectrum=SPECTRA[spectrum](n_train)),
        teacher=LinearTeacher(norm=0.0, noise=1.0),
        student=Linear(),
        training=Ridge(penalty_over_n * n_train),
        n_train=n_train,
        n_test=200,
        seed=seed,
    )


sweep = Sweep(
    trial,
    spectrum=list(SPECTRA),
    regime=list(REGIMES),
    n_train=[8, 16, 32, 64, 128],
    seed=range(800),
)
