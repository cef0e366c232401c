"""Small students, and the slow, plainly right road to their derivatives: autograd, dense."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from tsframe.measures.sensitivities import forward, ForwardPass
from tsframe.students.activations import ACTIVATIONS

PHI: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "identity": lambda z: z,
}


def draw(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, dtype=torch.float64, generator=generator)


def network(
    depth: int, dim: int = 5, width: int = 4, outputs: int = 3, seed: int = 0, bias: float = 1.0
) -> list[Tensor]:
    sizes = [dim, *[width] * depth, outputs]
    weights = [
        draw((after, before + 1), 100 * seed + k)
        for k, (before, after) in enumerate(pairwise(sizes))
    ]
    for layer in weights:
        layer[:, -1] *= bias
    return weights


def outputs_of(weights: list[Tensor], activation: str, x: Tensor) -> Tensor:
    h = x
    for k, layer in enumerate(weights):
        h = h @ layer[:, :-1].T + layer[:, -1]
        if k < len(weights) - 1:
            h = PHI[activation](h)
    return h


def jacobian(
    rows: Callable[[list[Tensor]], Tensor], weights: list[Tensor], layers: list[int] | None = None
) -> Tensor:
    """Differentiate rows(weights), of any shape, by the weights of some layers: (rows, weights)."""
    parts = torch.autograd.functional.jacobian(lambda *w: rows(list(w)).flatten(), tuple(weights))
    some = range(len(weights)) if layers is None else layers
    return torch.cat([parts[k].flatten(1) for k in some], dim=1)


def dense_factor(logits: Tensor) -> Tensor:
    """The textbook factor of diag(p) - p p^T, of K columns, as start rows."""
    p = torch.softmax(logits, dim=1)
    return torch.diag_embed(p.sqrt()) - p.sqrt()[:, :, None] * p[:, None, :]


def passed_of(weights: list[Tensor], activation: str, x: Tensor) -> ForwardPass:
    return forward(weights, ACTIVATIONS[activation], x)
