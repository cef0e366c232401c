"""Where does the test error peak: at n = dim, at n = width, or at both?

Students that are linear in random features of the inputs are solved exactly, without penalty, for
every pair of width and sample size, on noisy and on clean labels of a linear teacher. Linear
features can only peak where n is the smaller of width and dim. Nonlinear ones interpolate at n =
width, where all that they cannot express is amplified most; if they are nearly linear, they keep
the linear peak at n = dim beside it ("triple descent", d'Ascoli, Sagun & Biroli 2020,
arXiv:2006.03509).

At a peak the mean over seeds is infinite or nearly so; medians are drawn. `analysis` lays
`tsframe.theory.random_features` over them, with the modes of the kernel that the features have in
the limit of large dim. `double_descent_networks` asks the same of networks that train both layers.

10,890 students; 1 minute on 2 cores.
"""

from dataclasses import replace

from tsframe import Gaussian, Isotropic, LinearTeacher, RandomFeatures, Ridge, Sweep, Trial

DIM = 64
FEATURES = {
    "linear": RandomFeatures(1, "identity"),
    "nearly linear (erf, gain 1/2)": RandomFeatures(1, "erf", weight_variance=0.25),
    "relu": RandomFeatures(1, "relu"),
}
SIZES = [8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512]


def trial(features, n_train, width, noise, seed):
    """One student; labels and their noise have a variance of one."""
    return Trial(
        inputs=Gaussian(DIM, Isotropic()),
        teacher=LinearTeacher(norm=1.0, noise=noise),
        student=replace(FEATURES[features], width=width),
        training=Ridge(),
        n_train=n_train,
        n_test=1000,
        seed=seed,
    )


sweep = Sweep(
    trial,
    features=list(FEATURES),
    n_train=SIZES,
    width=SIZES,
    noise=[0.0, 1.0],
    seed=range(15),
)
