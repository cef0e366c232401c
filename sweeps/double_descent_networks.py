"""Double descent of trained networks: does the test error peak where parameters equal samples?

Networks of one hidden layer, both layers trained, fit a linear teacher with label noise by full
batches of Adam until the loss is small or the budget ends, for every pair of width and sample size.
A network of width w on 16 inputs has 18 w + 1 parameters. The exact twin of this study, with a
frozen first layer, is `double_descent`.

900 students; 2 minutes on 2 cores.
"""

from tsframe import Adam, Gaussian, Isotropic, LinearTeacher, MLP, Sweep, TrainLossBelow, Trial

DIM = 16
SIZES = [16, 24, 32, 48, 64, 96, 128, 192, 256]


def trial(n_train, width, noise, seed):
    """One student; the labels have unit variance before the noise."""
    return Trial(
        inputs=Gaussian(DIM, Isotropic()),
        teacher=LinearTeacher(norm=1.0, noise=noise),
        student=MLP(width, activation="tanh"),
        training=Adam(lr=0.02, max_steps=3000, stop=TrainLossBelow(1e-4, check_every=100)),
        n_train=n_train,
        n_test=1000,
        seed=seed,
    )


sweep = Sweep(
    trial,
    n_train=SIZES,
    width=[1, 2, 3, 4, 6, 8, 12, 16, 32, 64],
    noise=[0.0, 0.5],
    seed=range(5),
)
