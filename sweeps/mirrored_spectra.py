"""Mirrored spectra: do activations, Jacobian, Fisher and Hessian have the spectrum of the data?

The claim (Yang, Mao & Chaudhari 2022, arXiv:2110.14163): the spectrum of the inputs shows in all
that a network learns, so that sloppy inputs give a sloppy Fisher information, while on isotropic
ones it drops as often as there are classes and is flat behind. Here students of depth 0, 1 and 2
learn from Gaussian inputs of slope 0 (isotropic) to 0.4, of 4 and of 10 classes, before and after
training. Inputs are small, so that hidden units stay on the straight part of the sigmoid, as in the
published recipe, or of variance one.

For the linear softmax at zero weights all is exact: every eigenvalue of the inputs stands in the
Fisher information K - 1 times, over K. So its slope is fitted over the modes 4 to 36 of the data,
K - 1 of its own for each, and is counted per mode of the data.

The Hessian is the Fisher information and a remainder, whose norm bounds how far an eigenvalue of
one can be from that of the other: only those above it must be mirrored in both.

Found: on small inputs and before training the claim holds. A relative change of the data's slope
arrives in that of the Fisher information by 0.78, and fully without hidden layers. At variance one
the units bend, and features that the data do not have fill the tail: 0.34. Training does the same,
0.23 and 0.15, and gives isotropic data a tail of their own, of slope 0.15 instead of 0.08. It is
the probabilities that do it: without hidden layers no Jacobian changes, and isotropic data of
variance one still go from 0.07 to 0.14; a student is sure of some samples, not of others. The head
holds one mode less than there are classes, for a softmax ignores a shift: in 96 percent of the
networks before and 95 after. In the Hessian the modes of the data drown before training: its
remainder is 46 times the first of them in the median, and 1.4 times after.

216 students; 2 minutes on 2 cores, most of it for eigenvalues of matrices of side 1080.
"""

from tsframe import (
    ActivationSpectra,
    Adam,
    FisherSpectrum,
    Gaussian,
    GradientSpectra,
    HessianSpectrum,
    InputSpectrum,
    JacobianSpectrum,
    MLP,
    Sloppy,
    Sweep,
    Teacher,
    Trial,
    ZeroTrainError,
)

DIM = 40
PROBE = 120  # training inputs that spectra are measured on
MODES = (4, 36)  # of the data, over which slopes are fitted; an outlier and the end are left out


def trial(slope, trace, depth, classes, seed):
    """One student, measured at initialization and at the end."""
    copies = classes - 1  # of every mode of the data in the Fisher information
    window = (MODES[0] * copies, MODES[1] * copies)
    measures = [
        InputSpectrum(probe=PROBE, tail=MODES),
        JacobianSpectrum(output=0, probe=PROBE, tail=MODES),
        FisherSpectrum(probe=PROBE, tail=window),
    ]
    if depth:
        measures += [
            ActivationSpectra(probe=PROBE, tail=MODES),
            GradientSpectra(probe=PROBE),
            FisherSpectrum(probe=PROBE, tail=window, layer=0),
            HessianSpectrum(ends=5, dense=0, steps=60, probe=PROBE),
        ]
    return Trial(
        inputs=Gaussian(dim=DIM, spectrum=Sloppy(slope, trace=trace)),
        teacher=Teacher(width=100, classes=classes),
        n_train=1000,
        n_test=1000,
        student=MLP(width=100, depth=depth, activation="sigmoid"),
        training=Adam(lr=3e-3, batch_size=100, max_steps=2000, stop=ZeroTrainError()),
        seed=seed,
        measures=measures,
        measure_steps=(0,),
    )


sweep = Sweep(
    trial,
    slope=[0.0, 0.025, 0.05, 0.1, 0.2, 0.4],
    trace=[0.1, float(DIM)],
    depth=[0, 1, 2],
    classes=[4, 10],
    seed=range(3),
)
