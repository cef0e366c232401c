"""Regularizers: are they what keeps networks from fitting noise?

Students wide enough to fit anything learn a random network on Gaussian inputs of two spectra, with
true labels, with a fifth of them redrawn, and with labels that are all random; with no regularizer,
with each of five, and with three at once. Zhang, Bengio, Hardt, Recht & Vinyals 2017
(arXiv:1611.03530, Tables 1 and 4) ask it of images. Test error is measured against the noise-free
teacher, after a budget of steps that is the same for all.

The answer on synthetic data is theirs: regularizers change the test error and not the ability to
fit. On a nearly flat spectrum weight decay and dropout lower the error at true labels from 0.41 by
0.07 and 0.03, on a steep one by 0.02 and not at all; students with either, or with noise in the
flat directions, or with all three, or with batch normalization fit random labels exactly all the
same. Only early stopping declines to, for its validation sample tells it that there is nothing to
learn. Noise in flat directions does no harm where they are flat; where they are not it costs 0.12.
Batch normalization leaves the error as it is on the flat spectrum and adds 0.01 on the steep one.

252 students; 1 minute on 2 cores.
"""

from tsframe import (
    BestValidation,
    FlatNoise,
    Gaussian,
    MLP,
    SGD,
    Sloppy,
    Sweep,
    Teacher,
    Trial,
)

REGULARIZERS = {  # what each changes of student, training and trial
    "none": {},
    "weight decay": {"weight_decay": 0.01},
    "dropout": {"dropout": 0.3},
    "flat noise": {"augmentation": FlatNoise(first=15, strength=0.7)},
    "these three": {
        "weight_decay": 0.01,
        "dropout": 0.3,
        "augmentation": FlatNoise(first=15, strength=0.7),
    },
    "batch norm": {"batch_norm": True},
    "early stopping": {"stop": BestValidation(rows=200, check_every=25)},
}
CLASSES = 4


def trial(regularizer, slope, label_noise, seed):
    """One student; with the label noise at 1 every training label is random."""
    chosen = dict(REGULARIZERS[regularizer])
    own = {name: chosen.pop(name) for name in ("dropout", "batch_norm") if name in chosen}
    augmentation = chosen.pop("augmentation", None)
    steps = dict(lr=0.05, momentum=0.9, batch_size=50, max_steps=1500)
    return Trial(
        inputs=Gaussian(dim=50, spectrum=Sloppy(slope)),
        teacher=Teacher(width=50, classes=CLASSES),
        n_train=200,
        n_test=1000,
        label_noise=label_noise,
        student=MLP(width=128, depth=2, **own),
        augmentation=augmentation,
        training=SGD(**(steps | chosen)),
        seed=seed,
    )


sweep = Sweep(
    trial,
    regularizer=list(REGULARIZERS),
    slope=[0.02, 0.2],
    label_noise=[0.0, 0.2, 1.0],
    seed=range(6),
)
