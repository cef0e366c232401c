"""What makes overfitting benign: a floor under a steep spectrum.

Linear students of least norm fit noisy numbers exactly. The covariance eigenvalues fall off as
exp(-slope i) over a floor on all n^2 / 8 dimensions, which sums to `floor_trace`. Theory says that
noise is amplified by slope times n without a floor, ever more as n grows: catastrophic. Over a
floor, ever so low, its price falls with n as soon as slope times n is large: benign, for the many
flat directions take up the noise and act on the head as a ridge. Each seed has the same inputs and
the same teacher with and without noise, so the price of the noise is the difference of two
students.

`benign_floor_networks` asks whether trained networks need the floor.

Source: Bartlett et al. 2020 (arXiv:1906.11300), Theorem 6; Mallinar et al. 2022 (arXiv:2207.06569).

1,600 students; 3 minutes on 2 cores.
"""

from tsframe import Gaussian, Linear, LinearTeacher, Ridge, Sloppy, Sweep, Trial


def dim(n_train):
    """Dimensions of the floor: more than in proportion to n, as a benign floor needs."""
    return n_train**2 // 8


def trial(slope, floor_trace, noise, n_train, seed):
    """One student; `floor_trace` in units of the leading exponential, `noise` a deviation."""
    floor = floor_trace / dim(n_train)
    return Trial(
        inputs=Gaussian(dim=dim(n_train), spectrum=Sloppy(slope, floor=floor)),
        teacher=LinearTeacher(norm=1.0, noise=noise),
        n_train=n_train,
        n_test=400,
        student=Linear(),
        training=Ridge(),
        seed=seed,
    )


sweep = Sweep(
    trial,
    slope=[0.05, 0.1, 0.2, 0.4, 0.8],
    floor_trace=[0.0, 0.001, 0.01, 0.1, 1.0],
    noise=[0.0, 0.5],
    n_train=[32, 64, 128, 256],
    seed=range(8),
)
