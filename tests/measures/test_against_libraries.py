"""Independent libraries on one case each, where they are installed: pip install ".[oracles]"."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.measures.networks import draw, network, passed_of
from tsframe.measures.curvature import fisher_spectrum
from tsframe.measures.gram import gram
from tsframe.measures.hessian import Curvature, dense
from tsframe.measures.sensitivities import sensitivities
from tsframe.measures.start_rows import every_output
from tsframe.students.activations import ACTIVATIONS
from tsframe.training.losses import Objective

X = draw((9, 5), 7)
WEIGHTS = network(2)


def module() -> torch.nn.Sequential:
    """Build the same student of layers of torch."""
    layers: list[torch.nn.Module] = []
    for weights in WEIGHTS:
        layer = torch.nn.Linear(weights.shape[1] - 1, weights.shape[0], dtype=torch.float64)
        layer.weight.data, layer.bias.data = weights[:, :-1].clone(), weights[:, -1].clone()
        layers += [layer, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def test_the_gram_matrix_is_that_of_torchjd():
    autogram = pytest.importorskip("torchjd.autogram")
    student = module()
    engine = autogram.Engine(student, batch_dim=0)
    theirs: Tensor = engine.compute_gramian(student(X))  # outputs sample by sample, as ours
    passed = passed_of(WEIGHTS, "tanh", X)
    mine = gram(passed, sensitivities(passed, every_output(passed.outputs)))
    torch.testing.assert_close(mine, theirs.detach().as_subclass(Tensor), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("default")  # theirs
def test_the_fisher_information_is_the_gauss_newton_matrix_of_curvlinops():
    curvlinops = pytest.importorskip("curvlinops")
    student = module()
    y = torch.arange(9) % 3  # Gauss-Newton does not depend on it
    operator = curvlinops.GGNLinearOperator(
        student,
        torch.nn.CrossEntropyLoss(),
        [p for p in student.parameters() if p.requires_grad],
        [(X, y)],
    )
    size = sum(weights.numel() for weights in WEIGHTS)
    dense = (operator @ torch.eye(size, dtype=torch.float64)).detach().numpy()
    theirs = np.linalg.eigvalsh(dense)[::-1]
    mine = fisher_spectrum(passed_of(WEIGHTS, "tanh", X)).values
    np.testing.assert_allclose(theirs[: len(mine)], mine, rtol=0, atol=1e-12 * mine[0])
    np.testing.assert_allclose(theirs[len(mine) :], 0.0, atol=1e-12 * mine[0])


@pytest.mark.filterwarnings("default")  # theirs
def test_the_hessian_is_that_of_curvlinops():
    curvlinops = pytest.importorskip("curvlinops")
    student = module()
    y = torch.arange(9) % 3
    operator = curvlinops.HessianLinearOperator(
        student,
        torch.nn.CrossEntropyLoss(),
        [p for p in student.parameters() if p.requires_grad],
        [(X, y)],
    )
    size = sum(weights.numel() for weights in WEIGHTS)
    theirs = (operator @ torch.eye(size, dtype=torch.float64)).detach()
    stack = [weights[None] for weights in WEIGHTS]
    objective = Objective("cross_entropy", 3)
    curvature = Curvature(stack, ACTIVATIONS["tanh"], X[None], y[None], objective)
    mine = np.linalg.eigvalsh(dense(curvature.hessian, 1, size, X)[0])  # whatever the order
    np.testing.assert_allclose(
        np.linalg.eigvalsh(theirs.numpy()), mine, rtol=0, atol=1e-12 * mine[-1]
    )
