"""Deep linear models: what does depth do to what gradient descent finds?

A matrix of low rank is seen at some of its entries, and a product of one to four matrices is
trained on them from a small start by gradient flow, beside the completion of least nuclear norm.
Where all entries are seen this is a deep linear network on white inputs, which starts aligned with
the target there, so that the closed form of its modes holds.

The answer: it sharpens the order in which modes are learned, as the closed form says, and prefers
low rank, not a small norm. From 1.7 to 2.8 entries a degree of freedom three and four layers find
the matrix (error 4e-3 to 7e-5) where the least nuclear norm (0.1 to 5e-3) and two layers, close to
it, do not; their nuclear norm is up to 5 percent larger than the least, their effective rank 3 and
not 5. Below 1.4 nobody finds it, and the deepest have not even fitted the entries when the budget
of steps ends. At 3.5, where convex completion is exact, nothing is left to gain.

Sources: Saxe, McClelland & Ganguli 2014 (arXiv:1312.6120); Arora, Cohen, Hu & Luo 2019
(arXiv:1905.13655), section 5 and appendix D.

240 students; 1 minute on 2 cores. Larger: DIM and RANK; work grows as DIM^3 times the steps.
"""

from tsframe import (
    ADMM,
    Completion,
    DeepFactorization,
    GradientFlow,
    log_steps,
    LowRank,
    NuclearNorm,
    Sweep,
)

DIM, RANK = 40, 3
FREEDOM = RANK * (2 * DIM - RANK)  # degrees of freedom of the target
START = 1e-3  # of the product; the singular values of the target are 15 to 30
ALIGNED = 1e-2  # the same where all entries are seen, for a closer flow in as many steps
MAX_STEPS = 20_000
LAYERS = {"1 layer": 1, "2 layers": 2, "3 layers": 3, "4 layers": 4}


def trial(model, observed, seed):
    """One student, or the convex completion."""
    full = observed == DIM**2
    task = dict(target=LowRank(DIM, RANK, (2.0, 1.5, 1.0)), observed=observed, seed=seed)
    if model not in LAYERS:
        return Completion(student=NuclearNorm(), training=ADMM(gap=1e-4), **task)
    return Completion(
        student=DeepFactorization(LAYERS[model], ALIGNED if full else START, aligned=full),
        training=GradientFlow(step=0.02 if full else 0.3, tolerance=1e-5, max_steps=MAX_STEPS),
        curve_steps=log_steps(MAX_STEPS, 120),
        **task,
    )


sweep = Sweep(
    trial,
    model=[*LAYERS, "least nuclear norm"],
    observed=[250, 300, 350, 400, 500, 650, 800, DIM**2],
    seed=range(6),
)
