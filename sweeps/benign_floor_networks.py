"""Do trained networks need the floor? The tasks of `benign_floor`, learned by networks.

Networks of one hidden layer of 100 units are trained by Adam until every training label is fitted,
the redrawn ones included. Linear theory of least norm, laid over them, is not theirs: they start
from random weights, bend the inputs, and stop at the first exact fit.

480 students; 3 minutes on 2 cores.
"""

from tsframe import Adam, Gaussian, MLP, Sloppy, Sweep, Teacher, Trial, ZeroTrainError


def trial(slope, floor, label_noise, n_train, seed):
    """One student; inputs, labels and noise are those of `benign_floor` at the same values."""
    return Trial(
        inputs=Gaussian(dim=1000, spectrum=Sloppy(slope, floor=floor)),
        teacher=Teacher(width=1, depth=0, classes=2),
        n_train=n_train,
        n_test=2000,
        label_noise=label_noise,
        student=MLP(width=100, depth=1),
        training=Adam(lr=1e-3, batch_size=50, max_steps=5000, stop=ZeroTrainError(check_every=10)),
        seed=seed,
    )


sweep = Sweep(
    trial,
    slope=[0.01, 0.03, 0.1, 0.3, 0.6],
    floor=[0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1],
    label_noise=[0.0, 0.3],
    n_train=[100, 400],
    seed=range(4),
)
