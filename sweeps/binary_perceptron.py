"""Dense clusters among isolated solutions: does local entropy find them, do they generalize better?

A perceptron with 21 weights of +1 and -1 learns random patterns labeled by a teacher of its kind.
All its solutions are listed, for every number of patterns, and one is chosen in four ways: any of
them with the same chance; simulated annealing of the number of errors; the same of 15 replicas that
attract each other, which look for high local entropy and know nothing of the list; and, from the
list, the one with most solutions within three flips. Test errors are exact.

The answer: yes. With 4 patterns nearly all solutions hang together by single flips; with 20, 71
percent are isolated, and everywhere these generalize worse than the rest. The dense ones beat the
typical solution by 0.043 in test error, those of the replicas by 0.038 (+- 0.011, over all numbers
of patterns), most, by 0.06, at 13 patterns. Replicas find them without the list, and with 20
patterns find a solution in 92 percent of the tries, annealing alone in 55 percent; what it finds is
hardly denser than typical, and no better. At 21 weights to be isolated is a matter of degree: a
typical solution of 13 patterns still has some 20 others within three flips.

Sources: Baldassi et al. 2015 (arXiv:1509.05753) and 2016 (1605.06444).

960 students; 1 minute on 2 cores. Larger: raise SEEDS; a store grows seed by seed.
"""

from tsframe import Sweep
from tsframe.perceptron import Annealing, Densest, PerceptronTrial, Uniform

DIM = 21
SEEDS = 40

SEARCHES = {
    "uniform": Uniform(),
    "annealing": Annealing(replicas=1),
    "15 replicas": Annealing(replicas=15),
    "densest": Densest(radius=3),
}


def trial(search, n_train, seed):
    """One student; the patterns of one seed are the same for every search."""
    return PerceptronTrial(dim=DIM, n_train=n_train, search=SEARCHES[search], seed=seed)


sweep = Sweep(
    trial,
    search=list(SEARCHES),
    n_train=[4, 7, 10, 13, 16, 20],
    seed=range(SEEDS),
)
