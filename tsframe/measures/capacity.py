"""Classic measures of capacity, to be asked for in a Trial: margins, norms, sharpness."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsframe.checks import real_number, whole
from tsframe.measures.asking import counted, Measure, Names
from tsframe.measures.landscape import flat, one_by_one, rows_of
from tsframe.measures.layer_norms import (
    frobenius_norms,
    path_norm,
    spectral_complexity,
    spectral_norms,
)
from tsframe.measures.learned import Learned, StudentShape
from tsframe.measures.margins import margins
from tsframe.measures.sharpness import (
    ascent_sharpness,
    sam_sharpness,
    sublevel_log_volume,
    sublevel_radii,
)
from tsframe.streams import stream

__all__ = ["Margins", "Norms", "Sharpness"]

FLOAT = 8.0  # bytes


@dataclass(frozen=True)
class Margins(Measure):
    """The distribution of the margins of the training samples, noisy labels included.

    A margin is the output of the label less the largest other output. Gives ``margin``, quantiles
    along the dim ``quantile`` with the least margin at 0 and the largest at 1; and
    ``normalized_margin``, the same over the product of the spectral norms of all layers (Bartlett,
    Foster & Telgarsky 2017), which a rescaled ReLU network keeps.

    Parameters
    ----------
    quantiles : int
        How many, at equal distances from 0 to 1, >= 2.
    """

    quantiles: int = 21

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantiles", whole("quantiles", self.quantiles, 2))

    def declare(self, shape: StudentShape) -> Names:
        """Name the two distributions; see `Measure.declare`."""
        if shape.classes is None:
            raise ValueError(
                "margins need classes, and this student has none. Leave Margins() out, or take a "
                "teacher with classes."
            )
        levels = {"quantile": tuple(np.linspace(0.0, 1.0, self.quantiles).tolist())}
        return {"margin": levels, "normalized_margin": levels}

    def flops(self, shape: StudentShape) -> float:
        """Count one forward pass and the singular values of every layer."""
        return 2.0 * shape.n_train * shape.parameters + _svd_flops(shape)

    def bytes(self, shape: StudentShape) -> float:
        """Count inputs and hidden values."""
        return FLOAT * shape.n_train * (sum(shape.sizes) + 2 * shape.width * shape.depth)

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        levels = np.linspace(0.0, 1.0, self.quantiles)
        found = {name: np.empty((len(learned.tasks), self.quantiles)) for name in self._names}
        for some, weights, _ in one_by_one(learned):
            rows = rows_of(learned, some)
            gaps = margins(rows.outputs(flat(weights)[:, None])[:, 0], rows.y)
            values = np.quantile(_numpy(gaps), levels, axis=1).T
            scale = _numpy(spectral_norms(weights).prod(-1))[:, None]
            found["margin"][some] = values
            # A network whose layer is zero has zero margins, at any scale.
            found["normalized_margin"][some] = values / np.where(scale > 0.0, scale, 1.0)
        return found

    @property
    def _names(self) -> tuple[str, str]:
        return ("margin", "normalized_margin")


@dataclass(frozen=True)
class Norms(Measure):
    """Norms of the layers, and the capacities that bounds make of them.

    Gives ``spectral_norm`` and ``frobenius_norm`` along the dim ``layer``; ``spectral_product`` and
    ``frobenius_product`` of all layers; ``path_norm`` (Neyshabur, Salakhutdinov & Srebro 2015); and
    ``spectral_complexity`` (Bartlett, Foster & Telgarsky 2017). The norm of all weights and the
    distance from initialization are always measured.
    """

    def declare(self, shape: StudentShape) -> Names:
        """Name the norms; see `Measure.declare`."""
        layers = {"layer": counted(shape.depth + 1)}
        names: dict[str, dict[str, tuple[float, ...]]] = {
            "spectral_norm": layers,
            "frobenius_norm": layers,
        }
        for name in ("spectral_product", "frobenius_product", "path_norm", "spectral_complexity"):
            names[name] = {}
        return names

    def flops(self, shape: StudentShape) -> float:
        """Count the singular values of every layer."""
        return _svd_flops(shape)

    def bytes(self, shape: StudentShape) -> float:
        """Count some copies of the weights."""
        return FLOAT * 4 * shape.parameters

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.declare(learned.shape)}
        for _, weights, initial in one_by_one(learned):
            spectral, frobenius = spectral_norms(weights), frobenius_norms(weights)
            parts["spectral_norm"].append(spectral)
            parts["frobenius_norm"].append(frobenius)
            parts["spectral_product"].append(spectral.prod(-1))
            parts["frobenius_product"].append(frobenius.prod(-1))
            parts["path_norm"].append(path_norm(weights))
            parts["spectral_complexity"].append(spectral_complexity(weights, initial))
        return {name: _numpy(torch.cat(some)) for name, some in parts.items()}


@dataclass(frozen=True)
class Sharpness(Measure):
    """How wide the region around the student is: along random directions, and at its worst.

    Gives ``sublevel_radius``, how far one can go along random directions before the training loss
    has risen by `rise`, ascending along the dim ``direction``; ``sublevel_log_volume``, what these
    say of the logarithm of the volume of that region, in nats (Huang et al. 2020);
    ``sam_sharpness`` and ``ascent_sharpness``, the rise of the loss in a ball by one step up the
    gradient (Foret et al. 2021) and by the best of several ascents. All depend on the scale of the
    weights: see `tsframe.measures.sharpness`.

    Parameters
    ----------
    rise : float
        Of the loss, > 0, in units of the loss of a student whose outputs are all zero.
    directions : int
        How many, >= 1; the first of more are those of fewer.
    radius : float
        Of the ball, > 0, in units of the weights.
    steps : int
        Of ascent, >= 1.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.
    """

    rise: float = 0.1
    directions: int = 20
    radius: float = 0.05
    steps: int = 10

    def __post_init__(self) -> None:
        for name in ("rise", "radius"):
            value = getattr(self, name)
            sentence = f"{name} must be a number > 0; got {name}={value!r}."
            object.__setattr__(self, name, real_number(value, sentence, strict=True))
        for name in ("directions", "steps"):
            value = getattr(self, name)
            object.__setattr__(self, name, whole(name, value, 1))

    def declare(self, shape: StudentShape) -> Names:
        """Name radii, volume and rises; see `Measure.declare`."""
        return {
            "sublevel_radius": {"direction": counted(self.directions)},
            "sublevel_log_volume": {},
            "sam_sharpness": {},
            "ascent_sharpness": {},
        }

    def flops(self, shape: StudentShape) -> float:
        """Count forward passes along every direction, and backward passes of a few ascents."""
        once = 2.0 * shape.n_train * shape.parameters
        return once * (30.0 * self.directions + 3.0 * (self.steps + 1) * (1 + self._starts))

    def bytes(self, shape: StudentShape) -> float:
        """Count directions, and hidden values along all of them."""
        hidden = 3 * shape.width * shape.depth + shape.outputs
        return FLOAT * (self.directions + 1) * (3 * shape.parameters + 2 * hidden * shape.n_train)

    def __call__(self, learned: Learned) -> Mapping[str, np.ndarray]:
        """Measure students; see `Measure.__call__`."""
        parts: dict[str, list[Tensor]] = {name: [] for name in self.declare(learned.shape)}
        for some, weights, _ in one_by_one(learned):
            rows, center = rows_of(learned, some), flat(weights)
            ways = torch.as_tensor(
                np.stack([self._directions(task.seed, rows.size) for task in learned.tasks[some]])
            ).to(center)
            units = torch.tensor([learned.objective.chance_loss(y) for y in rows.y])
            radii = sublevel_radii(rows.losses, center, ways, self.rise * units.double())
            parts["sublevel_radius"].append(radii.sort(dim=1).values)
            parts["sublevel_log_volume"].append(sublevel_log_volume(radii, rows.size))
            parts["sam_sharpness"].append(
                sam_sharpness(rows.gradients, rows.losses, center, self.radius)
            )
            parts["ascent_sharpness"].append(
                ascent_sharpness(
                    rows.gradients, center, self.radius, ways[:, : self._starts], self.steps
                )
            )
        return {name: _numpy(torch.cat(some)) for name, some in parts.items()}

    @property
    def _starts(self) -> int:
        return min(self.directions, 3)

    def _directions(self, seed: int, weights: int) -> np.ndarray:
        ways = stream(seed, "directions of sharpness").standard_normal((self.directions, weights))
        return np.asarray(ways / np.linalg.norm(ways, axis=1, keepdims=True))


def _svd_flops(shape: StudentShape) -> float:
    pairs = zip(shape.sizes, shape.sizes[1:], strict=False)
    return sum(20.0 * after * before * min(after, before) for before, after in pairs)


def _numpy(values: Tensor) -> np.ndarray:
    return np.asarray(values.cpu().numpy())
