"""Temperature of the gradient: does noisier SGD find students that generalize better?

The noise of SGD is that of a temperature of learning rate / (2 batch size) (Chaudhari & Soatto
2018, arXiv:1710.11029). Students learn a random network at 18 pairs of learning rate and batch
size, which span three decades of that ratio, on Gaussian inputs of two spectra, with clean and with
noisy labels. All train until the training loss is 0.02, or for one time, learning rate times steps.

The answer here: hardly. From 4e-4 to 0.02, on the flatter spectrum to 0.05, the test error of
students that fit changes by -0.001 (standard error 0.002) a decade, over both spectra and noises;
students of different batch size at one ratio agree. Beyond, where training fails for some and then
for all, it rises to chance. The gain that is published for large learning rates and small batches
is all but absent in networks of one hidden layer on these data: where every training label is
fitted, the noise of the gradient dies with the gradient.

576 students; 1 minute on 2 cores.
"""

import numpy as np

from tsframe import Gaussian, MLP, SGD, Sloppy, Sweep, Teacher, TrainLossBelow, Trial

TIME = 300.0  # learning rate times steps


def trial(lr, batch_size, slope, label_noise, seed):
    """One student; its budget of steps is that of the same time at every learning rate."""
    return Trial(
        inputs=Gaussian(dim=50, spectrum=Sloppy(slope)),
        teacher=Teacher(width=50, classes=4),
        n_train=320,
        n_test=1000,
        label_noise=label_noise,
        student=MLP(width=64, depth=1),
        training=SGD(
            lr,
            batch_size=batch_size,
            max_steps=round(TIME / lr),
            stop=TrainLossBelow(0.02, check_every=50),
        ),
        seed=seed,
    )


sweep = Sweep(
    trial,
    lr=np.geomspace(0.03, 1.0, 6),
    batch_size=[5, 20, 80],
    slope=[0.02, 0.2],
    label_noise=[0.0, 0.3],
    seed=range(8),
)
