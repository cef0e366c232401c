"""Benign, tempered or catastrophic: what happens to the noise as the sample grows?

Linear students without penalty interpolate pure noise. The overfitting coefficient E0 is their
error on noisy labels over that of the best student, 1 + test_error / noise^2. As n grows it tends
to one where overfitting is benign (eigenvalues i^-1 (1 + log i)^-a with a > 1), to the exponent
alpha of a power law, and to infinity, as slope * n, for a pure exponential (Mallinar et al. 2022,
arXiv:2207.06569).

These are laws of infinitely many modes, of which power laws need millions. The first 1,500 are
drawn here; the rest, each far below what a student can tell apart, adds their sum times the
identity to the products of the inputs, which is what a penalty of that size does. Exponentials end
where the next mode would matter to 1e-8.

4,000 students; 1 to 2 minutes on 2 cores.
"""

import math

from scipy.special import zeta

from tsframe import Gaussian, Linear, LinearTeacher, PowerLaw, Ridge, Sloppy, Sweep, Trial

DIM = 1500  # modes that are drawn of a spectrum without end
SPECTRA = {  # the limit of E0 stands behind the law
    "log-corrected 3": PowerLaw(1.0, log_exponent=3.0),  # 1
    "log-corrected 2": PowerLaw(1.0, log_exponent=2.0),  # 1
    "log-corrected 1.5": PowerLaw(1.0, log_exponent=1.5),  # 1
    "power law 1.5": PowerLaw(1.5),  # 1.5
    "power law 2": PowerLaw(2.0),  # 2
    "power law 3": PowerLaw(3.0),  # 3
    "exponential 0.02": Sloppy(0.02),  # slope * n
    "exponential 0.05": Sloppy(0.05),
    "exponential 0.1": Sloppy(0.1),
    "exponential 0.5": Sloppy(0.5),
}


def rest(law):
    """Sum of the eigenvalues behind the first DIM of a power law, in units of the first one."""
    if law.exponent > 1.0:
        return float(zeta(law.exponent, DIM + 1))
    return (1.0 + math.log(DIM + 0.5)) ** (1.0 - law.log_exponent) / (law.log_exponent - 1.0)


def trial(spectrum, n_train, seed):
    """One student of noise of unit variance."""
    law = SPECTRA[spectrum]
    dim, penalty = DIM, 0.0
    if isinstance(law, Sloppy):
        dim = n_train + math.ceil(20.0 / law.slope)
    else:
        penalty = rest(law) * float(law(DIM)[0])
    return Trial(
        inputs=Gaussian(dim, law),
        teacher=LinearTeacher(norm=0.0, noise=1.0),
        student=Linear(),
        training=Ridge(penalty),
        n_train=n_train,
        n_test=300,
        seed=seed,
    )


sweep = Sweep(trial, spectrum=list(SPECTRA), n_train=[10, 30, 100, 300], seed=range(100))
