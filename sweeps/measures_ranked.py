"""Which measure of capacity predicts the test error? Norms, margins, sharpness, bounds, ranked.

Students of many kinds are trained until they fit every label (noisy ones included), and measured in
every way tsframe knows; `analysis/measures_ranked.py` ranks the measures by Kendall's tau over all
students, by tau along one axis at a time (Jiang et al. 2020, arXiv:1912.02178) and by the worst
environment (Dziugaite et al. 2020, arXiv:2010.11924). Test errors are those against the teacher,
so that label noise is an axis like any other. A measure that only tells large samples from small
ones does well in the first and fails in the last.

Found: the PAC-Bayes bound is best over all students (tau 0.47) and along one axis at a time (0.37),
for it alone knows the sample size, the label noise and, a little, the slope; nothing knows width
and batch size, along which errors hardly differ here. Norms, margins and distances grow with n
while the error falls (tau -0.9 along n): divided by sqrt(n) and the margin, as bounds demand, they
are less wrong, and still in reverse for most pairs along the slope. The worst environment of the
bound is the width, a coin (56 percent of the pairs in reverse); that of 18 other measures has more
than 60 percent in reverse, of 11 of them more than 95.

288 students; 1 minute on 2 cores.
"""

from tsframe import (
    DiagonalPosterior,
    EffectiveDimension,
    Gaussian,
    Margins,
    MLP,
    Norms,
    PACBayes,
    SGD,
    Sharpness,
    Sloppy,
    Sweep,
    Teacher,
    TrainLossBelow,
    Trial,
)

DIM = 30


def trial(width, depth, slope, n_train, label_noise, batch_size, seed):
    """One student, measured in every way."""
    return Trial(
        inputs=Gaussian(dim=DIM, spectrum=Sloppy(slope)),
        teacher=Teacher(width=20, classes=2),
        student=MLP(width=width, depth=depth),
        # One loss for all, as in the studies this follows: margins and sharpness depend on it.
        training=SGD(
            lr=0.02,
            momentum=0.9,
            batch_size=batch_size,
            max_steps=3000,
            stop=TrainLossBelow(0.01, check_every=10),
        ),
        n_train=n_train,
        n_test=2000,
        label_noise=label_noise,
        measures=[
            Margins(),
            Norms(),
            Sharpness(directions=10, steps=5),
            EffectiveDimension(precision=10.0),
            PACBayes(DiagonalPosterior(steps=60), draws=400),
        ],
        seed=seed,
    )


sweep = Sweep(
    trial,
    width=[8, 32],
    depth=[1, 2],
    slope=[0.0, 0.1, 0.3],
    n_train=[60, 240],
    label_noise=[0.0, 0.2],
    batch_size=[10, 60],
    seed=range(3),
)
