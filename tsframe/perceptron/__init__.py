"""The binary perceptron: a student so small that all its solutions can be listed.

A student with weights +1 and -1 names the sign of w.x. Its training patterns are random signs,
labeled by a teacher of its kind or at random. `draw_instance` draws them, `solutions` lists every w
that fits them, `isolated`, `cluster_sizes`, `shells` and `local_entropy` tell who stands alone and
who in a crowd. `Uniform`, `Densest` and `Annealing` choose one, and a `PerceptronTrial` is all that
as a trial, so that a sweep can ask which solutions are found and how well they generalize.

Baldassi, Ingrosso, Lucibello, Saglietti & Zecchina 2015 (arXiv:1509.05753): most solutions are
isolated, yet there are dense clusters of them, which simple algorithms find and which generalize
better. Baldassi et al. 2016 (arXiv:1605.06444): searches that look for them, by replicas that
attract each other.
"""

from tsframe.perceptron.instances import draw_instance, error_at, Instance
from tsframe.perceptron.listing import (
    cluster_sizes,
    isolated,
    local_entropy,
    shells,
    solutions,
)
from tsframe.perceptron.searches import Annealing, Densest, Uniform
from tsframe.perceptron.trial import PerceptronTrial

__all__ = [
    "Annealing",
    "Densest",
    "Instance",
    "PerceptronTrial",
    "Uniform",
    "cluster_sizes",
    "draw_instance",
    "error_at",
    "isolated",
    "local_entropy",
    "shells",
    "solutions",
]
