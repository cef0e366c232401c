"""How wide must a network be to fit n random labels: by construction, and by training?

A network of n hidden units and 2 n + dim weights fits any n labels (Zhang et al. 2017, Theorem 1;
`tsframe.memorize` builds it). Here networks of one hidden layer are trained on two classes drawn at
random, at every width, for several n and slopes of the input spectrum, by full batches of Adam
until they fit or the budget ends. The smallest width from which on they always fit is laid beside
the construction, in hidden units and in weights.

The answer: the construction fits always, to 2e-11, by steepness of its slopes alone. Training needs
far fewer units: 10 for 320 labels on flat inputs (8 to 12 with 95 percent), n / 33, with 0.34
of the constructed weights, and a smaller share of them the larger n is. But it pays for a steep
spectrum, which the construction does not notice: at slope 3, where little more than one direction
carries the inputs, it needs 93 units (62 to 132) and 3.3 times the constructed weights, within a
budget of 2,500 steps.

Source: Zhang, Bengio, Hardt, Recht & Vinyals 2017 (arXiv:1611.03530), section 4 and appendix C.

1,344 students; 1 minute on 2 cores. Larger: raise SEEDS, or MAX_STEPS for the steepest slopes.
"""

from tsframe import Adam, Gaussian, MLP, Sloppy, Sweep, Teacher, Trial, ZeroTrainError

DIM = 20
MAX_STEPS = 2500
SEEDS = 6


def trial(n_train, slope, width, seed):
    """One student of random labels."""
    return Trial(
        inputs=Gaussian(dim=DIM, spectrum=Sloppy(slope)),
        teacher=Teacher(width=30, classes=2),
        label_noise=1.0,
        n_train=n_train,
        n_test=200,
        student=MLP(width, depth=1),
        training=Adam(lr=0.02, max_steps=MAX_STEPS, stop=ZeroTrainError(check_every=25)),
        seed=seed,
    )


sweep = Sweep(
    trial,
    n_train=[40, 80, 160, 320],
    slope=[0.0, 1.0, 2.0, 3.0],
    width=[2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192],
    seed=range(SEEDS),
)
