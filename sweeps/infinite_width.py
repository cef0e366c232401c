"""Width to infinity: when is a trained network its kernel?

Networks of one hidden layer in the NTK parametrization, with ReLU or erf units, learn a noisy
linear map by full-batch gradient descent for a fixed number of steps, from zero outputs (hidden
units come in mirrored pairs). Width grows, and the scale alpha of the output goes from rich to
lazy. Every student is held against its linearization and against its limit of infinite width, at
the same rate after as many steps, both in closed form.

The answer: kernels come as width^-0.47 (ReLU) and width^-0.51 (erf) to their limits, and trained
students with them, as width^-0.45. To their own linearization they come faster, for from zero
outputs the first order vanishes: as width^-1.2 with smooth units, -0.74 with ReLUs, whose kinks
cost a power. How far the tangent kernel moves is almost a function of alpha sqrt(width), falling as
its square until kinks take over. Rich training more than halves the error of narrow ReLU networks
on flat inputs (0.38 to 0.17 at width 16), helps less on steep ones (0.22 to 0.13), and makes hardly
a difference at width 1024.

Sources: Jacot, Gabriel & Hongler 2018; Lee et al. 2019; Chizat, Oyallon & Bach 2019; for the role
of alpha sqrt(width) Geiger, Spigler, Jacot & Wyart 2020 (arXiv:1906.08034).

400 students; 1 minute on 2 cores. Larger: WIDTHS below.
"""

from tsframe import (
    Gaussian,
    Jacot2018,
    Linearization,
    LinearTeacher,
    MLP,
    SGD,
    Sloppy,
    Sweep,
    Trial,
    WideLimit,
)

DIM, N_TRAIN = 20, 60
WIDTHS = [16, 64, 256, 1024]  # 4096 as well takes three times as long
MAX_STEPS = 600


def trial(activation, slope, width, output_scale, seed):
    """One student; its weights of variance 2 / fan_in keep the size of ReLU values."""
    return Trial(
        inputs=Gaussian(DIM, Sloppy(slope)),
        teacher=LinearTeacher(norm=1.0, noise=0.3),
        student=MLP(width, 1, activation, Jacot2018(2.0, 0.0, output_scale, mirrored=True)),
        training=SGD(lr=0.1, max_steps=MAX_STEPS),
        n_train=N_TRAIN,
        n_test=200,
        precision="float64",
        measures=[Linearization(probe=200), WideLimit(probe=200)],
        seed=seed,
    )


sweep = Sweep(
    trial,
    activation=["relu", "erf"],
    slope=[0.02, 0.3],
    width=WIDTHS,
    output_scale=[0.1, 0.3, 1.0, 3.0, 10.0],
    seed=range(5),
)
