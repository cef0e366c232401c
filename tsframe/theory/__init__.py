"""Exact predictions on the axes of a sweep: ridge and ridgeless regression at any spectrum.

A law takes eigenvalues of the inputs, coefficients of the target in their eigenbasis, and numbers;
it broadcasts over named dims and gives a prediction with the dims and coordinates of the store it
is laid over, so that theory and measurement are subtracted in one line. Conventions are the same
everywhere: `penalty` stands beside the sum of squares that is not divided by n, `noise` is a
standard deviation, test errors are mean squares against the noise-free target.

What holds in the limit of large n (`ridge`, `random_features`, `gradient_flow`), exactly at finite
n (`isotropic_min_norm`, `ordinary_least_squares`, `selected_features`), only up to constants
(`benign_overfitting`, `split_ridge`), or as a heuristic (`label_regression`) is said where it
stands. Bounds of the error (`vc_bound`, `maurer_bound` and the other forms of PAC-Bayes) and exact
inverses of counts (`kl_upper`, `clopper_pearson`) are certificates; `coverage` counts how often one
held. `argmax_disagreement`, `leave_one_out`, `descent_path`, `kernel_descent`, `kernel_flow` and
the kernels work on plain arrays.
"""

from tsframe.theory.binary_kl import binary_kl, clopper_pearson, kl_lower, kl_upper
from tsframe.theory.bounds import (
    margin_bound,
    perceptron_bound,
    rademacher_linear,
    separable_labelings,
    vc_bound,
)
from tsframe.theory.classification import (
    argmax_disagreement,
    label_regression,
    sign_disagreement,
)
from tsframe.theory.committee import committee_error
from tsframe.theory.deep_linear import deep_linear, deep_linear_time
from tsframe.theory.effective_dimension import (
    analytic_posterior,
    effective_dimension,
    effective_dimensionality,
)
from tsframe.theory.exponential import (
    exponential_label_regression,
    exponential_spectrum,
    power_law_limit,
)
from tsframe.theory.finite_samples import (
    isotropic_min_norm,
    leave_one_out,
    ordinary_least_squares,
    selected_features,
)
from tsframe.theory.gradient_flow import descent_path, gradient_flow, kernel_descent, kernel_flow
from tsframe.theory.kernels import (
    arc_cosine,
    erf_ntk,
    erf_product,
    erf_slope_product,
    relu_ntk,
    WideKernels,
)
from tsframe.theory.marchenko_pastur import MarchenkoPastur, sample_covariance_square
from tsframe.theory.optimal_ridge import crossover_noise, optimal_ridge
from tsframe.theory.pac_bayes import (
    catoni_bound,
    coverage,
    gaussian_kl,
    maurer_bound,
    mcallester_bound,
    pac_bayes_certificate,
    quadratic_bound,
    seeger_bound,
    thiemann_bound,
    union_penalty,
)
from tsframe.theory.random_features import random_features
from tsframe.theory.ranks import benign_overfitting, effective_ranks, split_ridge
from tsframe.theory.ridge import ridge

__all__ = [
    "MarchenkoPastur",
    "WideKernels",
    "analytic_posterior",
    "arc_cosine",
    "argmax_disagreement",
    "benign_overfitting",
    "binary_kl",
    "catoni_bound",
    "clopper_pearson",
    "committee_error",
    "coverage",
    "crossover_noise",
    "deep_linear",
    "deep_linear_time",
    "descent_path",
    "effective_dimension",
    "effective_dimensionality",
    "effective_ranks",
    "erf_ntk",
    "erf_product",
    "erf_slope_product",
    "exponential_label_regression",
    "exponential_spectrum",
    "gaussian_kl",
    "gradient_flow",
    "isotropic_min_norm",
    "kernel_descent",
    "kernel_flow",
    "kl_lower",
    "kl_upper",
    "label_regression",
    "leave_one_out",
    "margin_bound",
    "maurer_bound",
    "mcallester_bound",
    "optimal_ridge",
    "ordinary_least_squares",
    "pac_bayes_certificate",
    "perceptron_bound",
    "power_law_limit",
    "quadratic_bound",
    "rademacher_linear",
    "random_features",
    "relu_ntk",
    "ridge",
    "sample_covariance_square",
    "seeger_bound",
    "selected_features",
    "separable_labelings",
    "sign_disagreement",
    "split_ridge",
    "thiemann_bound",
    "union_penalty",
    "vc_bound",
]
